#!/usr/bin/env python3
"""A run on a terminal: its bar fits, whatever the width, also when that changes; there is none where cursor codes mean nothing.

usage: terminal_test.py PROGRAM
"""

import fcntl
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

PROGRAM = sys.argv[1]
BAR = re.compile(r"\r\x1b\[K(epoch \d[^\r\n]*)")


def resize(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Terminal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-terminal-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        make = [PROGRAM, "data", "synth", str(cls.data), "--train", "200", "--test", "50"]
        subprocess.run(make, check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def train(self, columns, term="xterm", then_columns=None):
        """What a run writes on a terminal of so many columns. Where bars are to come it ends after six; the width is then_columns
        from the second on."""
        terminal, inside = pty.openpty()
        resize(terminal, columns)
        command = [PROGRAM, "train", "--run-dir", self.folder / f"{columns}-{term}"]
        epochs = 1000 if term == "xterm" else 1
        for setting in (f"data.file={self.data}", "batch_size=8", f"epochs={epochs}", "device=cpu"):
            command += ["--set", setting]
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        if term:
            environment["TERM"] = term
        job = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment)
        os.close(inside)
        text = b""
        while True:
            try:
                text += os.read(terminal, 4096)
            except OSError:  # the end of a terminal
                break
            bars = len(BAR.findall(text.decode(errors="replace")))
            if then_columns and bars == 2:
                resize(terminal, then_columns)
            if bars == 6:
                job.send_signal(signal.SIGUSR2)
        os.close(terminal)
        self.assertEqual(job.wait(timeout=60), 75 if term == "xterm" else 0, text)
        return text.decode()

    def test_the_bar_fits_eighty_columns(self):
        bars = BAR.findall(self.train(80))
        self.assertGreater(len(bars), 5)
        self.assertEqual([bar for bar in bars if len(bar) > 79], [])
        self.assertRegex(bars[0], r"^epoch 1/1000 \[[#.]+\]  loss \d")

    def test_the_bar_follows_the_terminals_width(self):
        bars = BAR.findall(self.train(120, then_columns=40))
        self.assertGreater(len(bars[0]), 79)
        self.assertEqual([bar for bar in bars[3:] if len(bar) > 39], [])

    def test_a_terminal_without_cursor_codes_gets_lines(self):
        for term in ("dumb", None):
            text = self.train(80, term)
            self.assertNotIn("\x1b", text)
            self.assertNotRegex(text, r"\r(?!\n)")
            self.assertIn("epoch   1/1", text)


unittest.main(argv=sys.argv[:1], verbosity=2)
