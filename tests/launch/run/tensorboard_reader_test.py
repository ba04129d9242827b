#!/usr/bin/env python3
"""TensorBoard itself reads what a run and its resumption wrote, and sees the numbers of metrics.jsonl.

usage: tensorboard_reader_test.py PROGRAM. Exit code 77 (skipped) without TensorBoard's Python package, which
`launch/setup.sh --tests` puts into the cache.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

cache = pathlib.Path(os.environ.get("LOCKSTEP_CACHE", pathlib.Path.home() / ".cache" / "lockstep"))
sys.path.append(str(cache / "test-tools"))
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: {error}: launch/setup.sh --tests installs it")
    sys.exit(77)


def run(*arguments):
    result = subprocess.run(
        [sys.argv[1], *map(str, arguments)], capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stdout + result.stderr


with tempfile.TemporaryDirectory(prefix="lockstep-tensorboard-") as name:
    folder = pathlib.Path(name)
    run("data", "synth", folder / "set.h5", "--train", 200, "--test", 20)
    train = [
        "train",
        "--run-dir",
        folder / "run",
        "--set",
        f"data.file={folder / 'set.h5'}",
        "--set",
        "batch_size=40",
        "--set",
        "epochs=2",
    ]
    run(*train, "--set", "limits.steps=6")
    run(*train, "--resume", "--set", "limits.steps=8")

    reader = EventAccumulator(str(folder / "run"), size_guidance={"scalars": 0})
    reader.Reload()
    lines = [
        json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    compared = 0
    for event, tag, key in [
        ("step", "train/loss_per_update", "loss"),
        ("step", "learning_rate", "learning_rate"),
        ("step", "images_per_second", "images_per_second"),
        ("epoch", "train/loss", "train_loss"),
        ("epoch", "train/accuracy", "train_accuracy"),
        ("epoch", "validation/loss", "validation_loss"),
        ("epoch", "validation/accuracy", "validation_accuracy"),
    ]:
        expected = {line["step"]: line[key] for line in lines if line["event"] == event}
        seen = {scalar.step: scalar.value for scalar in reader.Scalars(tag)}
        assert expected.keys() <= seen.keys(), (tag, expected, seen)
        for step, value in expected.items():
            assert math.isclose(value, seen[step], rel_tol=1e-6), (tag, step, value, seen[step])
            compared += 1
    assert {scalar.step for scalar in reader.Scalars("train/loss_per_update")} == set(range(1, 9))
    print(f"{compared} scalars are those of metrics.jsonl")
