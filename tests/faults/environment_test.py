#!/usr/bin/env python3
"""What surrounds a real training: clocks that jump, variables that lie, memory that ends.

usage: environment_test.py PROGRAM MPIRUN [UNITTEST_OPTION]...
"""

import resource
import subprocess
import sys
import unittest

from fault_fixture import ENVIRONMENT, PROGRAM, FaultTest, in_whole_runs


class Surroundings(FaultTest):
    @in_whole_runs
    def test_a_clock_that_jumps_changes_no_deadline(self):
        """Forth by a day and back again, every hundred questions; steady clocks stay steady."""
        shim = self.compile_shim(
            "jumping_clock",
            """
            #include <sys/syscall.h>
            #include <sys/time.h>
            #include <time.h>
            #include <unistd.h>
            static time_t jump(void) {
              static unsigned asked;
              return (__sync_fetch_and_add(&asked, 1) / 100) % 2 ? 86400 : 0;
            }
            int clock_gettime(clockid_t clock, struct timespec* now) {
              const int result = syscall(SYS_clock_gettime, clock, now);
              if (clock == CLOCK_REALTIME) now->tv_sec += jump();
              return result;
            }
            int gettimeofday(struct timeval* now, void* zone) {
              struct timespec exact;
              clock_gettime(CLOCK_REALTIME, &exact);
              now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
              return 0;
            }
            time_t time(time_t* where) {
              struct timespec exact;
              clock_gettime(CLOCK_REALTIME, &exact);
              if (where) *where = exact.tv_sec;
              return exact.tv_sec;
            }
            """,
        )
        run = self.folder / "jumping"
        result = self.run_to_its_end(run, "limits.steps=40", before=["env", f"LD_PRELOAD={shim}"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertNotIn("waited", result.stderr)

    def test_variables_that_lie_are_ignored_or_refused(self):
        for name, value in (
            ("SLURM_JOB_ID", "$(touch hacked)"),
            ("SLURM_PROCID", "-1"),
            ("SLURM_NTASKS", "99999999999999999999"),
            ("OMPI_COMM_WORLD_RANK", "-7"),
            ("OMPI_COMM_WORLD_SIZE", "x" * 100_000),
            ("PMI_RANK", "one"),
            ("OMP_NUM_THREADS", "-3"),
            ("OMP_NUM_THREADS", "9" * 1000),
        ):
            with self.subTest(variable=name, value=value[:30]):
                run = self.folder / f"lie-{name}-{len(value)}"
                environment = ENVIRONMENT | {name: value}
                options = dict(ranks=0, env=environment, cwd=self.folder)
                result = self.run_to_its_end(run, "limits.steps=2", **options)
                text = result.stdout + result.stderr
                self.assertIn(result.returncode, (0, 64), text[:2000])
                if result.returncode != 0:
                    self.assertIn(name, text)
                self.assertFalse((self.folder / "hacked").exists())

    @in_whole_runs
    def test_memory_that_ends_is_told_with_what_to_lower(self):
        limit = 6 << 30

        def less_memory():
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        data = self.folder / "many.h5"
        words = ["batch_size=20000", f"data.file={data}", "limits.steps=1"]
        self.synthesise(data, 25000)
        run = self.folder / "large"
        result = self.run_to_its_end(run, *words, ranks=0, preexec_fn=less_memory)
        text = result.stdout + result.stderr
        self.assertEqual(result.returncode, 70, text)
        self.assertIn("out of memory", text)
        self.assertIn("batch_size", text)
        self.assertNotRegex(text, r"c10::|std::")

    def synthesise(self, path, images):
        words = [PROGRAM, "data", "synth", path, "--train", str(images), "--test", "50"]
        subprocess.run(words, check=True, capture_output=True)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
