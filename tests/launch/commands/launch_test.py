#!/usr/bin/env python3
"""lockstep launch: starts ranks, passes signals on, and starts again what lost a rank.

usage: launch_test.py PROGRAM MPIRUN
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import program_fixture
from launching import rank_of
from program_fixture import ProgramTest, run


def ranks_of(directory):
    """Process numbers, by rank, of the ranks that train into the directory."""
    found = {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(directory).encode() not in words or b"launch" in words or b"-np" in words:
            continue
        rank = rank_of(dict(item.partition("=")[::2] for item in environment.split("\0")))
        if rank is not None:
            found[rank] = int(process.name)
    return found


class Launch(ProgramTest):
    IMAGES = (200, 50)

    def settings(self, name, *more):
        settings = [
            f"data.file={self.data}",
            "batch_size=40",
            "logging.tensorboard=false",
            "distributed.reproducible=true",
            "distributed.batch_norm_group=5",
            *more,
        ]
        options = [word for setting in settings for word in ("--set", setting)]
        return ["train", *options, "--run-dir", self.folder / name]

    def launch(self, *options, command=()):
        return run("launch", "--mpirun", program_fixture.MPIRUN, *options, "--", *command)

    def start(self, name, *options, more=()):
        words = ["launch", "--mpirun", program_fixture.MPIRUN, *options, "--"]
        words += self.settings(name, *more)
        process = subprocess.Popen(
            [program_fixture.PROGRAM, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )

        def clean_up():
            process.kill()
            process.communicate()

        self.addCleanup(clean_up)
        return process

    def wait_for_updates(self, name, count, process):
        metrics = self.folder / name / "metrics.jsonl"
        for _ in range(1200):
            self.assertIsNone(process.poll(), "it has ended")
            if metrics.exists() and metrics.read_text().count('"event":"step"') >= count:
                return
            time.sleep(0.05)
        self.fail(f"{count} updates did not come")

    def wait_for_checkpoint(self, name, step, process):
        for _ in range(1200):
            names = [path.name for path in (self.folder / name).glob("checkpoints/*")]
            if max((int(each) for each in names if each.isdigit()), default=0) >= step:
                return
            self.assertIsNone(process.poll(), "it has ended")
            time.sleep(0.02)
        self.fail(f"no checkpoint of update {step}")

    def weights(self, name):
        return self.safetensors(self.folder / name / "last.safetensors")[1]

    def test_starts_as_many_ranks_as_are_asked_for(self):
        result = self.launch("-n", 2, command=self.settings("two", "epochs=1"))
        self.assertEqual(result.returncode, 0, result.stderr)
        first = (self.folder / "two/metrics.jsonl").read_text().splitlines()[0]
        self.assertEqual(json.loads(first)["world_size"], 2)
        result = self.launch("-n", 3, "--print", command=["train", "--set", "seed=2"])
        self.assertIn("-np 3 ", result.stdout)
        self.assertIn("train --set seed=2", result.stdout)

    def test_a_wrong_command_line_is_refused(self):
        train = self.settings("refused")
        for options, command, words in (
            ([], ["config"], ["launch what?", "train, evaluate, bench, doctor, verify"]),
            (["--hosts", "a:2,b"], train, ["'b' does not say", "node1:4"]),
            (["-n", 2, "--hosts", "a:2"], train, ["-n or --hosts"]),
            (["--max-restarts", 2], ["train"], ["--run-dir"]),
            (["-n", 0], train, ["--ranks", "range"]),
        ):
            with self.subTest(options=options):
                self.assert_refused(self.launch(*options, command=command), 64, *words)
        result = run("launch", "--mpirun", "/nowhere/mpirun", "--", *train)
        self.assert_refused(result, 64, "/nowhere/mpirun", "--mpirun")

    def test_ctrl_c_saves_and_a_second_one_ends(self):
        process = self.start("stopped", "-n", 2, more=["epochs=1000"])
        self.wait_for_updates("stopped", 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn("asking the ranks to save and stop", errors)
        self.assertTrue(list((self.folder / "stopped/checkpoints").iterdir()))

        process = self.start("ended", "-n", 2, more=["epochs=1000"])
        self.wait_for_updates("ended", 2, process)
        for rank in ranks_of(self.folder / "ended").values():
            os.kill(rank, signal.SIGSTOP)  # that they cannot save
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        self.assertNotIn(process.returncode, (0, 75), errors)
        self.assertIn("ending the ranks", errors)
        self.assertEqual(ranks_of(self.folder / "ended"), {})

    def test_ranks_are_asked_to_stop_where_mpirun_would_die_of_it(self):
        """An mpirun like MPICH's, which passes no signal on."""
        mpirun = self.folder / "mpirun-like-mpichs"
        mpirun.write_text(
            f"""#!/bin/sh
            if [ "$1" = --version ]; then echo 'HYDRA build details:'; exit; fi
            while [ "$1" != {program_fixture.PROGRAM} ]; do shift; done
            "$@" &
            wait $!
            """
        )
        mpirun.chmod(0o755)
        words = [
            "launch",
            "--mpirun",
            mpirun,
            "-n",
            1,
            "--",
            *self.settings("mpich", "epochs=1000"),
        ]
        process = subprocess.Popen(
            [program_fixture.PROGRAM, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wait_for_updates("mpich", 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertTrue(list((self.folder / "mpich/checkpoints").iterdir()))

    def test_lost_ranks_are_started_again_and_nothing_is_lost(self):
        more = ["epochs=4", "checkpoint.every_steps=2"]  # 16 updates
        whole = run(*self.settings("whole", *more))
        self.assertEqual(whole.returncode, 0, whole.stderr)
        process = self.start("killed", "-n", 2, "--max-restarts", 3, more=more)
        for step, rank in ((2, 0), (6, 1), (10, 0)):
            self.wait_for_checkpoint("killed", step, process)
            victims = ranks_of(self.folder / "killed")
            os.kill(victims[rank], signal.SIGKILL)
            while victims[rank] in ranks_of(self.folder / "killed").values():
                time.sleep(0.02)
        _, errors = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, errors)
        for number in (1, 2, 3):
            self.assertIn(f"restart {number} of 3", errors)
        self.assertTrue(self.weights("killed") == self.weights("whole"), "weights differ")

    def test_what_saved_nothing_is_not_started_again(self):
        process = self.start("early", "-n", 2, "--max-restarts", 3, more=["epochs=1000000"])
        while len(ranks_of(self.folder / "early")) < 2:
            time.sleep(0.02)
        os.kill(ranks_of(self.folder / "early")[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        self.assertIn(process.returncode, (70, 137), errors)
        self.assertIn("is not started again: it has saved nothing", errors)

    def lose_ranks_on_hosts(self, ssh):
        """Starts a job on hosts a and b, by an mpirun that saves and loses a rank at its first
        start, and an ssh of which `ssh` is the script; returns the process and mpirun's log."""
        if not (self.folder / "made").exists():
            made = run(*self.settings("made", "epochs=1"))
            self.assertEqual(made.returncode, 0, made.stderr)
        log = self.folder / "mpirun.log"
        log.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "hosts", ignore_errors=True)
        scripts = {
            "mpirun": f"""
                if [ "$1" = --version ]; then echo 'mpirun (Open MPI) 4.1.4'; exit; fi
                echo "$@" >> {log}
                if [ "$(wc -l < {log})" -gt 1 ]; then exit 0; fi
                cp -r {self.folder}/made {self.folder}/hosts
                exit 137""",
            "ssh": f"""
                for word in "$@"; do case $word in [ab]) host=$word ;; esac; done
                {ssh}""",
        }
        for name, text in scripts.items():
            path = self.folder / name
            path.write_text("#!/bin/sh\n" + text + "\n")
            path.chmod(0o755)
        words = ["launch", "--mpirun", self.folder / "mpirun", "--hosts", "a:2,b:2"]
        words += ["--max-restarts", 1, "--", *self.settings("hosts")]
        process = subprocess.Popen(
            [program_fixture.PROGRAM, *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PATH=f"{self.folder}:{os.environ['PATH']}"),
        )
        return process, log

    def test_a_host_that_does_not_answer_is_left_out(self):
        process, log = self.lose_ranks_on_hosts('[ "$host" = a ]')
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("b does not answer, and is left out", errors)
        self.assertIn("restart 1 of 1", errors)
        first, second = log.read_text().splitlines()
        self.assertRegex(first, "-np 4 .*--host a:2,b:2 ")
        self.assertRegex(second, "-np 2 .*--host a:2 ")
        self.assertTrue(second.endswith("--resume"), second)

    def test_a_stop_while_hosts_are_asked_ends_the_job(self):
        process, log = self.lose_ranks_on_hosts(f"touch {self.folder}/asked; exec sleep 60")
        while not (self.folder / "asked").exists():
            self.assertIsNone(process.poll(), "it has ended")
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 137, errors)
        self.assertIn("is not started again", errors)
        self.assertEqual(len(log.read_text().splitlines()), 1)


unittest.main(argv=sys.argv[:1], verbosity=2)
