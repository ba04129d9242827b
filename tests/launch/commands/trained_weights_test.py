#!/usr/bin/env python3
"""Weights of a run in use: evaluated, predicted with, exported, and started from.

usage: trained_weights_test.py PROGRAM MPIRUN
"""

import json
import struct
import sys
import unittest
import zlib

from program_fixture import ProgramTest, run


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


class TrainedWeights(ProgramTest):
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


unittest.main(argv=sys.argv[:1], verbosity=2)
