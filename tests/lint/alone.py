#!/usr/bin/env python3
"""Whether every header and every source compiles alone, without the precompiled header or a unity build, so that these hide no
missing include. Generates no code.

usage: alone.py [--build FOLDER] [--changed [--seconds N]] [FILE]...

  --build FOLDER  whose compile_commands.json tells the flags (default build)
  --changed       only what changed since this last passed as a part of tests/thorough.sh (LOCKSTEP_BASE names another commit)
  --seconds N     begins nothing after so many seconds and says how much is left
"""

import subprocess

from common import ROOT, conclude, parse_arguments, run_all
from flags import Units

# Headers that each including source completes by a macro.
COMPLETED_BY = {"_impl.h": ["-DLOCKSTEP_KERNELS=compiled_alone"]}


def compile_alone(unit):
    """What the compiler says about the unit; empty when it compiles."""
    if unit in units.commands:
        command, text = [*units.commands[unit], unit], None
    elif source := units.source_for(unit):
        macros = [m for end, more in COMPLETED_BY.items() if unit.endswith(end) for m in more]
        # Included, and not compiled itself: the main file of a compilation must not have #pragma once. What it defines for others
        # is unused here, so that warnings mean nothing.
        command = [*units.commands[source], "-w", *macros, f"-I{ROOT}", "-x", "c++", "-"]
        text = f'#include "{unit}"\n'
    else:
        return f"{unit}: no source of this build includes it: remove it, or include it\n"
    result = subprocess.run(
        [*command, "-fsyntax-only"], cwd=ROOT, input=text, capture_output=True, text=True
    )
    return result.stderr if result.returncode else ""


arguments = parse_arguments(__doc__)
units = Units(arguments.build)
planned, since = arguments.choose("alone", units)
if units.not_built and arguments.everything:
    print("compile-alone: not of this build:", *units.not_built)
checked = failed = 0
for unit, complaint in run_all(planned, compile_alone, arguments.seconds):
    checked += 1
    if complaint:
        failed += 1
        print(
            f"== {unit} does not compile alone: add the #include that it lacks\n{complaint}",
            flush=True,
        )
conclude("compile-alone", checked, len(planned), failed, since, arguments.seconds)
