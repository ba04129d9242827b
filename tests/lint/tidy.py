#!/usr/bin/env python3
"""clang-tidy, with the list of checks in .clang-tidy, over C++ sources and the project's headers that they include. Not over CUDA
sources, which this clang cannot parse.

usage: tidy.py [--build FOLDER] [--changed [--seconds N]] [FILE]...

  --build FOLDER  whose compile_commands.json tells the flags (default build)
  --changed       only what changed since this last passed as a part of tests/thorough.sh (LOCKSTEP_BASE names another commit)
  --seconds N     begins nothing after so many seconds and says how much is left
"""

import json
import pathlib
import re
import subprocess
import sys

from common import ROOT, conclude, parse_arguments, run_all, tool
from flags import Units

CLANG_TIDY = tool("clang_tidy/data/bin/clang-tidy")


def write_database(folder):
    """compile_commands.json as clang can use it."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for source, command in units.commands.items():
        words = [w for w in command if w != "-Werror"] + ["-Wno-unknown-warning-option"]
        path = str(ROOT / source)
        entries.append({"directory": str(ROOT), "file": path, "arguments": [*words, "-c", path]})
    (folder / "compile_commands.json").write_text(json.dumps(entries, indent=1))


def tidy(source):
    result = subprocess.run(
        [CLANG_TIDY, "-p", str(database), "--quiet", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    # A program that died, or flags that it does not know, speak on stderr alone.
    return result.stdout or (result.stderr if result.returncode else "")


def sources_of(names):
    """clang-tidy reads sources: a header is read through the source that proves it, or another that includes it."""
    found = (n if n in units.commands else units.source_for(n) for n in names)
    return list(dict.fromkeys(n for n in found if n))


arguments = parse_arguments(__doc__)
units = Units(arguments.build)
database = pathlib.Path(arguments.build) / "lint"
write_database(database)
planned, since = arguments.choose("tidy", units)
planned = sources_of(planned)
checked = failed = 0
seen = set()
for _, output in run_all(planned, tidy, arguments.seconds):
    checked += 1
    # A header's findings come back with every source that includes it.
    findings = re.split(r"(?m)^(?=/.*:\d+:\d+: (?:warning|error): )", output)
    new = [f for f in map(str.rstrip, findings) if f and f not in seen]
    seen.update(new)
    if new:
        failed += 1
        print("\n".join(new), flush=True)
if failed:
    print(
        "clang-tidy: mend what it found, or, where it is mistaken, end the line with  // NOLINT(check): reason",
        file=sys.stderr,
    )
conclude("clang-tidy", checked, len(planned), failed, since, arguments.seconds)
