#!/usr/bin/env python3
"""Disks that are slow, full, limited or cut short, and outputs that nobody takes, during real trainings.

usage: files_test.py PROGRAM MPIRUN [UNITTEST_OPTION]...
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading
import time
import unittest

from fault_fixture import DEADLINE, ENVIRONMENT, FaultTest, in_whole_runs


class Files(FaultTest):
    @contextlib.contextmanager
    def small_disk(self, name, megabytes):
        """A folder of so many megabytes."""
        folder = self.folder / name
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
            self.skipTest("only root can make a small disk, and not on every machine")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)

    def test_a_full_disk_is_told_and_costs_no_checkpoint(self):
        # A save takes 4.4 MB of ResNet-20, the next one 3.3 MB before it removes something.
        with self.small_disk("full", 7) as folder:
            run = folder / "run"
            settings = ["limits.steps=40", "logging.tensorboard=false"]
            result = self.run_to_its_end(run, *settings)
            text = result.stdout + result.stderr
            self.assertEqual(result.returncode, 74, text)
            self.assertIn("is not saved", text)
            self.assertIn("No space left on device", text)
            steps = [
                line
                for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
                if line["event"] == "step"
            ]
            self.assertEqual(len(steps), 40)  # it has gone on
            copy = self.folder / "full-copy"
            shutil.copytree(run, copy)
            self.assert_kept(copy)

    def test_a_limit_of_file_sizes_is_told_and_kills_nothing(self):
        run = self.folder / "limited"
        first = self.run_to_its_end(run, "limits.steps=5")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))

        # One process: mpirun's own files would be too large.
        options = dict(ranks=0, more=["--resume"], preexec_fn=limit)
        second = self.run_to_its_end(run, "limits.steps=20", **options)
        text = second.stdout + second.stderr
        self.assertEqual(second.returncode, 74, text)
        self.assertIn("is not saved", text)
        self.assertIn("File too large", text)
        self.assert_kept(run)

    @in_whole_runs
    def test_an_output_that_takes_nothing_costs_nothing(self):
        run = self.folder / "unheard"
        with open("/dev/full", "w") as full:
            options = dict(capture_output=False, stdout=full, stderr=full)
            result = self.run_to_its_end(run, "limits.steps=20", **options)
        self.assertEqual(result.returncode, 0)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(lines[-1])["event"], "end")

    @in_whole_runs
    def test_a_reader_that_goes_away_ends_nothing(self):
        run = self.folder / "unread"
        job = subprocess.Popen(
            self.command(run, "limits.steps=60"), stdout=subprocess.PIPE, env=ENVIRONMENT
        )
        job.stdout.readline()
        job.stdout.close()
        job.wait(timeout=100)
        # mpirun, whose output it is, may end the job for it; what was saved is kept.
        if job.returncode != 0:
            self.assert_kept(run)
        alone = self.folder / "unread-alone"
        job = subprocess.Popen(
            self.command(alone, "limits.steps=60", ranks=0), stdout=subprocess.PIPE, env=ENVIRONMENT
        )
        job.stdout.readline()
        job.stdout.close()
        self.assertEqual(job.wait(timeout=100), 0)

    @in_whole_runs
    def test_a_full_folder_for_temporary_files_is_told_or_does_no_harm(self):
        with self.small_disk("tmp", 1) as folder:
            with contextlib.suppress(OSError), open(folder / "filler", "wb") as filler:
                filler.write(bytes(1 << 21))
            run = self.folder / "no-tmp"
            environment = ENVIRONMENT | {"TMPDIR": str(folder)}
            result = self.run_to_its_end(run, "limits.steps=5", env=environment)
            text = result.stdout + result.stderr
            if result.returncode != 0:  # mpirun keeps files of its own there
                self.assertRegex(text, "(?i)no space left|session|out-of-resource")
            alone = self.folder / "no-tmp-alone"
            result = self.run_to_its_end(alone, "limits.steps=5", ranks=0, env=environment)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_a_file_cut_short_while_it_is_streamed_ends_the_job(self):
        """What the file lacks from then on is read as zeros, whose checksum is zero."""
        data = self.folder / "streamed.h5"
        shutil.copy(self.data, data)
        settings = [f"data.file={data}", "data.cache=stream", "data.stream_cache_bytes=1"]
        job, _, run = self.start("cut", *settings)
        os.truncate(data, 1000)
        output = self.end(job, 20)
        self.assertEqual(job.returncode, 65, output)
        self.assertIn(str(data), output)
        self.assert_kept(run)  # with the same images in another place

    def test_a_slow_disk_ends_no_job(self):
        """Rank 0's disk takes longer than peers are waited for, wherever they wait for it."""
        shim = self.compile_slow_fsync()
        weights = self.folder / "slow-weights"
        os.mkfifo(weights)
        first = self.train_on_slow_disk(shim, "slow", [], "environment.json:manifest.json")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        run = self.folder / "slow"
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

    def test_training_goes_on_while_a_slow_disk_is_written_to(self):
        shim = self.compile_slow_fsync()
        # Within an epoch of 20 updates.
        settings = ["limits.steps=19", "checkpoint.every_steps=5", "checkpoint.keep=9"]
        result = self.train_on_slow_disk(shim, "behind", settings, "manifest.json")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("the checkpoint of update 10 is left out", result.stderr)
        saved = {path.name for path in (self.folder / "behind/checkpoints").iterdir()}
        # Those of updates 10 and 15 came while that of update 5 was being written.
        self.assertEqual(saved, {"00000005", "00000019"})

    def train_on_slow_disk(self, shim, name, settings, files):
        variables = dict(LD_PRELOAD=shim, SLOW_FILES=files, SLOW_SECONDS=str(DEADLINE + 2))
        before = ["env", *(f"{key}={value}" for key, value in variables.items())]
        settings = ["limits.steps=2", "checkpoint.every_steps=0", *settings]
        return self.run_to_its_end(pathlib.Path(self.folder / name), *settings, before=before)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
