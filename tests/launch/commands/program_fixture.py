"""What tests of the program share: starting it as users do, a small set, trainings, refusals.

Takes PROGRAM and MPIRUN from the test's command line.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import ranks_command

PROGRAM, MPIRUN = sys.argv[1:3]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")


def run(*arguments, ranks=0, **variables):
    """`variables`: of the environment, beside those of every test."""
    command = (ranks_command(MPIRUN, ranks) if ranks else []) + [PROGRAM, *map(str, arguments)]
    environment = ENVIRONMENT | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


class ProgramTest(unittest.TestCase):
    IMAGES = (410, 101)  # of the set, to train on and to test

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-cli-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        train, test = cls.IMAGES
        result = run("data", "synth", cls.data, "--train", train, "--test", test)
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

    def safetensors(self, file):
        """The header, whose metadata hold the configuration, and the tensors behind it."""
        content = (self.folder / file).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        return json.loads(content[8:end]), content[end:]
