#!/usr/bin/env python3
"""Signals to a real training of two ranks: what is saved, what code it ends with, and how soon.

usage: signals_test.py PROGRAM MPIRUN [UNITTEST_OPTION]...
"""

import os
import signal
import sys
import time
import unittest

from fault_fixture import MPIRUN, FaultTest, in_whole_runs
from launching import is_open_mpi


class Signals(FaultTest):
    def test_usr2_saves_and_ends_with_75(self):
        job, ranks, run = self.start("usr2")
        # MPICH's mpirun passes no USR2 on: it dies of it.
        os.kill(job.pid if is_open_mpi(MPIRUN) else ranks[0], signal.SIGUSR2)
        output = self.end(job, 15)
        self.assertEqual(job.returncode, 75, output)
        self.assertIn("--resume", output)
        self.assert_kept(run)

    def test_term_to_one_rank_saves_on_all(self):
        job, ranks, run = self.start("term")
        os.kill(ranks[1], signal.SIGTERM)
        output = self.end(job, 15)
        self.assertEqual(job.returncode, 75, output)
        self.assert_kept(run)

    @in_whole_runs
    def test_term_and_int_to_mpirun_end_the_job_soon_and_keep_what_was_saved(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name):
                job, _, run = self.start(f"mpirun-{number.name}")
                job.send_signal(number)
                output = self.end(job, 5)
                self.assertNotEqual(job.returncode, 0, output)
                self.assert_kept(run)

    def test_a_signal_during_a_save_waits_for_it_and_a_second_one_does_not(self):
        shim = self.compile_slow_fsync()
        before = ["env", f"LD_PRELOAD={shim}", "SLOW_FILES=manifest.json", "SLOW_SECONDS=3"]
        job, ranks, run = self.start("once", before=before)
        os.kill(ranks[0], signal.SIGTERM)
        output = self.end(job, 20)
        self.assertEqual(job.returncode, 75, output)
        self.assert_kept(run)

        job, ranks, run = self.start("twice", before=before)
        os.kill(ranks[0], signal.SIGTERM)
        time.sleep(0.5)
        os.kill(ranks[0], signal.SIGTERM)
        output = self.end(job, 8)
        self.assertNotIn(job.returncode, (0, 75), output)
        self.assert_kept(run)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
