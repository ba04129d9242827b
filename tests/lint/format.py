#!/usr/bin/env python3
"""Whether every source is formatted: C++ and CUDA by clang-format, Python by ruff. Shows where one is not.

usage: format.py [--fix]   --fix formats them
"""

import subprocess
import sys

from common import ROOT, project_files, tool

fix = sys.argv[1:] == ["--fix"]
if sys.argv[1:] and not fix:
    sys.exit(__doc__)

files = project_files()
cpp = [f for f in files if f.endswith((".h", ".cpp", ".cu", ".cuh"))]
python = [f for f in files if f.endswith(".py")]
commands = [
    [tool("clang_format/data/bin/clang-format"), *(["-i"] if fix else ["--dry-run", "-Werror"])],
    [tool("bin/ruff"), "format", "--quiet", *([] if fix else ["--check"])],
]
codes = [
    subprocess.run([*command, *names], cwd=ROOT).returncode
    for command, names in zip(commands, (cpp, python), strict=True)
]
if any(codes):
    sys.exit("format-check: to format all of it, run  tests/lint/format.py --fix")
if not fix:
    print(
        f"format-check: {len(cpp)} C++ and CUDA files and {len(python)} Python files, all formatted"
    )
