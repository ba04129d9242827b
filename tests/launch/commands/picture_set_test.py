#!/usr/bin/env python3
"""Image sets of other shapes than CIFAR's, from import to evaluation on 2 ranks.

usage: picture_set_test.py PROGRAM MPIEXEC. The folder of pictures needs numpy and Pillow; without them in the cache, exit code 77 (skipped).
"""

import gzip
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import ranks_command
from reference_packages import add_reference_packages

add_reference_packages()
try:
    import numpy as np
    from PIL import Image
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

program, mpiexec = sys.argv[1:3]
ranks = ranks_command(mpiexec, 2)
os.environ.update(OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
random = np.random.default_rng(1)


def run(*command, code=0):
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=200)
    assert result.returncode == code, (command, result.returncode, result.stdout + result.stderr)
    return result.stdout + result.stderr


def picture(label, side):
    """Stripes, as wide as the class says."""
    waves = 127 + 100 * np.sin(
        np.arange(side) * (label % 7 + 1) * 6.3 / side + random.uniform(0, 6)
    )
    return np.clip(waves[None, :, None] + random.normal(0, 9, (side, side, 3)), 0, 255).astype(
        np.uint8
    )


def write_folder(folder, classes, count, side, suffix, mode):
    for label in range(classes):
        path = folder / f"kind {label:04}"
        path.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(picture(label, side)).convert(mode).save(path / f"{i}.{suffix}")


def write_mnist(folder):
    folder.mkdir()
    for part, count in [("train", 60), ("t10k", 20)]:
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.stack([picture(label, 28)[..., 0] for label in labels])
        for name, numbers, values in [
            ("images-idx3", [0x803, count, 28, 28], images),
            ("labels-idx1", [0x801, count], labels),
        ]:
            with gzip.open(folder / f"{part}-{name}-ubyte.gz", "wb") as file:
                file.write(np.array(numbers, ">u4").tobytes() + values.tobytes())


def expect_learning(data, shape, model, *settings):
    """One epoch on 2 ranks; then `evaluate` finds the test loss that the run found."""
    assert shape in run(program, "data", "info", data), shape
    folder = data.parent / f"{data.stem}-{model}"
    keys = [
        f"data.file={data}",
        f"model.name={model}",
        "batch_size=16",
        "epochs=1",
        "optimizer.learning_rate=0.01",
        *settings,
    ]
    text = run(
        *ranks,
        program,
        "train",
        "--run-dir",
        folder,
        *[word for key in keys for word in ("--set", key)],
    )
    loss = text.split("test loss ")[1].split()[0]
    text = run(*ranks, program, "evaluate", folder, "--data", data)
    assert f"loss {loss}" in text, (loss, text)
    print(f"{data.stem}: {model} trained and evaluated, test loss {loss}")


with tempfile.TemporaryDirectory(prefix="lockstep-pictures-") as name:
    root = pathlib.Path(name)
    write_mnist(root / "fashion-mnist")
    text = run(program, "data", "import", root / "fashion-mnist", root / "fashion.h5")
    assert "Ankle boot" in text, text
    expect_learning(root / "fashion.h5", "60 training, 20 test, 1 x 28 x 28", "resnet20")

    write_folder(root / "grey", 3, 10, 40, "png", "L")
    run(program, "data", "import", root / "grey", root / "grey.h5", "--size", "28")
    expect_learning(root / "grey.h5", "24 training, 6 test, 1 x 28 x 28", "resnet20")

    write_folder(root / "colour", 4, 10, 64, "jpg", "RGB")
    run(program, "data", "import", root / "colour", root / "colour.h5")
    expect_learning(root / "colour.h5", "32 training, 8 test, 3 x 64 x 64", "resnet20")

    run(program, "data", "import", root / "colour", root / "large.h5", "--size", "224")
    expect_learning(root / "large.h5", "3 x 224 x 224", "resnet18", "model.stem=imagenet")

    write_folder(root / "many", 1000, 2, 28, "png", "L")
    run(program, "data", "import", root / "many", root / "many.h5", "--test-fraction", "0.5")
    expect_learning(root / "many.h5", "1000 training, 1000 test", "resnet20", "batch_size=128")

    (root / "grey" / "kind 0000" / "0.png").write_bytes(b"GIF89a")
    text = run(program, "data", "import", root / "grey", root / "left.h5", code=65)
    assert "0.png: a GIF; only PNG and JPEG are read" in text and not (root / "left.h5").exists(), (
        text
    )
    text = run(program, "data", "import", root / "grey", root / "left.h5", "--skip-unreadable")
    assert (
        "left out 1 unreadable pictures of 30" in text and "1 unreadable ones left out" in text
    ), text
