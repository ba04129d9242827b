#!/usr/bin/env python3
"""Results are complete or an error: files, links, pipes, standard output; and nothing is left behind.

usage: output_test.py PROGRAM MPIRUN
"""

import hashlib
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from program_fixture import ENVIRONMENT, MPIRUN, PROGRAM, ProgramTest, ranks_command

PROGRAM = os.path.abspath(PROGRAM)  # started in other folders


def start(*arguments, ranks=0, **options):
    command = (ranks_command(MPIRUN, ranks) if ranks else []) + [PROGRAM, *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, env=ENVIRONMENT, **options)


def run(*arguments, **options):
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=200)
    texts = [(text or b"").decode(errors="replace") for text in (out, err)]
    return subprocess.CompletedProcess(arguments, process.returncode, *texts)


def limit_file_size(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class Output(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_dir = cls.folder / "run"
        # Nobody need listen to a training run.
        with open("/dev/full", "wb") as full:
            trained = run("train", *cls.training(), "--run-dir", cls.run_dir, stdout=full)
        assert trained.returncode == 0, trained.stderr
        cls.picture = cls.folder / "picture.png"
        cls.picture.write_bytes(PNG)
        cls.exported = cls.folder / "exported.safetensors"
        assert run("export", cls.run_dir, cls.exported).returncode == 0

    @classmethod
    def training(cls):
        options = (f"data.file={cls.data}", "epochs=1", "batch_size=110", "precision=fp32")
        return [word for option in options for word in ("--set", option)]

    def empty_folder(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder))

    def test_a_result_that_standard_output_does_not_take_is_an_error(self):
        bench = ["--model", "resnet20", "--precision", "fp32", "--batch", 1, "--steps", 1]
        bench += ["--warmup", 0, "--repetitions", 1]
        for command in (
            ["--help"],
            ["--version"],
            ["train", "--print-config"],
            ["train", "--dry-run", *self.training()],
            ["config"],
            ["models"],
            ["models", "resnet20"],
            ["data", "info", self.data],
            ["predict", self.run_dir, self.picture],
            ["predict", self.run_dir, self.picture, "--json"],
            ["evaluate", self.run_dir, "--data", self.data],
            ["evaluate", self.run_dir, "--data", self.data, "--json"],
            ["export", self.run_dir, self.empty_folder() / "out"],
            ["report", self.run_dir],
            ["bench", *bench],
            ["doctor"],
        ):
            with self.subTest(command=command), open("/dev/full", "wb") as full:
                result = run(*command, stdout=full, cwd=self.empty_folder())
                self.assert_refused(result, 74, "standard output", "No space left")

    def test_a_closed_standard_output_is_an_error_and_no_files(self):
        target = self.folder / "closed.h5"
        command = f'exec "{PROGRAM}" data synth "{target}" --train 50 --test 20'
        for closed, code in ((">&-", 74), ("2>&-", 0), ("<&- >&- 2>&-", 74)):
            result = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True)
            self.assertEqual(result.returncode, code, result.stderr)
            # Words meant for a stream have not come into the file that got its number.
            self.assertEqual(run("data", "info", target).returncode, 0)
            target.unlink()

    def test_a_reader_that_wants_no_more_ends_a_command_quietly(self):
        with start("config") as process:
            process.stdout.close()
            error = process.stderr.read()
        self.assertEqual((process.returncode, error), (-signal.SIGPIPE, b""))

    def test_a_file_that_grows_too_large_is_an_error_and_leaves_nothing(self):
        for command in (
            ["export", self.run_dir, "out"],
            ["report", self.run_dir, "--output", "out"],
            ["data", "synth", "out", "--train", 50, "--test", 20],
        ):
            with self.subTest(command=command):
                folder = self.empty_folder()
                result = run(*command, cwd=folder, preexec_fn=limit_file_size(4096))
                self.assert_refused(result, 74, "out", "File too large")
                self.assertEqual(list(folder.iterdir()), [])

    def test_an_interrupted_import_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            folder = self.empty_folder()
            with start("data", "synth", folder / "set.h5", "--train", 1_000_000) as process:
                while not list(folder.iterdir()):
                    self.assertIsNone(process.poll())
                    time.sleep(0.01)
                process.send_signal(number)
                process.communicate(timeout=100)
            self.assertEqual(process.returncode, -number)
            self.assertEqual(list(folder.iterdir()), [])

    def test_a_pipe_is_written_through_and_stays(self):
        for name, command, head in (
            ("weights", ["export", self.run_dir], self.exported.read_bytes()),
            ("page", ["report", self.run_dir, "--output"], b"<!doctype html>"),
        ):
            with self.subTest(command=command):
                pipe = self.folder / name
                os.mkfifo(pipe)
                received = []
                reader = threading.Thread(
                    target=lambda pipe=pipe, to=received: to.append(pipe.read_bytes()), daemon=True
                )
                reader.start()
                result = run(*command, pipe)
                self.assertEqual(result.returncode, 0, result.stderr)
                reader.join(timeout=60)
                self.assertTrue(stat.S_ISFIFO(pipe.stat().st_mode))
                self.assertEqual(received[0][: len(head)].lower(), head.lower())

    def test_a_pipe_whose_reader_leaves_is_an_error(self):
        pipe = self.folder / "left"
        os.mkfifo(pipe)
        threading.Thread(target=lambda: pipe.open("rb").close(), daemon=True).start()
        self.assert_refused(run("export", self.run_dir, pipe), 74, str(pipe))

    def test_standard_output_may_be_the_file(self):
        written = self.exported.read_bytes()
        with start("export", self.run_dir, "/dev/stdout") as process:
            out, err = process.communicate(timeout=100)
        self.assertEqual((process.returncode, out == written), (0, True), err)
        self.assertIn(b"safetensors.torch", err)
        file = self.folder / "redirected"
        with file.open("wb") as out:
            out.write(b"before")
            out.flush()
            result = run("export", self.run_dir, "/dev/stdout", stdout=out)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(file.read_bytes() == b"before" + written)

    def test_a_link_stays_and_what_it_names_is_replaced(self):
        folder = self.empty_folder()
        (folder / "disk").mkdir()
        target, link = folder / "disk" / "file", folder / "link"
        link.symlink_to("disk/file")
        synth = ["--train", 50, "--test", 20]
        for command, force in (
            (["data", "synth", link, *synth], []),
            (["export", self.run_dir, link], ["--force"]),
            (["data", "synth", link, *synth], ["--force"]),
        ):
            before = target.read_bytes() if target.exists() else None
            if force:
                target.chmod(0o600)
                self.assert_refused(run(*command), 64, "--force")
                self.assertEqual(target.read_bytes(), before)
            result = run(*command, *force)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertTrue(link.is_symlink())
            self.assertNotEqual(target.read_bytes(), before)
            if force:
                self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o600)
        self.assertEqual(sorted(p.name for p in folder.rglob("*")), ["disk", "file", "link"])

    def test_what_is_no_file_is_refused_before_any_work_and_left_alone(self):
        pipe, folder = self.folder / "no-file", self.empty_folder()
        os.mkfifo(pipe)
        pictures = self.folder / "pictures" / "class"
        pictures.mkdir(parents=True)
        (pictures / "cut-off.png").write_bytes(PNG[:40])
        for output in (pipe, folder):
            for command in (
                ["data", "synth", output, "--force"],
                ["data", "import", pictures.parent, output, "--force"],
                ["data", "download", "cifar10", output, "--force", "--url", "file:///nowhere"],
            ):
                with self.subTest(command=command):
                    self.assert_refused(run(*command), 64, str(output))
        self.assert_refused(run("export", self.run_dir, folder, "--force"), 64, "it is a folder")
        self.assert_refused(run("report", self.run_dir, "--output", folder), 64, "it is a folder")
        self.assertTrue(stat.S_ISFIFO(pipe.stat().st_mode))
        self.assertEqual(list(folder.iterdir()), [])

    def test_a_download_leaves_an_archive_of_the_users_alone(self):
        target = self.folder / "fetched.h5"
        own = [self.folder / f"fetched.h5.tar.gz{end}" for end in ("", ".part")]
        for file in own:
            file.write_bytes(b"the user's")
        source = self.folder / "source.tar.gz"
        source.write_bytes(b"another archive")
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        result = run("data", "download", "cifar10", target, "--url", source.as_uri())
        self.assert_refused(result, 65, digest)
        self.assertEqual([file.read_bytes() for file in own], [b"the user's"] * 2)
        self.assertEqual(sorted(self.folder.glob("fetched.h5*")), own)

    def test_runs_that_begin_together_have_folders_of_their_own(self):
        folder = self.empty_folder()
        jobs = [start("train", *self.training(), cwd=folder) for _ in range(3)]
        for job in jobs:
            out, err = job.communicate(timeout=200)
            self.assertEqual(job.returncode, 0, err)
            directory = re.search(r"run directory: ([^,\s]+)", out.decode()).group(1)
            self.assertTrue((folder / directory / "best.safetensors").exists())
        self.assertEqual(len(list((folder / "runs").iterdir())), 3)

    def test_all_ranks_have_the_folder_that_rank_0_claimed(self):
        folder = self.empty_folder()
        result = run("train", *self.training(), ranks=2, cwd=folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        (directory,) = (folder / "runs").iterdir()
        self.assertTrue((directory / "checkpoints" / "00000003").is_dir())


# 1 x 1, grey.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)

unittest.main(argv=sys.argv[:1], verbosity=2)
