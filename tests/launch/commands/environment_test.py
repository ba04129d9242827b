#!/usr/bin/env python3
"""The program in environments as people have them: without ssh, within a Slurm step, without HOME, beside another LibTorch; and
asked to stop while it still starts.

usage: environment_test.py PROGRAM MPIRUN
"""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import is_open_mpi

PROGRAM, MPIRUN = os.path.abspath(sys.argv[1]), sys.argv[2]
LAUNCHERS = ("OMPI_", "PMI", "SLURM_")  # what a launcher of this test itself may have left
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
PLAIN["OMP_NUM_THREADS"] = "1"


def slurm_step(tasks, rank=0):
    """What srun --mpi=none puts into the environment of a step's task."""
    step = dict(
        SLURM_JOB_ID=7, SLURM_JOBID=7, SLURM_STEP_ID=0, SLURM_STEPID=0, SLURM_NODELIST="here"
    )
    step |= dict(SLURM_JOB_NODELIST="here", SLURM_NTASKS=tasks, SLURM_STEP_NUM_TASKS=tasks)
    step |= dict(SLURM_PROCID=rank, SLURM_LOCALID=rank, SLURM_NODEID=0, SLURM_NNODES=1)
    return {name: str(value) for name, value in step.items()}


class Environment(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-environment-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        result = cls.run_program(["data", "synth", cls.data, "--train", 200, "--test", 20])
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    @staticmethod
    def run_program(arguments, environment=PLAIN, cwd=None):
        command = [PROGRAM, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=100
        )

    def training(self, name, *settings):
        settings = (f"data.file={self.data}", "batch_size=16", "device=cpu", *settings)
        words = [word for setting in settings for word in ("--set", setting)]
        return ["train", "--run-dir", str(self.folder / name), *words]

    def assert_trains_and_is_well(self, name, environment, cwd=None):
        """One update, and doctor finds MPI in order."""
        trained = self.run_program(self.training(name, "limits.steps=1"), environment, cwd)
        self.assertEqual(trained.returncode, 0, trained.stdout + trained.stderr)
        self.assertIn("(1 updates,", trained.stdout)
        report = self.run_program(["doctor"], environment, cwd)
        self.assertEqual(report.returncode, 0, report.stdout + report.stderr)
        self.assertRegex(report.stdout, r"(?m)^ok   MPI .*, 1 rank\(s\)$")
        self.assertEqual(trained.stderr + report.stderr, "")

    def test_one_process_needs_no_launcher(self):
        self.assert_trains_and_is_well("no-ssh", PLAIN | {"PATH": "/nowhere"})

    def test_a_shell_within_a_slurm_step_needs_no_pmix(self):
        self.assert_trains_and_is_well("step", PLAIN | slurm_step(tasks=1))
        interactive = PLAIN | slurm_step(tasks=4) | {"SLURM_STEP_ID": "4294967290"}
        self.assert_trains_and_is_well("interactive-step", interactive)

    def test_home_locale_terminal_and_temporary_folder_may_be_missing(self):
        missing = ("HOME", "TERM", "LANG", "USER", "LOGNAME", "TMPDIR")
        bare = {k: v for k, v in PLAIN.items() if k not in missing and not k.startswith("LC_")}
        self.assert_trains_and_is_well("bare", bare | {"LC_ALL": "C"})

    def test_a_folder_that_cannot_be_written_to_is_named(self):
        environment = PLAIN | {"TMPDIR": "/proc"}
        trained = self.run_program(self.training("proc", "limits.steps=1"), environment, "/proc")
        self.assertEqual(trained.returncode, 0, trained.stdout + trained.stderr)
        report = self.run_program(["doctor"], environment, "/proc")
        self.assertEqual(report.returncode, 0, report.stdout + report.stderr)
        self.assertRegex(report.stdout, r"(?m)^!!   disk .*\n +-> .*--run-dir")
        default = self.run_program(
            ["train", "--set", f"data.file={self.data}"], environment, "/proc"
        )
        self.assertEqual(default.returncode, 74, default.stdout + default.stderr)
        self.assertIn("runs/resnet20", default.stderr)

    def test_tasks_that_nothing_connects_are_refused_once(self):
        if not is_open_mpi(MPIRUN):
            self.skipTest("others than Open MPI find out by themselves")
        for rank in range(2):
            environment = PLAIN | slurm_step(2, rank)
            trained = self.run_program(self.training("apart"), environment)
            self.assertEqual(trained.returncode, 64, trained.stdout + trained.stderr)
            report = self.run_program(["doctor"], environment)
            self.assertEqual(report.returncode, 0, report.stdout + report.stderr)
            if rank == 0:
                self.assertIn("srun --mpi=pmix", trained.stderr)
                self.assertRegex(report.stdout, r"(?s)^ok   program.*\n!!   MPI .*srun --mpi=pmix")
                self.assertIn("ok   disk", report.stdout)
            else:
                self.assertEqual(trained.stderr + report.stdout, "")

    def test_doctor_outlives_an_mpi_that_does_not_start(self):
        if not is_open_mpi(MPIRUN):
            self.skipTest("a way to break it is known of Open MPI alone")
        result = self.run_program(["doctor"], PLAIN | {"OMPI_MCA_btl": "nonsense"})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"(?m)^!!   MPI .*does not start")
        self.assertIn("nonsense", result.stdout)  # MPI's own words
        self.assertIn("ok   disk", result.stdout)
        self.assertEqual(result.stderr, "")

    def test_another_libtorch_in_the_library_path_is_left_alone(self):
        other = self.folder / "other"
        other.mkdir()
        for name in ("libtorch_cpu.so", "libc10.so", "libtorch.so", "libgomp.so.1"):
            options = ["-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{name}"]
            subprocess.run(["cc", *options, "-o", other / name], check=True)
        result = self.run_program(["data", "info", self.data], PLAIN | {"LD_LIBRARY_PATH": other})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def start(self, command):
        """The process, once it can be signalled: when it holds signals back, or will not."""
        job = subprocess.Popen(
            [PROGRAM, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=PLAIN,
        )
        status = pathlib.Path(f"/proc/{job.pid}/status")
        for _ in range(100):
            held = next(
                line for line in status.read_text().splitlines() if line.startswith("SigBlk")
            )
            if int(held.split()[1], 16) >> (signal.SIGUSR2 - 1) & 1:
                break
            time.sleep(0.001)
        return job

    def test_a_stop_that_comes_while_it_starts_is_saved_and_gone_on_from(self):
        moments = [(signal.SIGUSR2, 0), (signal.SIGUSR1, 0), (signal.SIGTERM, 0)]
        moments += [(signal.SIGUSR2, seconds) for seconds in (0.2, 0.6)]
        for number, seconds in moments:
            with self.subTest(signal=number.name, after=seconds):
                name = f"stopped-{number}-{seconds}"
                job = self.start(self.training(name, "epochs=1000"))
                time.sleep(seconds)
                job.send_signal(number)
                output = job.communicate(timeout=60)[0]
                self.assertEqual(job.returncode, 75, output)
                self.assertIn("--resume goes on", output)
                self.assertTrue(list((self.folder / name / "checkpoints").iterdir()))
        more = self.training(name, "epochs=1000", "limits.steps=100")
        resumed = self.run_program([*more, "--resume"])
        self.assertEqual(resumed.returncode, 0, resumed.stdout + resumed.stderr)
        self.assertIn("resuming after update", resumed.stdout)

    def test_a_file_stops_a_run_that_no_signal_reaches(self):
        directory = self.folder / "stop-file"
        job = self.start(self.training("stop-file", "epochs=100000"))
        while not (directory / "metrics.jsonl").exists():
            self.assertIsNone(job.poll(), "it has ended")
            time.sleep(0.02)
        (directory / "STOP").touch()
        output = job.communicate(timeout=60)[0]
        self.assertEqual(job.returncode, 75, output)
        newest = max(int(path.name) for path in (directory / "checkpoints").iterdir())
        limit = f"limits.steps={newest + 50}"
        resumed = self.run_program(
            [*self.training("stop-file", "epochs=100000", limit), "--resume"]
        )
        self.assertEqual(resumed.returncode, 0, resumed.stdout + resumed.stderr)
        self.assertIn(f"limits.steps: 0 != {newest + 50}", resumed.stdout)
        self.assertFalse((directory / "STOP").exists())

    def test_what_ends_at_once_does_so_from_the_start(self):
        for command, number in (
            (self.training("interrupted"), signal.SIGINT),
            (self.training("hung-up"), signal.SIGHUP),
            (["data", "info", str(self.data)], signal.SIGTERM),
        ):
            with self.subTest(command=command[0], signal=number.name):
                job = self.start(command)
                job.send_signal(number)
                output = job.communicate(timeout=60)[0]
                self.assertEqual(job.returncode, -number, output)

    def test_closed_outputs_do_not_write_into_its_files(self):
        command = [PROGRAM, *self.training("closed", "limits.steps=2")]
        closed = f"exec {shlex.join(command)} <&- >&- 2>&-"
        result = subprocess.run(["bash", "-c", closed], env=PLAIN, timeout=100)
        self.assertEqual(result.returncode, 0)
        lines = (self.folder / "closed" / "metrics.jsonl").read_text().splitlines()
        events = [json.loads(line)["event"] for line in lines]
        self.assertEqual([events[0], events[-1]], ["start", "end"])

    def test_it_starts_by_a_symbolic_link_and_by_its_name(self):
        link = self.folder / "a link"
        link.symlink_to(PROGRAM)
        by_link = subprocess.run([link, "--version"], capture_output=True, text=True, env=PLAIN)
        self.assertEqual((by_link.returncode, by_link.stderr), (0, ""))
        folder, name = os.path.split(PROGRAM)
        by_name = subprocess.run(
            [name, "--version"], capture_output=True, text=True, env=PLAIN | {"PATH": folder}
        )
        self.assertEqual(by_name.stdout, by_link.stdout)
        copy = self.folder / "copy"
        copy.write_bytes(pathlib.Path(PROGRAM).read_bytes())
        copy.chmod(0o755)
        alone = subprocess.run([copy, "--version"], capture_output=True, text=True, env=PLAIN)
        self.assertEqual(alone.returncode, 74)
        self.assertIn("symbolic link", alone.stderr)


unittest.main(argv=sys.argv[:1], verbosity=2)
