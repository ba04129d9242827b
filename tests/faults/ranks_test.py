#!/usr/bin/env python3
"""Ranks that die, freeze or dawdle during real trainings: the job ends in time, says why, and keeps what it had saved.

usage: ranks_test.py PROGRAM MPIRUN [UNITTEST_OPTION]...
"""

import os
import signal
import subprocess
import sys
import time
import unittest

from fault_fixture import DEADLINE, ENVIRONMENT, FaultTest, in_whole_runs


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Ranks(FaultTest):
    def test_a_frozen_rank_is_named_and_ends_the_job(self):
        for frozen in (1, 0):
            with self.subTest(rank=frozen):
                job, ranks, run = self.start(f"frozen{frozen}")
                os.kill(ranks[frozen], signal.SIGSTOP)
                output = self.end(job, DEADLINE + 10)
                self.assertEqual(job.returncode, 70, output)
                self.assertIn(f"rank {frozen}", output)
                self.assertIn("waited", output)
                self.assert_kept(run)

    def test_a_killed_rank_ends_the_job(self):
        for killed, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSEGV)):
            with self.subTest(rank=killed, signal=number.name):
                job, ranks, run = self.start(f"killed{killed}-{number}")
                os.kill(ranks[killed], number)
                output = self.end(job, 8)
                self.assertNotEqual(job.returncode, 0, output)
                self.assertRegex(output, rf"(?i)rank {killed}\b")
                self.assert_kept(run)

    @in_whole_runs
    def test_a_rank_that_dies_before_mpi_begins_ends_the_job(self):
        rank = "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"
        before = ["sh", "-c", f'[ "{rank}" = 1 ] && kill -KILL $$; exec "$@"', "sh"]
        began = time.time()
        result = self.run_to_its_end(self.folder / "stillborn", before=before)
        self.assertNotEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertLess(time.time() - began, 20)

    def test_a_rank_that_leaves_without_a_word_ends_the_job(self):
        """With code 0, in the midst of the training."""
        shim = self.compile_shim(
            "leave",
            """
            #include <signal.h>
            #include <unistd.h>
            static void leave(int number) { _exit(0); }
            __attribute__((constructor)) static void install(void) { signal(SIGRTMIN + 9, leave); }
            """,
        )
        job, ranks, run = self.start("left", before=["env", f"LD_PRELOAD={shim}"])
        os.kill(ranks[1], signal.SIGRTMIN + 9)
        output = self.end(job, DEADLINE + 10)
        self.assertNotEqual(job.returncode, 0, output)
        self.assert_kept(run)

    def test_a_killed_mpirun_leaves_no_ranks(self):
        job, ranks, run = self.start("orphans")
        job.kill()
        job.communicate(timeout=30)
        deadline = time.time() + 8
        while any(map(is_alive, ranks.values())):
            self.assertLess(time.time(), deadline, "ranks go on without mpirun")
            time.sleep(0.1)
        self.assert_kept(run)

    @in_whole_runs
    def test_a_straggler_is_waited_for_and_changes_nothing(self):
        settings = ["limits.steps=120", "checkpoint.every_steps=1000000"]
        whole = self.run_to_its_end(self.folder / "steady", *settings)
        self.assertEqual(whole.returncode, 0, whole.stdout + whole.stderr)
        slow = self.folder / "straggling"
        job = subprocess.Popen(
            self.command(slow, *settings),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        metrics = slow / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count('"event":"step"') < 5:
            self.assertIsNone(job.poll(), "it has ended")
            time.sleep(0.02)
        rank = self.ranks(job.pid)[1]
        os.kill(rank, signal.SIGSTOP)
        time.sleep(DEADLINE / 2 + 0.5)
        os.kill(rank, signal.SIGCONT)
        output = self.end(job, 120)
        self.assertEqual(job.returncode, 0, output)
        self.assertIn("rank 1", output)  # a warning names it
        weights = [
            (self.folder / name / "last.safetensors").read_bytes()[-100_000:]
            for name in ("steady", "straggling")
        ]
        self.assertEqual(*weights)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
