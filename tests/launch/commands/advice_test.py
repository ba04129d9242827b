#!/usr/bin/env python3
"""The program's advice, taken literally: what it prints in known troubles is copied, run, and must be accepted and help.

usage: advice_test.py PROGRAM MPIRUN
"""

import json
import os
import re
import shlex
import subprocess
import sys
import unittest

import program_fixture
from program_fixture import run
from reference_packages import add_reference_packages

add_reference_packages()
try:
    import safetensors.torch  # which python3 in a printed command needs too
    import torch

    PYTHON_PATH = os.pathsep.join(sys.path[1:])
except ImportError:
    torch = None


def write_safetensors(path, header, tensors):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)


class Advice(program_fixture.ProgramTest):
    IMAGES = (120, 20)

    def train(self, *words, run_dir=None, ranks=0, code=0):
        """`words`: keys with values, and options as they were printed."""
        options = []
        for word in words:
            options += (
                [word] if word.startswith("-") or options[-1:] == ["--run-dir"] else ["--set", word]
            )
        if run_dir:
            options += ["--run-dir", self.folder / run_dir]
        result = run(
            "train",
            *("--set", f"data.file={self.data}", "--set", "batch_size=32"),
            *options,
            ranks=ranks,
        )
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def advised(self, text, pattern):
        """The words of what the program printed behind `pattern`."""
        found = re.search(pattern + r"(.*)", text)
        self.assertIsNotNone(found, text)
        return [word for word in shlex.split(found[1]) if word != "--set"]

    def epochs(self, run_dir):
        lines = (self.folder / run_dir / "metrics.jsonl").read_text().splitlines()
        return [line["epoch"] for line in map(json.loads, lines) if line["event"] == "epoch"]

    def weights(self, run_dir):
        return self.safetensors(f"{run_dir}/last.safetensors")[1]

    def test_a_run_that_stopped_early_waits_longer(self):
        hopeless = ("epochs=4", "early_stopping.min_delta=100", "lr_schedule.name=cosine")
        text = self.train(*hopeless, "early_stopping.patience=1", run_dir="early")
        self.assertEqual(self.epochs("early"), [1, 2])
        longer = self.advised(text, "to wait longer: ")
        self.train(*hopeless, *longer)
        self.assertEqual(self.epochs("early"), [1, 2, 3])
        # As if it had waited from the beginning.
        self.train(*hopeless, "early_stopping.patience=2", run_dir="patient")
        self.assertEqual(self.weights("early"), self.weights("patient"))

    def test_a_run_that_is_too_short_becomes_long_enough(self):
        text = self.train("epochs=2", run_dir="short")
        self.train(*self.advised(text, "to change: 5 epochs or more: "))
        self.assertGreaterEqual(len(self.epochs("short")), 5)

    def test_a_limit_is_lifted(self):
        text = self.train("epochs=5", "limits.steps=4", run_dir="limited")
        self.train("epochs=5", *self.advised(text, "to change: 5 epochs or more: "))
        self.assertEqual(self.epochs("limited")[-1], 5)

    def test_a_schedule_that_spans_the_run_is_not_stretched(self):
        cosine = ("lr_schedule.name=cosine", "optimizer.learning_rate=0.05")
        text = self.train(*cosine, "epochs=2", run_dir="cosine")
        epochs = self.advised(text, "to change: 5 epochs or more: a new run with ")[0]
        # What the verdict warns of is refused, with a way to train on from the weights.
        refusal = self.train(*cosine, epochs, "--resume", run_dir="cosine", code=64)
        self.assertIn("would jump from 0 to", refusal)
        weights = re.search(r"model\.weights=(\S+\.safetensors)", refusal)[0]
        self.train(*cosine, "epochs=1", weights, run_dir="cosine-on")
        kept = re.search(r"Resume with (epochs=\d+)", refusal)[1]
        self.train(*cosine, kept, "--resume", run_dir="cosine")
        self.train(*cosine, epochs, "limits.steps=1", run_dir="cosine-anew")

    def test_an_interrupted_run_goes_on(self):
        text = self.train(
            "epochs=1", "limits.wall_time_seconds=1e-6", run_dir="interrupted", code=75
        )
        options = re.search(r"the same command with (.*) goes on", text)[1]
        self.train("epochs=1", *shlex.split(options))
        self.assertEqual(self.epochs("interrupted"), [1])

    def test_a_lagging_average_is_told_before_and_after(self):
        text = self.train("epochs=8", "optimizer.ema_decay=0.9999", run_dir="lagging")
        note, verdict = text.split("epoch   1/8", 1)
        fitting = re.search(r"(optimizer\.ema_decay=\S+) fits", note)[1]
        self.assertIn(fitting, self.advised(verdict, "to change, in a new run: "))
        self.assertNotRegex(verdict, "more epochs|epochs=|still improving|underfit")
        end = json.loads((self.folder / "lagging/metrics.jsonl").read_text().splitlines()[-1])
        self.assertEqual(end["verdict"], "average_lags")
        self.assertIn("not to be judged", (self.folder / "lagging/report.html").read_text().lower())
        self.assertNotIn(
            "note:", self.train("epochs=8", fitting, "limits.steps=23", run_dir="fitting")
        )

    def test_single_values_are_refused_until_one_of_the_ways_out_is_taken(self):
        narrow = ("model.name=resnet18", "model.stem=imagenet", "batch_size=2", "limits.steps=1")
        narrow += ("distributed.batch_norm=local",)
        text = self.train(*narrow, ranks=2, run_dir="narrow", code=64)
        self.assertIn("layer4.0.bn1 and 4 more norms", text)
        ways = re.search(r"Set (.*)", text)[1].split(", or ")
        self.assertEqual(len(ways), 4, ways)
        for number, way in enumerate(ways):
            self.train(*narrow, way.split()[0], ranks=2, run_dir=f"narrow-{number}")

    def test_wrapped_weights_and_weights_without_a_head_are_taken(self):
        self.train("limits.steps=1", run_dir="origin")
        header, tensors = self.safetensors("origin/last.safetensors")
        del header["__metadata__"]
        for prefix in ("module.", "_orig_mod.", "model."):
            file = self.folder / "wrapped.safetensors"
            write_safetensors(
                file, {prefix + name: where for name, where in header.items()}, tensors
            )
            text = self.train(f"model.weights={file}", "--dry-run")
            self.assertIn(f"all its names begin with '{prefix}', which is left out", text)
        # fc's tensors under the name of something else, in a file of a wrapped model.
        mixed = {
            "criterion." + name if name.startswith("fc.") else "model." + name: where
            for name, where in header.items()
        }
        write_safetensors(file, mixed, tensors)
        text = self.train(f"model.weights={file}", "--dry-run", code=65)
        self.assertLess(len(text.splitlines()), 25, text)
        command = re.search(r"^python3 -c .*", text, re.MULTILINE)[0]
        if torch is None:
            self.skipTest("PyTorch and safetensors are missing: launch/setup.sh --tests")
        self.convert(command)
        text = self.train(f"model.weights={self.folder}/weights.safetensors", "--dry-run")
        self.assertIn("last layer fc is not in it: freshly initialised", text)

    def convert(self, command):
        subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": PYTHON_PATH},
            check=True,
        )

    @unittest.skipIf(torch is None, "PyTorch and safetensors are missing: launch/setup.sh --tests")
    def test_a_pickle_becomes_a_file_that_is_taken(self):
        self.train("limits.steps=1", run_dir="pickled")
        weights = safetensors.torch.load_file(self.folder / "pickled/last.safetensors")
        pickle = self.folder / "it's a checkpoint.pth"
        torch.save(
            {"epoch": 3, "state_dict": {"module." + name: w for name, w in weights.items()}}, pickle
        )
        text = self.train(f"model.weights={pickle}", "--dry-run", code=64)
        self.convert(re.search(r"^python3 -c .*", text, re.MULTILINE)[0])
        self.train(f"model.weights={self.folder}/weights.safetensors", "--dry-run")

    def test_what_was_meant_is_what_is_taken(self):
        refusal = run("train", "--set", "lr=.05")
        self.assertEqual(refusal.returncode, 64)
        key = re.search(r"did you mean '(.*)'\?", refusal.stderr)[1]
        printed = run("train", "--set", f"{key}=.05", "--print-config")
        self.assertEqual(json.loads(printed.stdout)["optimizer"]["learning_rate"], 0.05)
        for words in (["--lr", ".05"], ["--lr=.05"], ["--learning-rate", ".05"]):
            refusal = run("train", *words, "--print-config")
            self.assertEqual(refusal.returncode, 64)
            meant = re.search(r"did you mean (--set \S+)\?", refusal.stderr)[1]
            printed = run("train", *shlex.split(meant), "--print-config")
            self.assertEqual(json.loads(printed.stdout)["optimizer"]["learning_rate"], 0.05)
        for words, meant in {
            ("train", "--run-dri", "a"): "'--run-dir'",
            ("train", "--gpus", "2"): "mpirun -np N",
            ("train", "--model", "resnet18"): "--set model.name=resnet18?",
            ("config", "lr"): "'optimizer.learning_rate'",
            ("lr",): "'train --find-lr'",
            ("eval",): "'evaluate'",
            ("export", "--weight", "last", "a", "b"): "'--weights'",
        }.items():
            refusal = run(*words)
            self.assertEqual(refusal.returncode, 64, words)
            self.assertIn(meant, refusal.stderr)

    def test_options_without_what_they_belong_to_are_refused(self):
        for words in (["--find-lr-updates", 50], ["--dry-run", "--resume", "--run-dir", "a"]):
            self.assertEqual(run("train", *words).returncode, 64)

    def dry_run_in(self, temporary):
        return subprocess.run(
            [program_fixture.PROGRAM, "train", "--dry-run"],
            capture_output=True,
            text=True,
            env=program_fixture.ENVIRONMENT | {"TMPDIR": str(temporary)},
            timeout=200,
        )

    def test_a_damaged_synthetic_set_is_made_anew(self):
        temporary = self.folder / "tmp"
        temporary.mkdir()

        def dry_run():
            result = self.dry_run_in(temporary)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

        dry_run()
        (made,) = temporary.glob("lockstep-synthetic-*.h5")
        whole = made.read_bytes()
        dry_run()  # which leaves it alone
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (whole[: len(whole) // 2], b"", bytes(flipped)):
            made.write_bytes(damaged)
            dry_run()
            self.assertEqual(len(made.read_bytes()), len(whole))
        made.unlink()
        made.mkdir()
        result = self.dry_run_in(temporary)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("set TMPDIR", result.stderr)


unittest.main(argv=sys.argv[:1], verbosity=2)
