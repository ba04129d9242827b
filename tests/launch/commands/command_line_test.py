#!/usr/bin/env python3
"""Drives the program as its users do: what it prints, writes and returns, and how it refuses bad input.

usage: command_line_test.py PROGRAM MPIRUN
"""

import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import ranks_command

PROGRAM, MPIRUN = sys.argv[1:3]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")


def run(*arguments, ranks=0):
    command = (ranks_command(MPIRUN, ranks) if ranks else []) + [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200)


def png(side, colour):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = (b"\0" + bytes(colour) * side) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-cli-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        result = run("data", "synth", cls.data, "--train", 410, "--test", 101)
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def train(self, *options, ranks=0, run_dir=None):
        directory = ["--run-dir", self.folder / run_dir] if run_dir else []
        return run(
            "train",
            "--set",
            f"data.file={self.data}",
            "--set",
            "batch_size=37",
            *directory,
            *options,
            ranks=ranks,
        )

    def assert_refused(self, result, code, *words):
        text = result.stdout + result.stderr
        self.assertEqual(result.returncode, code, text)
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(text.count("lockstep: error:"), 1, text)
        self.assertIsNone(re.search(r"std::|c10::|\.cpp:\d+|at::", text), text)

    def test_help_of_every_subcommand(self):
        for words in (
            [],
            ["train"],
            ["evaluate"],
            ["predict"],
            ["export"],
            ["data"],
            ["data", "import"],
            ["data", "download"],
            ["data", "synth"],
            ["data", "info"],
            ["config"],
            ["models"],
            ["report"],
            ["bench"],
            ["doctor"],
        ):
            result = run(*words, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn("--help", result.stdout)
            self.assertIn("Exit codes: 0", result.stdout)
            self.assertEqual([line for line in result.stdout.splitlines() if len(line) > 120], [])

    def test_the_version_names_the_libraries(self):
        lines = run("--version").stdout.splitlines()
        self.assertEqual(
            [line.split()[0] for line in lines],
            ["lockstep", "LibTorch", "MPI", "HDF5", "NCCL", "CUDA"],
        )
        self.assertEqual([line for line in lines if len(line.split()) < 2], [])
        self.assertRegex(lines[3], r"^HDF5 +\d+\.\d+\.\d+$")

    def test_the_configurations_keys_are_described_by_name_and_group(self):
        everything = run("config").stdout
        self.assertIn("optimizer.learning_rate = 0.1\n", everything)
        self.assertEqual(run("config", "epochs").stdout.splitlines()[0], "epochs = 30")
        group = run("config", "early_stopping").stdout
        self.assertIn(group, everything)
        self.assertEqual(
            [
                line
                for line in group.splitlines()
                if line[0] != " " and "early_stopping." not in line
            ],
            [],
        )
        self.assert_refused(run("config", "optimizer.learning_rat"), 64, "optimizer.learning_rate")

    def test_models_for_small_images_lists_all_and_says_which_need_larger_ones(self):
        result = run("models", "--size", "28", "--channels", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("vgg11         needs larger images", result.stdout)
        self.assertRegex(result.stdout, r"googlenet_bn +\d+")

    def test_a_split_that_leaves_nothing_to_train_on_is_refused(self):
        data = self.folder / "few.h5"
        run("data", "synth", data, "--train", "40", "--test", "10")
        for words in ([], ["--find-lr"]):
            result = run(
                "train",
                *words,
                "--set",
                f"data.file={data}",
                "--set",
                "data.validation_fraction=0.9",
                "--run-dir",
                self.folder / "few",
            )
            self.assert_refused(result, 64, "data.validation_fraction", "lower it")

    def test_printed_configuration_reads_back(self):
        first = run(
            "train",
            "--print-config",
            "--set",
            "optimizer.learning_rate=0.25",
            "--set",
            "model.name=resnet32",
        )
        self.assertEqual(json.loads(first.stdout)["optimizer"]["learning_rate"], 0.25)
        file = self.folder / "printed.json"
        file.write_text(first.stdout)
        self.assertEqual(run("train", file, "--print-config").stdout, first.stdout)

    def test_recipes_are_configurations(self):
        recipes = sorted((pathlib.Path(__file__).parents[3] / "launch" / "recipes").rglob("*.json"))
        self.assertGreater(len(recipes), 3)
        for recipe in recipes:
            result = run("train", recipe, "--print-config")
            self.assertEqual(result.returncode, 0, f"{recipe}: {result.stderr}")

    def test_bad_configurations_are_refused_by_name(self):
        cases = {
            '{"optimizer": {"learning_rat": 1}}': "learning_rate",
            '{"epochs": "ten"}': "epochs",
            '{"epochs": 1, "epochs": 2}': "epochs",
            '{"optimizer": {"momentum": NaN}}': "",
            '{"batch_size": 0}': "batch_size",
            '{"epochs": 1.5}': "epochs",
            "[1]": "",
            "{": "",
        }
        for text, word in cases.items():
            with self.subTest(text=text):
                file = self.folder / "bad.json"
                file.write_text(text)
                self.assert_refused(run("train", file), 64, word)
        self.assert_refused(run("train", "--set", "model.nam=resnet20"), 64, "model.name")
        self.assert_refused(run("train", self.folder / "missing.json"), 64, "missing.json")
        self.assert_refused(
            self.train("--set", "model.name=resnet21", run_dir="unknown-model"), 64, "resnet20"
        )
        self.assert_refused(
            self.train(
                "--set",
                "model.name=vgg11",
                "--set",
                "model.stochastic_depth=0.2",
                ranks=2,
                run_dir="no-blocks",
            ),
            64,
            "model.stochastic_depth",
            "vgg11",
        )

    def test_bad_command_lines(self):
        for words in (
            ["trian"],
            ["train", "--resume"],
            ["evaluate"],
            ["data", "info"],
            ["bench", "--precision", "fp17"],
        ):
            self.assert_refused(run(*words), 64)
        for assignment, words in {
            "model.name=vgg11": "--model",
            "batch_size=4": "--batch",
            "optimizer.learning_rate=1": "leave the key out",
        }.items():
            self.assert_refused(
                run("bench", "--set", assignment), 64, assignment.split("=")[0], words
            )

    def test_bad_data_files(self):
        good = self.data.read_bytes()
        flipped = bytearray(good)
        flipped[len(flipped) // 2] ^= 0x40
        for name, content in {
            "empty": b"",
            "text": b"not an image set" * 100,
            "truncated": good[: len(good) // 2],
            "flipped": bytes(flipped),
        }.items():
            with self.subTest(name=name):
                file = self.folder / f"{name}.h5"
                file.write_bytes(content)
                self.assert_refused(
                    run(
                        "train",
                        "--set",
                        f"data.file={file}",
                        "--run-dir",
                        self.folder / f"data-{name}",
                        ranks=2,
                    ),
                    65,
                    str(file),
                )
        self.assert_refused(
            run(
                "train",
                "--set",
                "data.file=/nowhere.h5",
                "--run-dir",
                self.folder / "no-data",
                ranks=2,
            ),
            74,
            "/nowhere.h5",
        )

    def test_bad_imports(self):
        source = self.folder / "binary"
        source.mkdir()
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            (source / name).write_bytes(bytes(3073))
        (source / "test_batch.bin").write_bytes(bytes(3072))
        self.assert_refused(
            run("data", "import", source, self.folder / "a.h5"), 65, "test_batch.bin"
        )
        (source / "test_batch.bin").write_bytes(bytes([11]) + bytes(3072))
        self.assert_refused(run("data", "import", source, self.folder / "a.h5"), 65, "11")
        self.assertFalse((self.folder / "a.h5").exists())
        self.assert_refused(run("data", "synth", self.data), 64, "--force")

    def test_run_directories(self):
        (self.folder / "file").write_text("")
        self.assert_refused(self.train(run_dir="file"), 74)
        self.assert_refused(
            run("train", "--set", f"data.file={self.data}", "--run-dir", "/proc/lockstep", ranks=2),
            74,
            "/proc/lockstep",
        )
        self.assertEqual(self.train("--set", "limits.steps=1", run_dir="taken").returncode, 0)
        self.assert_refused(self.train("--set", "limits.steps=1", run_dir="taken"), 64, "--resume")
        self.assert_refused(self.train("--resume", "--set", "seed=9", run_dir="taken"), 64, "seed")

    def test_disagreements_between_ranks(self):
        self.assert_refused(
            self.train("--set", "batch_size=1", ranks=2, run_dir="small"), 64, "batch_size"
        )
        common = [
            PROGRAM,
            "train",
            "--set",
            f"data.file={self.data}",
            "--run-dir",
            str(self.folder / "differ"),
            "--set",
        ]
        command = ranks_command(MPIRUN, 1) + [*common, "seed=1", ":", "-np", "1", *common, "seed=2"]
        result = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=100
        )
        self.assert_refused(result, 64, "configuration")

    def test_a_run_from_its_start_to_its_evaluation(self):
        result = self.train("--set", "epochs=2", ranks=2, run_dir="whole")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("\x1b", result.stdout)
        events = [
            json.loads(line)
            for line in (self.folder / "whole/metrics.jsonl").read_text().splitlines()
        ]
        self.assertEqual(
            [e["event"] for e in events], ["start"] + (["step"] * 9 + ["epoch"]) * 2 + ["end"]
        )  # 330 training images in batches of 37
        self.assertEqual(
            list(events[-2]),
            [
                "event",
                "epoch",
                "step",
                "train_loss",
                "train_accuracy",
                "validation_loss",
                "validation_accuracy",
                "learning_rate",
                "seconds",
                "images_per_second",
                "best_epoch",
                "patience_left",
            ],
        )
        self.assertAlmostEqual(
            events[-2]["validation_accuracy"] * 80 % 1, 0, places=6
        )  # 8 of the 41 of each class
        for name in ("config.json", "environment.json", "best.safetensors", "last.safetensors"):
            self.assertTrue((self.folder / "whole" / name).exists(), name)
        self.assertTrue(list((self.folder / "whole").glob("events.out.tfevents.*")))
        for ranks in (1, 3):
            result = run(
                "evaluate", self.folder / "whole", "--data", self.data, "--json", ranks=ranks
            )
            measured = json.loads(result.stdout)
            self.assertEqual(measured["images"], 101)
            self.assertAlmostEqual(measured["accuracy"], events[-1]["test_accuracy"])
            self.assertAlmostEqual(measured["loss"], events[-1]["test_loss"], places=5)

    def test_predictions(self):
        self.assertEqual(self.train("--set", "epochs=1", run_dir="predicting").returncode, 0)
        pictures = {
            "red.png": png(50, (255, 0, 0)),
            "cut.png": png(50, (0, 0, 255))[:-30],
            "text.jpg": b"no picture",
            "blue.png": png(20, (0, 0, 255)),
        }
        for name, content in pictures.items():
            (self.folder / name).write_bytes(content)
        paths = [self.folder / name for name in (*pictures, "missing.png")]
        result = run("predict", self.folder / "predicting", *paths, "--top", 3)
        self.assertEqual(result.returncode, 65)
        lines = result.stdout.splitlines()
        self.assertEqual([lines[0], lines[4]], [str(paths[0]), str(paths[3])])
        self.assertEqual(len(lines), 8)
        for bad in ("cut.png", "text.jpg", "missing.png"):
            self.assertEqual(
                sum(str(self.folder / bad) in line for line in result.stderr.splitlines()),
                1,
                result.stderr,
            )
        answers = [
            json.loads(line)
            for line in run(
                "predict", self.folder / "predicting", paths[0], paths[3], "--json", "--top", 99
            ).stdout.splitlines()
        ]
        for answer in answers:
            self.assertEqual(len(answer["classes"]), 10)
            self.assertAlmostEqual(
                sum(entry["probability"] for entry in answer["classes"]), 1, places=9
            )
        self.assert_refused(run("predict", self.folder / "nowhere", paths[0]), 74, "nowhere")
        self.assert_refused(run("predict", self.folder / "predicting", paths[0], "--top", 0), 64)

    def test_exports(self):
        self.assertEqual(self.train("--set", "epochs=1", run_dir="exporting").returncode, 0)
        out = self.folder / "out.safetensors"
        result = run("export", self.folder / "exporting", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn(str(self.data), out.read_bytes()[:20000].decode(errors="replace"))
        self.assert_refused(run("export", self.folder / "exporting", out), 64, "--force")
        self.assertEqual(
            run(
                "export", self.folder / "exporting", out, "--force", "--weights", "last"
            ).returncode,
            0,
        )
        losses = [
            json.loads(
                run("evaluate", source, "--data", self.data, "--json", "--weights", "last").stdout
            )["loss"]
            for source in (out, self.folder / "exporting")
        ]
        self.assertEqual(losses[0], losses[1])
        content = bytearray(out.read_bytes())
        content[-1:] = b""
        (self.folder / "short.safetensors").write_bytes(content)
        for command in (
            ["export", self.folder / "short.safetensors", self.folder / "never"],
            ["predict", self.folder / "short.safetensors", "x.png"],
        ):
            self.assert_refused(run(*command), 65, "short.safetensors")
        self.assertFalse((self.folder / "never").exists())

    def test_evaluation_of_no_images_is_refused(self):
        self.assertEqual(
            self.train(
                "--set",
                "epochs=1",
                "--set",
                "data.validation_fraction=0",
                run_dir="all-for-training",
            ).returncode,
            0,
        )
        result = run(
            "evaluate",
            self.folder / "all-for-training",
            "--data",
            self.data,
            "--split",
            "validation",
            ranks=2,
        )
        self.assert_refused(result, 64, "data.validation_fraction=0", "--split test")

    def test_weights_to_start_from_that_do_not_fit(self):
        self.assertEqual(self.train("--set", "limits.steps=1", run_dir="narrow").returncode, 0)
        weights = self.folder / "narrow" / "last.safetensors"
        options = [
            "--set",
            "model.name=resnet32",
            "--set",
            f"model.weights={weights}",
            "--set",
            "limits.steps=1",
        ]
        for _ in range(2):  # a run that failed before its first line leaves its folder free
            self.assert_refused(
                self.train(*options, ranks=2, run_dir="misfit"),
                65,
                "'layer1.3.bn1.weight' is missing",
                "model.name='resnet20'",
            )
        self.assert_refused(
            self.train("--set", "model.weights=/nowhere", ranks=2, run_dir="misfit"), 74, "/nowhere"
        )
        self.assert_refused(
            self.train("--set", "model.freeze=leyer1", ranks=2, run_dir="misfit"), 64, "'layer1'"
        )
        result = self.train(
            "--set",
            f"model.weights={weights}",
            "--set",
            "model.freeze=conv1",
            "--set",
            "limits.steps=1",
            ranks=2,
            run_dir="misfit",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("frozen: conv1 (432 of 269722 parameters)", result.stdout)
        start = json.loads((self.folder / "misfit" / "metrics.jsonl").read_text().splitlines()[0])
        self.assertEqual(len(start["initial_weights_digest"]), 64)

    def safetensors(self, file):
        """The header, whose metadata hold the configuration, and the tensors behind it."""
        content = (self.folder / file).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        return json.loads(content[8:end]), content[end:]

    def resume_and_compare(self, name, *options):
        straight, halved = f"{name}-straight", f"{name}-halved"
        self.assertEqual(
            self.train("--set", "epochs=2", *options, ranks=2, run_dir=straight).returncode, 0
        )
        self.assertEqual(
            self.train(
                "--set", "epochs=2", *options, "--set", "limits.steps=5", ranks=2, run_dir=halved
            ).returncode,
            0,
        )
        result = self.train("--set", "epochs=2", *options, "--resume", ranks=2, run_dir=halved)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        for file in ("last.safetensors", "checkpoints/00000018/model.safetensors"):
            self.assertEqual(
                self.safetensors(f"{straight}/{file}")[1],
                self.safetensors(f"{halved}/{file}")[1],
                file,
            )
        steps = [
            json.loads(line)["step"]
            for line in (self.folder / halved / "metrics.jsonl").read_text().splitlines()
            if '"event":"step"' in line
        ]
        self.assertEqual(steps, list(range(1, 19)))

    def test_a_resumed_run_is_judged_by_all_its_epochs(self):
        self.assertEqual(self.train("--set", "epochs=3", ranks=2, run_dir="judged").returncode, 0)
        result = self.train("--set", "epochs=6", "--resume", ranks=2, run_dir="judged")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        end = json.loads((self.folder / "judged/metrics.jsonl").read_text().splitlines()[-1])
        self.assertIn(
            end["verdict"], ("underfit", "still_improving", "good", "overfitting", "unstable")
        )  # five epochs are needed: not too_short
        self.assertIn(end["verdict"].split("_")[0], result.stdout)

    def test_a_resumed_run_ends_with_the_same_bits(self):
        self.resume_and_compare("plain")

    def test_averaged_weights_of_a_regularised_run_are_resumed_saved_and_tested(self):
        options = [
            "optimizer.ema_decay=0.9",
            "model.stochastic_depth=0.3",
            *(f"data.augmentation.{key}=0.5" for key in ("mixup", "cutmix", "random_erasing")),
        ]
        self.resume_and_compare(
            "averaged", *(word for option in options for word in ("--set", option))
        )
        run_dir = self.folder / "averaged-straight"
        header, last = self.safetensors(run_dir / "last.safetensors")
        self.assertEqual(header["__metadata__"]["ema_decay"], "0.9")
        checkpoint = run_dir / "checkpoints/00000018"
        self.assertEqual(self.safetensors(checkpoint / "ema.safetensors")[1], last)
        self.assertNotEqual(self.safetensors(checkpoint / "model.safetensors")[1], last)
        end = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
        measured = json.loads(run("evaluate", run_dir, "--data", self.data, "--json").stdout)
        self.assertAlmostEqual(measured["loss"], end["test_loss"], places=5)

    def test_the_range_test_suggests_the_same_rate_at_any_number_of_ranks(self):
        found = {}
        for ranks in (1, 2, 4):
            result = self.train(
                "--find-lr",
                "--set",
                "seed=3",
                "--set",
                "lr_schedule.name=cosine",
                "--set",
                "lr_schedule.warmup=3",
                ranks=ranks,
                run_dir=f"find-{ranks}",
            )
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            folder = self.folder / f"find-{ranks}"
            found[ranks] = json.loads((folder / "lr_finder.json").read_text())
            self.assertIn(
                f"optimizer.learning_rate={found[ranks]['suggestion']:.4g}", result.stdout
            )
            self.assertEqual(list(folder.glob("**/*.safetensors")), [])
            self.assertFalse((folder / "metrics.jsonl").exists())
        self.assertIsNotNone(found[1]["suggestion"])
        self.assertEqual({f["suggestion"] for f in found.values()}, {found[1]["suggestion"]})
        for ranks in (2, 4):
            self.assertAlmostEqual(
                found[ranks]["points"][0]["loss"], found[1]["points"][0]["loss"], places=4
            )
        # The folder is free for the run itself.
        self.assertEqual(self.train("--set", "limits.steps=1", run_dir="find-1").returncode, 0)
        self.assert_refused(self.train("--find-lr", run_dir="find-1"), 64, "--run-dir")

    def test_bad_range_tests_are_refused(self):
        self.assert_refused(
            self.train("--find-lr", "--find-lr-start", 0, run_dir="bad-find"), 64, "positive"
        )
        self.assert_refused(
            self.train("--find-lr", "--find-lr-updates", 3, run_dir="bad-find"), 64, "20"
        )
        self.assert_refused(self.train("--find-lr", "--resume", run_dir="bad-find"), 64, "--resume")
        self.assertFalse((self.folder / "bad-find").exists())

    def test_a_validation_batch_by_memory_is_recorded_and_kept(self):
        options = ("--set", "epochs=1", "--set", "validation.batch_size=auto")
        result = self.train(*options, "--set", "limits.steps=3", ranks=2, run_dir="auto-batch")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("validation.batch_size: ", result.stdout)
        self.assertEqual(result.stdout.count("validation.batch_size: "), 1)
        lines = [
            json.loads(line)
            for line in (self.folder / "auto-batch" / "metrics.jsonl").read_text().splitlines()
        ]
        size = lines[0]["validation_batch_size"]
        self.assertTrue(1 <= size <= 4096 and size & (size - 1) == 0, size)
        checkpoint = max((self.folder / "auto-batch" / "checkpoints").iterdir())
        state = json.loads((checkpoint / "state.json").read_text())
        self.assertEqual(state["validation_batch_size"], size)
        # Evaluation is exact whatever the batch: each image once.
        fixed = self.train(
            "--set",
            "epochs=1",
            "--set",
            "validation.batch_size=7",
            "--set",
            "limits.steps=3",
            ranks=2,
            run_dir="seven",
        )
        self.assertEqual(fixed.returncode, 0, fixed.stderr)
        other = [
            json.loads(line)
            for line in (self.folder / "seven" / "metrics.jsonl").read_text().splitlines()
        ]
        self.assertEqual(other[0]["validation_batch_size"], 7)
        epoch, same = (
            next(line for line in run if line["event"] == "epoch") for run in (lines, other)
        )
        self.assertAlmostEqual(epoch["validation_loss"], same["validation_loss"], places=5)
        # A resumed run keeps the size of its checkpoint, here one that today's memory would not give.
        (checkpoint / "state.json").write_text(json.dumps({**state, "validation_batch_size": 2}))
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["sha256"]["state.json"] = hashlib.sha256(
            (checkpoint / "state.json").read_bytes()
        ).hexdigest()
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
        resumed = self.train(
            *options, "--set", "limits.steps=4", "--resume", ranks=2, run_dir="auto-batch"
        )
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        starts = [
            json.loads(line)
            for line in (self.folder / "auto-batch" / "metrics.jsonl").read_text().splitlines()
            if '"start"' in line
        ]
        self.assertEqual([start["validation_batch_size"] for start in starts], [size, 2])
        evaluated = run(
            "evaluate",
            self.folder / "auto-batch",
            "--data",
            self.data,
            "--weights",
            "last",
            "--json",
        )
        self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
        self.assertEqual(json.loads(evaluated.stdout)["images"], 101)

    def test_dry_run_writes_nothing(self):
        result = self.train("--dry-run", ranks=2, run_dir="dry")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("rank 1", result.stdout)
        self.assertFalse((self.folder / "dry").exists())

    def test_early_stopping_says_so(self):
        result = self.train(
            "--set",
            "epochs=50",
            "--set",
            "early_stopping.patience=1",
            "--set",
            "early_stopping.min_delta=100",
            run_dir="early",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(
            "stopped early after epoch 2: validation_loss has not improved by early_stopping.min_delta=100 or more for 1 epoch",
            result.stdout,
        )
        self.assertIn("early_stopping.patience=1", result.stdout)
        last = json.loads((self.folder / "early/metrics.jsonl").read_text().splitlines()[-1])
        self.assertEqual(
            (last["reason"], last["epochs"], last["best_epoch"]), ("early_stopping", 2, 1)
        )

    def test_streaming_and_a_copy_a_rank_train_the_same(self):
        losses = set()
        for cache in ("node", "rank", "stream"):
            self.assertEqual(
                self.train(
                    "--set",
                    f"data.cache={cache}",
                    "--set",
                    "epochs=1",
                    ranks=2,
                    run_dir=f"cache-{cache}",
                ).returncode,
                0,
            )
            losses.add(
                json.loads(
                    (self.folder / f"cache-{cache}/metrics.jsonl").read_text().splitlines()[-1]
                )["test_loss"]
            )
        self.assertEqual(len(losses), 1)


unittest.main(argv=sys.argv[:1], verbosity=2)
