#!/usr/bin/env python3
"""What the program prints of itself, and how it refuses bad input.

usage: command_line_test.py PROGRAM MPIRUN
"""

import json
import pathlib
import subprocess
import sys
import unittest

from program_fixture import ENVIRONMENT, MPIRUN, PROGRAM, ProgramTest, run
from launching import ranks_command


class CommandLine(ProgramTest):
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
            ["verify"],
            ["launch"],
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
            "lr_schedule.name=cosine": "leave it out",
            "epochs=3": "leave it out",
            "data.file=a.h5": "--end-to-end",
        }.items():
            self.assert_refused(
                run("bench", "--set", assignment), 64, assignment.split("=")[0], words
            )

    def test_bench_writes_a_timeline_of_one_model(self):
        one = ["--model", "resnet20", "--precision", "fp32", "--batch", 2, "--steps", 1]
        one += ["--warmup", 0, "--repetitions", 1]
        trace = self.folder / "steps.json"
        result = run("bench", *one, "--trace", trace)
        self.assertEqual(result.returncode, 0, result.stderr)
        names = [event["name"] for event in json.loads(trace.read_text())["traceEvents"]]
        convolutions = names.count("aten::convolution")
        self.assertEqual(convolutions, 5 * 19)  # five steps; ResNet-20 of option A has 19
        written = trace.read_bytes()
        self.assert_refused(run("bench", *one, "--trace", trace), 64, "steps.json", "--force")
        self.assertEqual(trace.read_bytes(), written)
        self.assertEqual(run("bench", *one, "--trace", trace, "--force").returncode, 0)
        self.assertNotEqual(trace.read_bytes(), written)
        self.assert_refused(run("bench", "--trace", trace, "--force"), 64, "--trace", "one")
        nowhere = self.folder / "nowhere" / "steps.json"
        self.assert_refused(run("bench", *one, "--trace", nowhere), 74, "nowhere")

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


unittest.main(argv=sys.argv[:1], verbosity=2)
