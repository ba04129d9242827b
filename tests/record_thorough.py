"""Reads lines "part, result, summary, seconds" with tabs between, and writes them into the table under "Thorough checks" in
docs/measurements.md. Rows of other parts stay: each tells its own commit. tests/lint/common.py reads the table."""

import datetime
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/measurements.md"
TITLE = "## Thorough checks"
INTRODUCTION = (
    "The last result of each part of `tests/thorough.sh`, written by its option `--record`. A commit with a + had changes on "
    "top of it."
)
HEAD = ["part", "result", "minutes", "date (UTC)", "commit", "machine"]


def git(*arguments):
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def machine():
    model = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return f"{os.cpu_count()} cores, {model[1] if model else os.uname().machine}"


def row(cells):
    return "| " + " | ".join(cells) + " |"


page = PAGE.read_text() if PAGE.exists() else "# Measurements\n"
before, title, rest = page.partition(f"\n{TITLE}\n")
section, next_title, after = rest.partition("\n## ")
rows = {}
for line in section.splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if (
        line.startswith("|")
        and len(cells) == len(HEAD)
        and cells != HEAD
        and set(cells[0]) != {"-"}
    ):
        rows[cells[0]] = cells
changed = git("status", "--porcelain", "--", ".", ":!docs/measurements.md")
commit = git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
for line in sys.stdin:
    part, result, summary, seconds = line.rstrip("\n").split("\t")
    text = f"{result}: {summary}".replace("|", "/")
    rows[part] = [part, text, f"{int(seconds) / 60:.1f}", date, commit, machine()]

table = [row(HEAD), row(["---"] * len(HEAD)), *map(row, rows.values())]
section = "\n".join(["", INTRODUCTION, "", *table, ""])
PAGE.parent.mkdir(exist_ok=True)
PAGE.write_text(
    f"{before.rstrip()}\n\n{TITLE}\n{section}" + (next_title + after if next_title else "")
)
