#!/usr/bin/env python3
"""Faults during real two-rank trainings: the job ends in time, says why, and keeps what it had saved.

usage: faults_test.py PROGRAM MPIRUN [UNITTEST_OPTION]...
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import is_open_mpi, rank_of, ranks_command

PROGRAM, MPIRUN = sys.argv[1:3]
DEADLINE = 6  # seconds: distributed.timeout_seconds


def parent_of(process):
    return int(pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lockstep-faults-")
        cls.data = os.path.join(cls.folder.name, "set.h5")
        subprocess.run(
            [PROGRAM, "data", "synth", cls.data, "--train", "400", "--test", "50"],
            check=True,
            capture_output=True,
        )

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def start(self, name, *options):
        """A training that goes on for ever, past its first checkpoint. Returns mpirun, the ranks' process ids by rank, the run directory."""
        run = os.path.join(self.folder.name, name)
        environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
        command = [
            *ranks_command(MPIRUN, 2),
            PROGRAM,
            "train",
            "--set",
            f"data.file={self.data}",
            "--set",
            "epochs=100000",
            "--set",
            "batch_size=16",
            "--set",
            "early_stopping.enabled=false",
            "--set",
            f"distributed.timeout_seconds={DEADLINE}",
            "--set",
            "checkpoint.every_steps=5",
            "--run-dir",
            run,
            *options,
        ]
        job = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.time() + 90
        while not list(pathlib.Path(run).glob("checkpoints/*/manifest.json")):
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

    def assert_resumable(self, run):
        state = [
            json.loads(p.read_text())["step"]
            for p in pathlib.Path(run).glob("checkpoints/*/manifest.json")
        ]
        self.assertTrue(state)
        result = subprocess.run(
            [
                *ranks_command(MPIRUN, 2),
                PROGRAM,
                "train",
                "--set",
                f"data.file={self.data}",
                "--set",
                "batch_size=16",
                "--set",
                "early_stopping.enabled=false",
                "--set",
                f"limits.steps={max(state) + 200}",
                "--set",
                "epochs=100000",
                "--run-dir",
                run,
                "--resume",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("resuming after update", result.stdout)

    def test_a_frozen_rank_is_named_and_ends_the_job(self):
        for frozen in (1, 0):
            with self.subTest(rank=frozen):
                job, ranks, run = self.start(f"frozen{frozen}")
                os.kill(ranks[frozen], signal.SIGSTOP)
                output = self.end(job, DEADLINE + 10)
                self.assertEqual(job.returncode, 70, output)
                self.assertIn(f"rank {frozen}", output)
                self.assertIn("waited", output)
                self.assert_resumable(run)

    def test_a_killed_rank_ends_the_job(self):
        for killed in (1, 0):
            with self.subTest(rank=killed):
                job, ranks, run = self.start(f"killed{killed}")
                os.kill(ranks[killed], signal.SIGKILL)
                output = self.end(job, 8)
                self.assertNotEqual(job.returncode, 0, output)
                self.assert_resumable(run)

    def test_usr2_saves_and_ends_with_75(self):
        job, ranks, run = self.start("usr2")
        # MPICH's mpirun passes no USR2 on: it dies of it.
        os.kill(job.pid if is_open_mpi(MPIRUN) else ranks[0], signal.SIGUSR2)
        output = self.end(job, 15)
        self.assertEqual(job.returncode, 75, output)
        self.assertIn("--resume", output)
        self.assert_resumable(run)

    def test_term_to_one_rank_saves_on_all(self):
        job, ranks, run = self.start("term")
        os.kill(ranks[1], signal.SIGTERM)
        output = self.end(job, 15)
        self.assertEqual(job.returncode, 75, output)
        self.assert_resumable(run)

    def test_a_file_cut_short_while_it_is_streamed_ends_the_job(self):
        """What the file lacks from then on is read as zeros, whose checksum is zero."""
        data = os.path.join(self.folder.name, "streamed.h5")
        shutil.copy(self.data, data)
        settings = [f"data.file={data}", "data.cache=stream", "data.stream_cache_bytes=1"]
        job, _, run = self.start("cut", *(w for s in settings for w in ("--set", s)))
        os.truncate(data, 1000)
        output = self.end(job, 20)
        self.assertEqual(job.returncode, 65, output)
        self.assertIn(data, output)
        self.assert_resumable(run)  # with the same images in another place

    def test_a_slow_disk_ends_no_job(self):
        """Rank 0's disk takes longer than peers are waited for, wherever they wait for it."""
        shim = self.compile_slow_fsync()
        weights = os.path.join(self.folder.name, "slow-weights")
        os.mkfifo(weights)
        first = self.train_on_slow_disk(shim, "slow", [], "environment.json:manifest.json")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        run = pathlib.Path(self.folder.name, "slow")
        self.assertTrue((run / "report.html").exists())

        # Reading is slow where the file is a pipe whose writer takes its time.
        def feed():
            time.sleep(DEADLINE + 2)
            with open(weights, "wb") as pipe:
                pipe.write((run / "last.safetensors").read_bytes())

        writer = threading.Thread(target=feed, daemon=True)
        writer.start()
        settings = [f"model.weights={weights}"]
        second = self.train_on_slow_disk(shim, "slow-start", settings, "report.html")
        writer.join(timeout=5)
        self.assertEqual(second.returncode, 0, second.stdout + second.stderr)

    def compile_slow_fsync(self):
        """A library whose fsync takes SLOW_SECONDS for the files of which SLOW_FILES names a part."""
        source = os.path.join(self.folder.name, "slow_fsync.c")
        library = os.path.join(self.folder.name, "slow_fsync.so")
        pathlib.Path(source).write_text(
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
            """
        )
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        return library

    def train_on_slow_disk(self, shim, name, settings, files):
        variables = dict(LD_PRELOAD=shim, SLOW_FILES=files, SLOW_SECONDS=str(DEADLINE + 2))
        command = [
            MPIRUN,
            "--allow-run-as-root",
            "--oversubscribe",
            "--bind-to",
            "none",
            "-np",
            "2",
        ]
        command += ["env", *(f"{key}={value}" for key, value in variables.items())]
        command += [PROGRAM, "train", "--run-dir", os.path.join(self.folder.name, name)]
        settings = [f"data.file={self.data}", "batch_size=16", "limits.steps=2", *settings]
        settings.append(f"distributed.timeout_seconds={DEADLINE}")
        command += [word for setting in settings for word in ("--set", setting)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=150,
            env=dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1"),
        )


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
