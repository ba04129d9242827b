#!/usr/bin/env python3
"""shellcheck over every shell script of the project, batch scripts and those without an extension included.

usage: shell.py
"""

import re
import subprocess
import sys

from common import ROOT, project_files, tool


def is_script(name):
    if name.endswith((".sh", ".sbatch")):
        return True
    with open(ROOT / name, "rb") as file:
        return re.match(rb"#!.*\b(ba|da)?sh\b", file.readline(100)) is not None


scripts = [name for name in project_files() if is_script(name)]
shellcheck = [tool("bin/shellcheck"), "--external-sources", "--source-path=SCRIPTDIR"]
if subprocess.run([*shellcheck, *scripts], cwd=ROOT).returncode:
    sys.exit(
        "shellcheck: mend what it found (each SC number is explained at https://www.shellcheck.net/wiki/SC…), or, where it is "
        "mistaken, write above the line  # shellcheck disable=SC…  with the reason"
    )
print(f"shellcheck: {len(scripts)} scripts, no findings")
