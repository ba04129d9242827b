#!/usr/bin/env python3
"""Commands for one process, started as several by mpirun: the work is done once, and what it says is said once.

usage: one_process_test.py PROGRAM MPIRUN
"""

import pathlib
import sys
import tempfile
import unittest

from program_fixture import run

NOTE = "is work for one process"


class OneProcess(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-one-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        cls.run_dir = cls.folder / "run"
        assert run("data", "synth", cls.data, "--train", 200, "--test", 20).returncode == 0
        settings = (
            "--set",
            f"data.file={cls.data}",
            "--set",
            "limits.steps=1",
            "--set",
            "device=cpu",
        )
        assert run("train", "--run-dir", cls.run_dir, *settings).returncode == 0

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def test_what_tells_something_tells_it_once(self):
        for command in (
            ["config", "epochs"],
            ["data", "info", self.data],
            ["train", "--print-config"],
            ["--version"],
            ["train", "--help"],
        ):
            with self.subTest(command=command):
                alone, together = run(*command), run(*command, ranks=2)
                self.assertEqual((together.returncode, together.stdout), (0, alone.stdout))

    def test_what_writes_a_file_writes_it_once(self):
        made, weights, page = (
            self.folder / name for name in ("made.h5", "out.safetensors", "out.html")
        )
        for command, file in (
            (["data", "synth", made, "--train", 20, "--test", 10], made),
            (["export", self.run_dir, weights, "--weights", "last"], weights),
            (["report", self.run_dir, "--output", page], page),
        ):
            with self.subTest(command=command[0]):
                result = run(*command, ranks=3)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertTrue(file.exists())
                self.assertNotIn("error", result.stderr)
                self.assertEqual(result.stderr.count(NOTE), 1, result.stderr)

    def test_a_failure_is_told_once_and_has_its_code(self):
        for command, code in (
            (["data", "info", self.folder / "none.h5"], 74),
            (["data", "synth", self.data], 64),
            (["predict", self.run_dir, self.data, "--weights", "last"], 65),
            (["config", "no.such.key"], 64),
        ):
            with self.subTest(command=command[0]):
                result = run(*command, ranks=2)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertEqual(result.stderr.count("lockstep: error:"), 1, result.stderr)

    def test_an_srun_that_connects_nothing_counts_too(self):
        step = dict(SLURM_STEP_ID="0", SLURM_STEP_NUM_TASKS="2")
        others = run("config", "epochs", SLURM_PROCID="1", **step)
        self.assertEqual((others.returncode, others.stdout), (0, ""))
        self.assertIn(NOTE, others.stderr)
        first = run("config", "epochs", SLURM_PROCID="0", **step)
        self.assertTrue(first.stdout.startswith("epochs = "))
        batch_script = dict(step, SLURM_STEP_ID="4294967291")
        self.assertTrue(run("config", "epochs", SLURM_PROCID="1", **batch_script).stdout)


unittest.main(argv=sys.argv[:1], verbosity=2)
