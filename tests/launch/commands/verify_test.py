#!/usr/bin/env python3
"""lockstep verify: which files of a run can be trusted, up to where two runs are the same, where they part.

usage: verify_test.py PROGRAM MPIRUN
"""

import hashlib
import json
import shutil
import sys
import unittest

from program_fixture import ProgramTest, run

SETTINGS = [
    "distributed.reproducible=true",
    "distributed.batch_norm_group=4",
    "epochs=2",
    "logging.digest_every_steps=2",
    "logging.tensorboard=false",
]


class Verify(ProgramTest):
    IMAGES = (200, 50)

    def trained(self, name, *more, ranks=0):
        directory = self.folder / name
        settings = [f"data.file={self.data}", "batch_size=37", *SETTINGS, *more]
        options = [word for setting in settings for word in ("--set", setting)]
        result = run("train", *options, "--run-dir", directory, ranks=ranks)
        self.assertEqual(result.returncode, 0, result.stderr)
        return directory

    def assert_verified(self, code, *arguments, words):
        result = run("verify", *arguments)
        text = result.stdout + result.stderr
        self.assertEqual(result.returncode, code, text)
        for word in words:
            self.assertIn(word, text)
        return text

    def test_every_file_is_looked_at(self):
        directory = self.trained("whole")
        text = self.assert_verified(
            0,
            directory,
            words=[
                "checkpoints/00000010",
                "update 10, 2 epochs done",
                "as the newest checkpoint names it",
                "the weights of update 10",
                "--resume goes on from update 10",
                "can use: best, last",
            ],
        )
        names = {line.split()[0] for line in text.splitlines() if "  sound" in line}
        kept = {path.name for path in directory.iterdir()}
        kept -= {".lock", "report.html", "checkpoints"}
        self.assertEqual(names - {"checkpoints/00000005", "checkpoints/00000010"}, kept)

        def damage(file, change):
            copy = self.folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(directory, copy)
            path = copy / file
            path.write_bytes(change(bytearray(path.read_bytes())))
            return copy

        def flip(at):
            def change(data):
                data[at] ^= 1
                return data

            return change

        for file, change, words in (
            ("checkpoints/00000010/model.safetensors", flip(-1), ["going", "from update 5"]),
            ("checkpoints/00000010/state.json", flip(5), ["from update 5"]),
            ("checkpoints/00000010/manifest.json", lambda data: data[:40], ["from update 5"]),
            ("best.safetensors", flip(-1), ["newest checkpoint names", "can use: last"]),
            ("last.safetensors", lambda data: data[:-1], ["can use: best"]),
            ("metrics.jsonl", lambda data: data[:-9], ["1 of 14 lines cannot be read"]),
            ("digests.jsonl", lambda data: data[:-9], ["1 of 5 lines cannot be read"]),
            ("config.json", lambda data: data[:-9], ["config.json"]),
            ("environment.json", lambda data: data[:-9], ["it is not JSON"]),
        ):
            with self.subTest(file=file):
                words = [word for word in words if word != "going"]
                copy = damage(file, change)
                self.assert_verified(65, copy, words=["NOT TO BE TRUSTED", *words])

    def test_runs_are_the_same_or_part_somewhere(self):
        alone = self.trained("alone")
        two = self.trained("two", ranks=2)
        self.assert_verified(
            0,
            alone,
            "--against",
            two,
            words=["the same up to update 10", "digests of 5 updates, 2 checkpoints"],
        )
        # As if a tensor had changed behind the checkpoint of update 5.
        lines = [json.loads(line) for line in (two / "digests.jsonl").read_text().splitlines()]
        for line in lines[2:]:
            for name in ("layer1.0.conv1.weight", "momentum/fc.bias"):
                line["digests"][name] = "0" * 16
        (two / "digests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.assert_verified(
            1,
            alone,
            "--against",
            two,
            words=["after update 5 and by update 6: layer1.0.conv1.weight, momentum/fc.bias ("],
        )
        # By checkpoints alone.
        (two / "digests.jsonl").unlink()
        self.assert_verified(
            0, alone, "--against", two, words=["digests of 0 updates, 2 checkpoints"]
        )

    def test_other_runs_are_not_compared(self):
        first = self.trained("first")
        other = self.trained("other", "seed=2")
        self.assert_verified(
            64, first, "--against", other, words=["not comparable", "seed: 1 != 2"]
        )
        # The same settings, elsewhere: a difference is no fault then.
        moved = self.trained("moved")
        self.plant(moved, lambda _, manifest: manifest.update(arithmetic="an abacus"))
        self.assert_verified(0, first, "--against", moved, words=["the same up to update 10"])
        digests = moved / "digests.jsonl"
        digests.write_text(digests.read_text().replace('"conv1.weight":"', '"conv1.weight":"x'))
        self.assert_verified(
            64, first, "--against", moved, words=["not comparable", "with an abacus"]
        )

    def assert_replayed(self, code, directory, *more, ranks=0, words):
        result = run("verify", directory, "--replay", *more, ranks=ranks)
        text = result.stdout + result.stderr
        self.assertEqual(result.returncode, code, text)
        for word in words:
            self.assertIn(word, text)

    def plant(self, directory, change):
        """Changes the manifests of a run's checkpoints."""
        for checkpoint in (directory / "checkpoints").iterdir():
            path = checkpoint / "manifest.json"
            manifest = json.loads(path.read_text())
            change(checkpoint, manifest)
            del manifest["digest"]  # as older ones
            path.write_text(json.dumps(manifest))

    def test_a_stretch_is_trained_again(self):
        directory = self.trained("audited")
        before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
        for ranks in (0, 2, 3):
            with self.subTest(ranks=ranks):
                self.assert_replayed(
                    0,
                    directory,
                    ranks=ranks,
                    words=[
                        "training updates 6 to 10 again, on ",
                        "the same up to update 10 (compared: digests of 3 updates, 1 checkpoint)",
                    ],
                )
        after = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
        self.assertEqual(before, after)

        moved = self.data.rename(self.folder / "moved.h5")
        try:
            self.assert_replayed(74, directory, words=["set.h5"])
            words = ["the same up to update 10"]
            self.assert_replayed(0, directory, "--data", moved, words=words)
        finally:
            moved.rename(self.data)

        def wrong(checkpoint, manifest):
            if checkpoint.name != "00000010":
                return
            header, weights = self.safetensors(checkpoint / "model.safetensors")
            weights = bytearray(weights)
            begin = header["fc.bias"]["data_offsets"][0]
            weights[begin] ^= 1
            raw = (checkpoint / "model.safetensors").read_bytes()
            raw = raw[: len(raw) - len(weights)] + bytes(weights)
            (checkpoint / "model.safetensors").write_bytes(raw)
            manifest["sha256"]["model.safetensors"] = hashlib.sha256(raw).hexdigest()

        (directory / "digests.jsonl").unlink()
        self.plant(directory, wrong)
        words = ["they part after update 5 and by update 10: fc.bias ("]
        self.assert_replayed(1, directory, ranks=2, words=words)

    def test_a_run_with_one_checkpoint_is_trained_from_its_beginning(self):
        directory = self.trained("single", "checkpoint.keep=1")
        words = ["training updates 1 to 10 again, on 1 rank", "the same up to update 10"]
        self.assert_replayed(0, directory, words=words)
        shutil.rmtree(directory / "checkpoints/00000010")
        words = ["holds no sound checkpoint"]
        self.assert_replayed(64, directory, words=words)

    def test_a_run_of_another_kind_of_processor_is_not_replayed(self):
        directory = self.trained("abacus")
        self.plant(directory, lambda _, manifest: manifest.update(arithmetic="an abacus"))
        words = ["not comparable", "was computed with an abacus"]
        self.assert_replayed(64, directory, words=words)

    def test_what_is_no_run_is_refused(self):
        self.assert_verified(64, self.folder, words=["is no run directory"])
        self.assert_verified(74, self.folder / "nowhere", words=["no such folder"])


unittest.main(argv=sys.argv[:1], verbosity=2)
