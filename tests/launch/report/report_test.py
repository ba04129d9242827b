#!/usr/bin/env python3
"""Reports of real runs, opened in a browser: nothing overflows at a phone's width, nothing is loaded, nothing complains; and what
they say of the test images is the same at 1, 2 and 3 ranks.

usage: report_test.py PROGRAM MPIRUN. Exit code 77 (skipped) without Chromium, which `launch/setup.sh --tests` installs; the checks
that need none have run by then.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import ranks_command

PROGRAM, MPIRUN = sys.argv[1:3]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
# Told by a script that a copy of the page is given: how wide it is, and what sticks out outside of boxes that scroll.
PROBE = """<script>
const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll") && !e.closest("svg")
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className);
document.title = "width " + document.documentElement.scrollWidth + " of " + innerWidth + " " + wide.join(" ");
</script>"""


def run(*arguments, ranks=0):
    mpi = ranks_command(MPIRUN, ranks) if ranks else []
    return subprocess.run(
        [*mpi, PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=200,
    )


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-report-")
        cls.folder = pathlib.Path(cls.holder.name)
        cls.data = cls.folder / "set.h5"
        assert run("data", "synth", cls.data, "--train", 410, "--test", 101).returncode == 0
        for ranks in (1, 2, 3):
            cls.train(f"ranks{ranks}", "--set", "distributed.batch_norm=sync", ranks=ranks)
        cls.train("unvalidated", "--set", "data.validation_fraction=0", "--set", "epochs=1")
        cls.train("diverged", "--set", "optimizer.learning_rate=1e30")
        cls.train("limited", "--set", "limits.steps=4")
        crashed = cls.folder / "crashed"
        crashed.mkdir()
        lines = (cls.folder / "ranks1" / "metrics.jsonl").read_text().splitlines()
        (crashed / "metrics.jsonl").write_text("\n".join(lines[:-5]) + "\n" + lines[-5][:20])
        finder = cls.folder / "finder"
        finder.mkdir()
        points = [
            {
                "learning_rate": 10 ** (i / 20 - 5),
                "loss": 2.3 - i / 100,
                "smoothed_loss": 2.3 - i / 100,
            }
            for i in range(100)
        ]
        (finder / "lr_finder.json").write_text(
            json.dumps(
                {"start": 1e-5, "end": 1, "updates": 100, "points": points, "suggestion": 0.01}
            )
        )

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    # A tiny rate: rounding must not grow where runs are compared.
    @classmethod
    def train(cls, name, *options, ranks=0):
        return run(
            "train",
            "--set",
            f"data.file={cls.data}",
            "--set",
            "batch_size=37",
            "--set",
            "epochs=2",
            "--set",
            "optimizer.learning_rate=1e-5",
            "--run-dir",
            cls.folder / name,
            *options,
            ranks=ranks,
        )

    def report(self, *names):
        output = self.folder / ("-".join(names) + ".html")
        result = run("report", *(self.folder / name for name in names), "--output", output)
        self.assertEqual(result.returncode, 0, result.stderr)
        return output

    def test_training_leaves_a_report_and_predictions(self):
        page = (self.folder / "ranks2" / "report.html").read_text()
        end = json.loads((self.folder / "ranks2" / "metrics.jsonl").read_text().splitlines()[-1])
        self.assertIn(f"{100 * end['test_accuracy']:.2f} %", page)
        predictions = json.loads((self.folder / "ranks2" / "test_predictions.json").read_text())
        confusion = predictions["confusion"]
        self.assertEqual(sum(map(sum, confusion)), 101)
        self.assertAlmostEqual(
            sum(confusion[c][c] for c in range(len(confusion))) / 101, end["test_accuracy"]
        )
        losses = [mistake["loss"] for mistake in predictions["worst_mistakes"]]
        self.assertEqual(losses, sorted(losses, reverse=True))
        self.assertTrue(
            all(
                mistake["picture"].startswith("iVBORw0KGgo")
                for mistake in predictions["worst_mistakes"]
            )
        )

    def test_predictions_are_the_same_at_any_number_of_ranks(self):
        alone, *others = (
            json.loads((self.folder / f"ranks{n}" / "test_predictions.json").read_text())
            for n in (1, 2, 3)
        )
        for other in others:
            self.assertEqual(other["confusion"], alone["confusion"])
            for mine, theirs in zip(alone["worst_mistakes"], other["worst_mistakes"], strict=True):
                self.assertEqual(
                    (mine["index"], mine["predicted"], mine["picture"]),
                    (theirs["index"], theirs["predicted"], theirs["picture"]),
                )
                self.assertAlmostEqual(mine["loss"], theirs["loss"], places=3)

    def test_one_run_is_written_beside_it_and_needs_neither_data_nor_model(self):
        copy = self.folder / "copy"
        copy.mkdir()
        for name in ("metrics.jsonl", "config.json", "environment.json", "test_predictions.json"):
            shutil.copy(self.folder / "ranks1" / name, copy)
        result = run("report", copy)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(str(copy / "report.html"), result.stdout)
        self.assertIn("The worst mistakes", (copy / "report.html").read_text())

    def test_refusals_name_what_is_wrong(self):
        (self.folder / "empty").mkdir()
        (self.folder / "junk").mkdir()
        (self.folder / "junk" / "metrics.jsonl").write_bytes(b"\xff\x00\n" * 9)
        for code, name in ((64, "empty"), (64, "set.h5"), (65, "junk"), (74, "missing")):
            result = run("report", self.folder / name)
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertIn(name, result.stderr)
            self.assertEqual(result.stderr.count("lockstep: error:"), 1)
        self.assertEqual(run("report").returncode, 64)

    def test_pages_load_nothing(self):
        for names in (["ranks1"], ["ranks1", "ranks2", "limited"]):
            page = self.report(*names).read_text()
            self.assertEqual(
                re.findall(r"""(?:src|href)\s*=\s*(?!"data:image/png)|url\(|@import""", page), []
            )

    @unittest.skipUnless(CHROMIUM, "no Chromium")
    def test_pages_fit_a_phone_without_a_complaint(self):
        for names in (
            ["ranks2"],
            ["unvalidated"],
            ["diverged"],
            ["limited"],
            ["crashed"],
            ["finder"],
            ["ranks1", "limited", "crashed"],
        ):
            with self.subTest(names=names):
                page = self.report(*names)
                # The copy's policy would refuse the probe's script.
                probed = (
                    page.read_text()
                    .replace("default-src 'none'", "script-src 'unsafe-inline'")
                    .replace("</body>", PROBE + "</body>")
                )
                # A headless window is at least 500 pixels wide; a frame may have any width.
                inner = self.folder / "probed.html"
                inner.write_text(probed.replace("document.title =", "parent.document.title ="))
                outer = self.folder / "outer.html"
                outer.write_text(
                    f'<title></title><iframe src="{inner.name}" style="width:390px;height:800px;border:0"></iframe>'
                )
                seen = self.open(outer, "--allow-file-access-from-files", "--dump-dom")
                title = re.search(r"<title>(.*?)</title>", seen.stdout).group(1)
                width, shown, wide = re.fullmatch(r"width (\d+) of (\d+) ?(.*)", title).groups()
                self.assertEqual((int(shown), wide), (390, ""))
                self.assertLessEqual(int(width), 390)
                self.assertEqual(self.complaints(self.open(page, "--dump-dom")), [])

    def open(self, page, *options):
        profile = self.folder / "profile"
        return subprocess.run(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
                f"--user-data-dir={profile}",
                *options,
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )

    @staticmethod
    def complaints(result):
        return [line for line in result.stderr.splitlines() if ":CONSOLE" in line]


if CHROMIUM is None:
    print("no Chromium: what needs a browser is skipped (launch/setup.sh --tests installs one)")
program = unittest.main(argv=sys.argv[:1], verbosity=2, exit=False)
if not program.result.wasSuccessful():
    sys.exit(1)
sys.exit(77 if CHROMIUM is None else 0)
