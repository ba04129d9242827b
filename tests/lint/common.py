"""What the lint scripts share: the pinned tools, the files of the project, what changed, and running many commands at once."""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tool(relative):
    """The path of a pinned tool; ends the program with the fix where it is not installed."""
    cache = pathlib.Path(
        os.environ.get("LOCKSTEP_CACHE") or pathlib.Path.home() / ".cache/lockstep"
    )
    pins = (ROOT / "tests/lint/requirements.txt").read_bytes()
    path = cache / f"lint-{hashlib.sha256(pins).hexdigest()[:12]}" / relative
    if not path.exists():
        sys.exit(f"{path} is missing. Run: ./launch/setup.sh --tests")
    return str(path)


def git(*arguments):
    """git's output; empty where it fails, as outside a repository or for a commit that is not there."""
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else ""


def project_files():
    """All files of the project, relative to its root: git's, new ones included; without git those that are there."""
    names = git("ls-files", "--cached", "--others", "--exclude-standard").split("\n")
    if names == [""]:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
        names = [n for n in names if not n.startswith(("build", "runs/", "shared/", "."))]
    return sorted(name for name in names if name and (ROOT / name).is_file())


def changed_files(part):
    """What changed, newest first, since LOCKSTEP_BASE, or the commit at which `part` last passed in tests/thorough.sh, or else in the
    last commit; and a
    sentence about that. None instead of a list: not known."""
    base = os.environ.get("LOCKSTEP_BASE", "")
    if not base:
        measurements = ROOT / "docs/measurements.md"
        rows = measurements.read_text().splitlines() if measurements.exists() else []
        for row in rows:
            if match := re.match(rf"\| {part} \| passed.*\| ([0-9a-f]{{7,40}}) \|", row):
                base = match[1]
    unrecorded = not base
    if unrecorded:
        base = git("rev-parse", "--verify", "--quiet", "HEAD~1").strip()
    if not base:
        return None, f"no passed run of `tests/thorough.sh --part {part} --record` is recorded"
    commit = git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    if not commit or git("merge-base", base, "HEAD") != commit:
        return None, f"commit {base} is not in this history"
    uncommitted = git("diff", "--name-only", "HEAD")
    new = git("ls-files", "--others", "--exclude-standard")
    committed = git("log", "--no-merges", "--format=", "--name-only", f"{base}..HEAD")
    names = list(dict.fromkeys((uncommitted + new + committed).split("\n")))
    # What was changed and changed back is no change.
    differing = set(git("diff", "--name-only", base).split("\n")) | set(new.split("\n"))
    names = [n for n in names if n and n in differing and (ROOT / n).is_file()]
    if part == "tidy" and {".clang-tidy", "tests/lint/requirements.txt"} & set(names):
        return None, "clang-tidy or its list of checks changed"
    if unrecorded:
        return (
            names,
            f"in the last commit, since no passed run of `tests/thorough.sh --part {part}` is recorded",
        )
    return names, f"since {base}"


def run_all(jobs, run, seconds):
    """run(job) for every job, a few at once, none begun after `seconds` (0: no limit). Yields (job, result) as they end; jobs that
    were not begun are left out."""
    workers = int(os.environ.get("LOCKSTEP_LINT_JOBS", "0")) or os.cpu_count() or 1
    end = time.monotonic() + seconds if seconds else float("inf")

    def limited(job):
        return (job, run(job)) if time.monotonic() < end else None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for future in concurrent.futures.as_completed([pool.submit(limited, job) for job in jobs]):
            if future.result() is not None:
                yield future.result()


def conclude(what, num_checked, num_planned, num_failed, since, seconds):
    """Prints the last line of a check over many files and ends the program."""
    left = num_planned - num_checked
    text = f"{what}: {num_checked} files ({since}), {num_failed} with findings"
    if left:
        text += f"; {left} files left to tests/thorough.sh (a budget of {seconds:.0f} s)"
    print(text, flush=True)
    sys.exit(1 if num_failed else 0)


class Arguments(argparse.Namespace):
    """Of the checks over many files."""

    def choose(self, part, units):
        """The units to check and a word about the choice."""
        self.everything = False
        if self.files:
            names = [os.path.relpath(os.path.abspath(name), ROOT) for name in self.files]
            if unknown := [n for n in names if n not in units.commands and n not in units.headers]:
                sys.exit(f"{unknown[0]}: no C++ header, and no source of this build")
            return units.of_changed(names), "as named"
        changed, since = changed_files(part) if self.changed else (None, "all")
        if changed is not None:
            return units.of_changed(changed), since
        self.everything = True
        if not self.changed:
            return units.all(), since
        # Those that changed last first, for the time may not suffice.
        newest = git("log", "--no-merges", "--format=", "--name-only").split("\n")
        order = {name: place for place, name in reversed(list(enumerate(newest)))}
        return sorted(units.all(), key=lambda n: order.get(n, len(order))), since


def parse_arguments(usage):
    parser = argparse.ArgumentParser(usage=usage.split("usage: ")[1], add_help=True)
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--changed", action="store_true")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("files", nargs="*")
    return parser.parse_args(namespace=Arguments())
