"""How each source is compiled, read from a build folder's compile_commands.json, freed of what hides a missing include: the
precompiled header and unity builds."""

import functools
import json
import pathlib
import re
import shlex
import sys

from common import ROOT, project_files

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
COMPILER = re.compile(r"(^|.*/)([\w.-]*-)?(g\+\+|c\+\+|clang\+\+)(-[\d.]+)?$")


def compiled_files(source):
    """What a source of compile_commands.json stands for: itself, or what it includes when it is a generated unity file."""
    if "/Unity/unity_" in str(source):
        return [pathlib.Path(name) for name in INCLUDE.findall(source.read_text())]
    return [source]


def plain_command(command):
    """Compiler and flags alone: no launcher, no precompiled header, no input, no output."""
    words = iter(command)
    plain = []
    for word in words:
        if not plain:
            if COMPILER.match(word):
                plain.append(word)
        elif word in ("-o", "-MF", "-MT", "-MQ"):
            next(words)
        elif word == "-include":
            if "cmake_pch" not in (header := next(words)):
                plain += [word, header]
        elif word not in ("-c", "-MD", "-MMD", "-Winvalid-pch", "-fpch-preprocess"):
            plain.append(word)
    return plain


def compile_commands(build):
    """{source relative to the root: compiler and flags} for the project's C++ sources that this build compiles."""
    database = pathlib.Path(build) / "compile_commands.json"
    if not database.exists():
        sys.exit(f"{database} is missing. Run: cmake --preset release")
    commands = {}
    for entry in json.loads(database.read_text()):
        source = pathlib.Path(entry["directory"], entry["file"])
        words = entry.get("arguments") or shlex.split(entry["command"])
        if source.suffix != ".cpp" and "/Unity/unity_" not in str(source):
            continue
        command = [word for word in plain_command(words) if word != entry["file"]]
        for file in compiled_files(source):
            if file.is_relative_to(ROOT):
                commands.setdefault(str(file.relative_to(ROOT)), command)
    return commands


@functools.cache
def includes(name):
    """The project's files that a file includes, relative to the root, in order."""
    text = (ROOT / name).read_text(errors="replace")
    return [re.sub("^lockstep/", "", included) for included in INCLUDE.findall(text)]


class Units:
    """Which translation units prove that sources and headers compile alone.

    A source proves it for itself, and for the header that it includes before all else. Any other header is a unit of its own,
    with the flags of a source that includes it or lies near.
    """

    def __init__(self, build):
        self.commands = compile_commands(build)
        self.sources = sorted(self.commands)
        self.not_built = [
            n for n in project_files() if n.endswith(".cpp") and n not in self.commands
        ]
        # What lies beside a source of another project is compiled with that.
        theirs = {
            str(pathlib.PurePath(source).parent / included)
            for source in self.not_built
            for included in includes(source)
        }
        self.headers = [n for n in project_files() if n.endswith(".h") and n not in theirs]
        self.prover = {}
        for source in self.sources:
            if first := includes(source)[:1]:
                self.prover.setdefault(first[0], source)

    def all(self):
        return self.sources + [h for h in self.headers if h not in self.prover]

    def of_changed(self, names):
        """The units that prove it for `names`, each once, in their order."""
        units = {self.prover.get(n, n): None for n in names if n.endswith((".h", ".cpp"))}
        return [u for u in units if u in self.commands or u in self.headers]

    def source_for(self, header):
        """A source whose flags suit the header; None where no source includes it, even indirectly."""

        def reaches(name, seen):
            if name == header:
                return True
            if name in seen or not (ROOT / name).is_file():
                return False
            seen.add(name)
            return any(reaches(included, seen) for included in includes(name))

        def distance(source):
            theirs, own = source.split("/"), header.split("/")
            common = 0
            while theirs[common : common + 1] == own[common : common + 1] != []:
                common += 1
            return -common, header not in includes(source), source

        return next((s for s in sorted(self.sources, key=distance) if reaches(s, set())), None)
