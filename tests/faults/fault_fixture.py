"""What tests of faults share: a training of two ranks that goes on for ever, its processes, and what it must leave behind.

Takes PROGRAM and MPIRUN from the test's command line. With LOCKSTEP_FAULTS=all in the environment (run_all.sh) all
tests are run, and every run that must be resumable is resumed; without, those that are quick.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from launching import rank_of, ranks_command

PROGRAM, MPIRUN = os.path.abspath(sys.argv[1]), sys.argv[2]
ALL = os.environ.get("LOCKSTEP_FAULTS") == "all"
in_whole_runs = unittest.skipUnless(ALL, "left to tests/faults/run_all.sh")
ALL = os.environ.get("LOCKSTEP_FAULTS") == "all"
in_whole_runs = unittest.skipUnless(ALL, "left to tests/faults/run_all.sh")
DEADLINE = 6  # seconds: distributed.timeout_seconds
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")


def parent_of(process):
    return int(pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def options_of(settings):
    return [word for setting in settings for word in ("--set", setting)]


class FaultTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-faults-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        words = [PROGRAM, "data", "synth", cls.data, "--train", "400", "--test", "50"]
        subprocess.run(words, check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def command(self, run, *settings, ranks=2, before=()):
        """`before`: words between mpirun and the program; `settings` win over the test's."""
        settings = [
            f"data.file={self.data}",
            "epochs=100000",
            "batch_size=16",
            "early_stopping.enabled=false",
            f"distributed.timeout_seconds={DEADLINE}",
            "checkpoint.every_steps=5",
            *settings,
        ]
        words = ranks_command(MPIRUN, ranks) if ranks else []
        return [*words, *before, PROGRAM, "train", *options_of(settings), "--run-dir", str(run)]

    def run_to_its_end(self, run, *settings, ranks=2, before=(), more=(), **options):
        options = {
            "capture_output": True,
            "text": True,
            "timeout": 150,
            "env": ENVIRONMENT,
        } | options
        command = self.command(run, *settings, ranks=ranks, before=before)
        return subprocess.run([*command, *more], **options)

    def start(self, name, *settings, before=()):
        """A training that goes on for ever, past its first checkpoint. Returns mpirun, the ranks' process
        ids by rank, the run directory."""
        run = self.folder / name
        job = subprocess.Popen(
            self.command(run, *settings, before=before),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.time() + 90
        while not list(run.glob("checkpoints/*/manifest.json")):
            if job.poll() is not None or time.time() > deadline:
                self.fail(f"did not start: {job.communicate()[0]}")
            time.sleep(0.1)
        return job, self.ranks(job.pid), run

    def ranks(self, launcher):
        found = {}
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                # MPICH's ranks have a proxy between them and mpirun.
                parent = parent_of(int(process.name))
                if launcher not in (parent, parent_of(parent)):
                    continue
                variables = dict(
                    v.split("=", 1)
                    for v in (process / "environ").read_text().split("\0")
                    if "=" in v
                )
                rank = rank_of(variables)
                if rank is not None:
                    found[rank] = int(process.name)
            except (OSError, IndexError):
                continue
        self.assertEqual(sorted(found), [0, 1])
        return found

    def end(self, job, within):
        began = time.time()
        try:
            output, _ = job.communicate(timeout=within + 30)
        except subprocess.TimeoutExpired:
            job.kill()
            self.fail("the job hangs")
        self.assertLess(time.time() - began, within, output)
        return output

    def assert_kept(self, run):
        """What was saved is sound, and the run goes on from there."""
        words = [PROGRAM, "verify", run]
        text = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT).stdout
        found = re.search(r"--resume goes on from update ([1-9]\d*)", text)
        self.assertTrue(found, text)
        self.assertNotRegex(text, r"checkpoints/\S+ +NOT TO BE TRUSTED")
        if ALL:
            self.resume(run, int(found[1]))

    def resume(self, run, saved):
        limit = f"limits.steps={saved + 50}"
        settings = [limit, "checkpoint.every_steps=0", "distributed.timeout_seconds=600"]
        result = self.run_to_its_end(run, *settings, more=["--resume"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("resuming after update", result.stdout)

    def compile_shim(self, name, source):
        """A library for LD_PRELOAD."""
        code, library = self.folder / f"{name}.c", self.folder / f"{name}.so"
        code.write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, code], check=True)
        return library

    def compile_slow_fsync(self):
        """A library whose fsync takes SLOW_SECONDS for the files of which SLOW_FILES names a part."""
        return self.compile_shim(
            "slow_fsync",
            """
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int fsync(int file) {
              char link[64], path[4096] = "", names[256];
              snprintf(link, sizeof link, "/proc/self/fd/%d", file);
              if (readlink(link, path, sizeof path - 1) < 0) path[0] = 0;
              snprintf(names, sizeof names, "%s", getenv("SLOW_FILES"));
              for (char* name = strtok(names, ":"); name; name = strtok(NULL, ":")) {
                const char* found = strstr(path, name);
                if (found && !strncmp(found + strlen(name), ".tmp-", 5))
                  sleep(atoi(getenv("SLOW_SECONDS")));
              }
              return syscall(SYS_fsync, file);
            }
            """,
        )
