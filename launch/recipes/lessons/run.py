#!/usr/bin/env python3
"""Trains every recipe of the lessons with three seeds and writes what was measured: OUT/measured.json, .md and curves/*.svg.

    launch/recipes/lessons/run.py cifar10.h5 OUT --program build/lockstep [--lesson a] [--jobs 2]

Finished runs are skipped, so the same command goes on where it was stopped. Standard library only.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import curves
import measured
import subset
from catalogue import LESSONS, RANKS

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = (1, 2, 3)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "data",
        type=pathlib.Path,
        help="CIFAR-10 as `lockstep data import` or `data download` wrote it",
    )
    parser.add_argument(
        "out", type=pathlib.Path, help="folder for the runs and the results; made if missing"
    )
    parser.add_argument(
        "--lesson", choices=sorted(LESSONS), action="append", help="only this one (may be repeated)"
    )
    parser.add_argument("--program", default="lockstep", help="the lockstep to run [lockstep]")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        help="trainings at a time, of one thread a rank [CPUs]",
    )
    parser.add_argument(
        "--keep-weights", action="store_true", help="keep weights and checkpoints of the runs"
    )
    return parser.parse_args()


def command(options, recipe, seed, directory):
    train = [options.program, "train", HERE / f"{recipe}.json", "--run-dir", directory]
    settings = {
        "data.file": options.out / "subset.h5",
        "seed": seed,
        "logging.every_steps": 50,
        "logging.tensorboard": "false",
    }
    for key, value in settings.items():
        train += ["--set", f"{key}={value}"]
    ranks = RANKS.get(recipe, 1)
    if ranks == 1:
        return train
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *as_root, "-np", str(ranks), "--oversubscribe", "--bind-to", "none", *train]


def train(options, recipe, seed):
    directory = measured.run_directory(options.out, recipe, seed)
    if measured.finished(directory):
        return
    shutil.rmtree(directory, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    begin = time.monotonic()
    with open(f"{directory}.log", "w") as log:
        code = subprocess.run(
            command(options, recipe, seed, directory), env=environment, stdout=log, stderr=log
        ).returncode
    print(f"{recipe}, seed {seed}: exit code {code}, {time.monotonic() - begin:.0f} s", flush=True)
    if not options.keep_weights:
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
        for weights in directory.glob("*.safetensors"):
            weights.unlink()


def main():
    options = arguments()
    if not shutil.which(options.program):
        raise SystemExit(
            f"there is no program {options.program}: build lockstep and give its path with --program"
        )
    if not options.data.is_file():
        raise SystemExit(
            f"there is no file {options.data}: `lockstep data download cifar10 {options.data}` makes it"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "subset.h5").exists():
        subset.make_subset(options.program, options.data, options.out / "subset.h5")
    lessons = {letter: LESSONS[letter] for letter in options.lesson or sorted(LESSONS)}
    recipes = list(
        dict.fromkeys(recipe for lesson in lessons.values() for recipe in lesson.recipes)
    )
    recipes.sort(key=lambda recipe: -RANKS.get(recipe, 1))  # runs of several ranks last longest
    with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
        list(
            pool.map(
                lambda run: train(options, run[1], run[0]),
                [(seed, recipe) for seed in SEEDS for recipe in recipes],
            )
        )
    runs = measured.read_runs(options.out, recipes, SEEDS)
    measured.write(options.out, lessons, runs)
    curves.write(options.out / "curves", lessons, runs)
    missing = [
        f"{recipe}, seed {seed}" for recipe in recipes for seed in SEEDS if seed not in runs[recipe]
    ]
    if missing:
        raise SystemExit(f"not finished (see {options.out}/*.log): {'; '.join(missing)}")


if __name__ == "__main__":
    main()
