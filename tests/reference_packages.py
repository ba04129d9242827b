"""PyTorch, torchvision and safetensors as launch/setup.sh --tests keeps them."""

import os
import pathlib
import sys

_VERSIONS = pathlib.Path(__file__).resolve().parent.parent / "cmake" / "libtorch_versions.txt"


def add_reference_packages():
    """Onto Python's path, in the versions that go with LOCKSTEP_TORCH_VERSION or the default."""
    rows = [line.split() for line in _VERSIONS.read_text().splitlines() if line[:1].isdigit()]
    wanted = os.environ.get("LOCKSTEP_TORCH_VERSION") or rows[0][0]
    torchvision = {row[0]: row[3] for row in rows}[wanted]
    cache = pathlib.Path(
        os.environ.get("LOCKSTEP_CACHE", pathlib.Path.home() / ".cache" / "lockstep")
    )
    for name in (f"libtorch-{wanted}-whole", f"torchvision-{torchvision}", "safetensors-0.8.0"):
        sys.path.append(str(cache / name))
