"""Prints "VERSION cuda|cpu FOLDER" of the installed PyTorch, where FOLDER holds torch/ (and nvidia/); nothing when there is none."""

import importlib.util
import pathlib
import re

spec = importlib.util.find_spec("torch")
if spec and spec.origin:
    package = pathlib.Path(spec.origin).parent
    version = re.search(r"__version__ = '(\d+\.\d+\.\d+)", (package / "version.py").read_text())
    if version and (package / "lib" / "libtorch_cpu.so").exists():
        kind = "cuda" if (package / "lib" / "libtorch_cuda.so").exists() else "cpu"
        print(version.group(1), kind, package.parent)
