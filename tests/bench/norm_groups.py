#!/usr/bin/env python3
"""How the size of batch norm's groups changes accuracy: trains three models with three sizes and three seeds each, and prints a table.

    tests/bench/norm_groups.py cifar10.h5 OUT --program build/lockstep [--jobs 2]

Each run is 6 epochs of batches of 128 on one rank of one thread, in bf16; accuracy and loss are of all test images with the last
weights. Finished runs are skipped, so the same command goes on where it was stopped. Standard library only.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

MODELS = {  # settings beside the common ones
    "resnet20": [],
    "vgg11_bn": ["model.head=compact", "data.max_train_images=10000"],
    "resnet18": ["data.max_train_images=10000"],
}
GROUPS = {
    "16": ["distributed.batch_norm=group", "distributed.batch_norm_group=16"],
    "32": ["distributed.batch_norm=group", "distributed.batch_norm_group=32"],
    "whole": ["distributed.batch_norm=sync"],
}
SEEDS = (1, 2, 3)
COMMON = [
    "batch_size=128",
    "epochs=6",
    "precision=bf16",
    "data.validation_fraction=0.04",
    "data.augmentation.pad_crop=3",
    "optimizer.learning_rate=0.1",
    "optimizer.momentum=0.9",
    "optimizer.nesterov=true",
    "optimizer.weight_decay=0.0005",
    "lr_schedule.name=one_cycle",
    "lr_schedule.step_every=update",
    "lr_schedule.one_cycle_rise_fraction=0.2",
    "lr_schedule.one_cycle_initial_divisor=5",
    "early_stopping.enabled=false",
    "early_stopping.restore_best=false",
    "logging.every_steps=50",
    "logging.tensorboard=false",
]


def result(directory):
    """(test accuracy in %, test loss) of a run that has ended; None of others."""
    try:
        lines = (directory / "metrics.jsonl").read_text().splitlines()
        end = json.loads(lines[-1])
    except (OSError, IndexError, json.JSONDecodeError):
        return None
    if end["event"] != "end" or end["reason"] != "completed":
        return None
    return 100 * end["test_accuracy"], end["test_loss"]


def train(options, model, group, seed):
    directory = options.out / f"{model}-{group}-{seed}"
    if result(directory):
        return
    shutil.rmtree(directory, ignore_errors=True)
    command = [options.program, "train", "--run-dir", directory]
    settings = [f"model.name={model}", f"data.file={options.data}", f"seed={seed}"]
    for setting in [*COMMON, *MODELS[model], *GROUPS[group], *settings]:
        command += ["--set", setting]
    with open(f"{directory}.log", "w") as log:
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)
    for weights in (*directory.glob("*.safetensors"), directory / "checkpoints"):
        shutil.rmtree(weights) if weights.is_dir() else weights.unlink(missing_ok=True)
    print(f"{directory.name}: {result(directory)}", file=sys.stderr, flush=True)


def cell(values, form):
    if len(values) < len(SEEDS):
        return f"{len(values)} of {len(SEEDS)} runs"
    return f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path, help="CIFAR-10 as `lockstep data` wrote it")
    parser.add_argument("out", type=pathlib.Path, help="folder of the runs; made if missing")
    parser.add_argument("--program", default="build/lockstep")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [(model, group, seed) for model in MODELS for seed in SEEDS for group in GROUPS]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda run: train(options, *run), runs))
    print("| model | images normalised together | test accuracy, % | test loss |")
    print("|---|---|---|---|")
    for model in MODELS:
        for group in GROUPS:
            found = [result(options.out / f"{model}-{group}-{seed}") for seed in SEEDS]
            found = [each for each in found if each]
            accuracies, losses = ([each[i] for each in found] for i in (0, 1))
            print(f"| {model} | {group} | {cell(accuracies, '.2f')} | {cell(losses, '.3f')} |")


if __name__ == "__main__":
    main()
