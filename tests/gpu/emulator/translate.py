#!/usr/bin/env python3
"""Turns a CUDA source into C++ for cuda_emulator.h: launches become calls, and shared
variables come from the emulator. All else that nvcc adds to C++ is a macro or a function there.

usage: translate.py FILE.cu FILE.cc
"""

import pathlib
import re
import sys


def closing(text, at):
    """The place of the bracket that closes the one at `at`."""
    pairs = {"(": ")", "<": ">", "{": "}"}
    opening, depth = text[at], 0
    for i in range(at, len(text)):
        depth += (text[i] == opening) - (text[i] == pairs[opening])
        if depth == 0:
            return i
    sys.exit(f"translate.py: {opening} is never closed: {text[at : at + 60]!r}")


def name_before(text, end):
    """Where the kernel's name that ends at `end` begins, template arguments included."""
    i = len(text[:end].rstrip())
    if text[i - 1] == ">":
        depth = 0
        while True:
            i -= 1
            depth += (text[i] == ">") - (text[i] == "<")
            if depth == 0:
                break
    return re.search(r"[\w:]+$", text[:i]).start()


def translate_launches(text):
    parts, done = [], 0
    while (begin := text.find("<<<", done)) >= 0:
        end = text.index(">>>", begin)
        name_begin = name_before(text, begin)
        name = text[name_begin:begin].strip()
        arguments_begin = text.index("(", end)
        arguments_end = closing(text, arguments_begin)
        parts += [
            text[done:name_begin],
            f'::lockstep::emulator::launch("{name}", ::lockstep::emulator::configured({text[begin + 3 : end]}), '
            f"[](auto... arguments) {{ {name}(arguments...); }}, ",
            text[arguments_begin + 1 : arguments_end + 1],
        ]
        done = arguments_end + 1
    return "".join(parts) + text[done:]


def translate_shared(text):
    return re.sub(
        r"__shared__\s+([\w:]+)\s+(\w+)((?:\[[^\]]+\])*);",
        r"auto& \2 = ::lockstep::emulator::shared_variable<\1\3, __LINE__>();",
        text,
    )


given, made = map(pathlib.Path, sys.argv[1:])
source = translate_shared(translate_launches(given.read_text()))
made.write_text(f'#include "tests/gpu/emulator/cuda_emulator.h"\n#line 1 "{given}"\n{source}')
