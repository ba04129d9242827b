#!/usr/bin/env python3
"""Trained weights meet images again: their own set, the same classes in another order, other classes.

usage: set_matching_test.py PROGRAM MPIRUN
"""

import json
import random
import subprocess
import sys
import unittest

from program_fixture import ENVIRONMENT, MPIRUN, PROGRAM, ProgramTest, ranks_command, run

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
REORDERED = CLASSES[3:] + CLASSES[:3]
# Of 20 pictures: not as many of each class, so that mistaking one for another changes every number.
KINDS = [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2 + [4, 5, 6, 7, 8, 9]
OTHERS = ["newt" if name == "cat" else name for name in CLASSES]


def write_cifar(folder, names):
    """The same 120 pictures whatever the names, each class's darker than the next one's."""
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n")
    generator = random.Random(5)
    for file in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        records = b""
        for kind in KINDS:
            label = names.index(CLASSES[kind]) if CLASSES[kind] in names else kind
            shades = bytes(20 * kind + value % 64 for value in generator.randbytes(3072))
            records += bytes([label]) + shades
        (folder / f"{file}.bin").write_bytes(records)


class SetMatching(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, classes in {"own": CLASSES, "reordered": REORDERED, "others": OTHERS}.items():
            write_cifar(cls.folder / name, classes)
            result = run("data", "import", cls.folder / name, cls.set_called(name))
            assert result.returncode == 0, result.stderr
        result = cls.train_on("trained", "own", "epochs=2")
        assert result.returncode == 0, result.stderr

    @classmethod
    def set_called(cls, name):
        return cls.folder / f"{name}.h5"

    @classmethod
    def train_on(cls, run_dir, data, *settings, resume=False):
        keys = [f"data.file={cls.set_called(data)}", "batch_size=16", *settings]
        words = [word for key in keys for word in ("--set", key)]
        directory = ["--run-dir", cls.folder / run_dir, *(["--resume"] if resume else [])]
        return run("train", *words, *directory)

    def evaluate(self, data, *options):
        return run("evaluate", self.folder / "trained", "--data", self.set_called(data), *options)

    def numbers(self, data, *options):
        result = self.evaluate(data, *options, "--json")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        answer = json.loads(result.stdout)
        return answer["images"], answer["correct"], answer["loss"]

    def digest(self, name):
        text = run("data", "info", self.set_called(name)).stdout
        return text.split("digest")[1].split()[0]

    def test_classes_in_another_order_are_matched_by_name(self):
        images, correct, loss = self.numbers("own")
        self.assertEqual(images, 20)
        self.assertEqual(self.numbers("reordered"), (images, correct, loss))
        self.assertIn("matched by their names", self.evaluate("reordered").stdout)
        self.assertNotIn("matched", self.evaluate("own").stdout)

    def test_other_classes_are_refused_with_both_lists(self):
        result = self.evaluate("others")
        self.assert_refused(result, 65, ", ".join(CLASSES), ", ".join(OTHERS), "others.h5")

    def test_the_validation_part_is_that_of_the_set_trained_on(self):
        metrics = (self.folder / "trained" / "metrics.jsonl").read_text().splitlines()
        last = [json.loads(line) for line in metrics if json.loads(line)["event"] == "epoch"][-1]
        images, correct, loss = self.numbers("own", "--split", "validation", "--weights", "last")
        self.assertAlmostEqual(correct / images, last["validation_accuracy"])
        self.assertAlmostEqual(loss, last["validation_loss"], places=5)
        self.assert_refused(
            self.evaluate("reordered", "--split", "validation"),
            65,
            self.digest("own"),
            self.digest("reordered"),
            "--allow-other-data",
        )
        told = ("--split", "validation", "--weights", "last", "--allow-other-data")
        self.assertEqual(self.numbers("reordered", *told), (images, correct, loss))

    def test_exported_weights_keep_what_they_were_trained_on(self):
        file = self.folder / "exported.safetensors"
        self.assertEqual(run("export", self.folder / "trained", file).returncode, 0)
        result = run("evaluate", file, "--data", self.set_called("others"))
        self.assert_refused(result, 65, ", ".join(CLASSES), ", ".join(OTHERS))
        own = run("evaluate", file, "--data", self.set_called("own"), "--split", "validation")
        self.assertEqual(own.returncode, 0, own.stderr)

    def test_ranks_with_different_weights_are_refused(self):
        content = bytearray((self.folder / "trained" / "last.safetensors").read_bytes())
        command = ranks_command(MPIRUN, 1)
        for number, apart in enumerate(([], [":", "-np", "1"])):
            source = self.folder / f"rank{number}.safetensors"
            source.write_bytes(content)
            command += [*apart, PROGRAM, "evaluate", str(source)]
            command += ["--data", str(self.set_called("own"))]
            content[-1] ^= 1
        result = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200
        )
        self.assert_refused(result, 64, "weights file differs")

    def test_fine_tuning_follows_the_names_of_the_classes(self):
        weights = f"model.weights={self.folder / 'trained' / 'last.safetensors'}"
        for data, words in {
            "own": "",
            "reordered": "last layer fc: its classes are matched by their names",
            "others": "last layer fc was trained on other classes",
        }.items():
            result = self.train_on(f"tuned-{data}", data, weights, "limits.steps=1")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(words, result.stdout)
            self.assertEqual("last layer" in result.stdout, data != "own", result.stdout)
        compared = self.folder / "compared.html"
        runs = [self.folder / name for name in ("tuned-own", "tuned-others")]
        self.assertEqual(run("report", *runs, "--output", compared).returncode, 0)
        self.assertIn("not of one image set", compared.read_text())

    def test_a_run_goes_on_with_its_own_images_alone_and_keeps_what_it_has_told(self):
        self.assertEqual(self.train_on("resumed", "own", "limits.steps=2").returncode, 0)
        files = [self.folder / "resumed" / name for name in ("metrics.jsonl", "config.json")]
        before = [file.read_bytes() for file in files]
        result = self.train_on("resumed", "reordered", "limits.steps=3", resume=True)
        self.assert_refused(result, 64, self.digest("own"), self.digest("reordered"))
        self.assertEqual([file.read_bytes() for file in files], before)
        self.assertEqual(
            self.train_on("resumed", "own", "limits.steps=3", resume=True).returncode, 0
        )


unittest.main(argv=sys.argv[:1], verbosity=2)
