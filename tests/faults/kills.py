#!/usr/bin/env python3
"""Kills a training again and again at random moments while it saves after every update, goes on each time, at changing
numbers of ranks, and compares its last weights with those of a run that nobody disturbed (reproducible mode).

usage: kills.py PROGRAM MPIRUN [--kills 200] [--ranks 2,2] [--seed N]

Fails where the newest checkpoint does not verify after a kill, where an update that was saved is lost, or where a bit differs.
"""

import argparse
import atexit
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from launching import ranks_command

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("program")
parser.add_argument("mpirun")
parser.add_argument("--kills", type=int, default=200)
parser.add_argument("--ranks", default="2,2", help="numbers of ranks, one after the other")
parser.add_argument("--seed", type=int, default=int(time.time()))
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
SETTINGS = [
    "epochs=100000",
    "batch_size=32",
    "early_stopping.enabled=false",
    "optimizer.learning_rate=0.01",
    "distributed.reproducible=true",
    "distributed.batch_norm_group=4",
    "distributed.timeout_seconds=60",
    "checkpoint.every_steps=1",
    "logging.tensorboard=false",
]


def train(run, ranks, *settings):
    words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    command = [*ranks_command(arguments.mpirun, ranks), arguments.program, "train", *words]
    job = subprocess.Popen(
        [*command, "--run-dir", run, "--resume"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    atexit.register(job.kill)  # whatever ends this program
    return job


def newest(run):
    names = (path.name for path in run.glob("checkpoints/*"))
    return max((int(name) for name in names if name.isdigit()), default=0)


def verified(run):
    """The update from which the run goes on; ends the test where a checkpoint is not sound."""
    text = subprocess.run(
        [arguments.program, "verify", run], capture_output=True, text=True, env=ENVIRONMENT
    ).stdout
    if re.search(r"checkpoints/\S+ +NOT TO BE TRUSTED", text):
        sys.exit(f"a checkpoint is not sound:\n{text}")
    found = re.search(r"--resume goes on from update (\d+)", text)
    return int(found[1]) if found else 0


def ranks_of(run):
    return [
        int(pid)
        for pid in subprocess.run(
            ["pgrep", "--full", f"^[^ ]*lockstep train.*{run} "], capture_output=True, text=True
        ).stdout.split()
    ]


def tensors(run):
    content = (run / "last.safetensors").read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def end(job, code):
    errors = job.communicate(timeout=600)[1]
    if job.returncode != code:
        sys.exit(f"it ended with {job.returncode}:\n{errors}")


def kill_once(run, ranks, data):
    before = newest(run)
    job = train(run, ranks, data)
    while newest(run) <= before + 1:
        if job.poll() is not None:
            sys.exit(f"it ended with {job.returncode}:\n{job.communicate()[1]}")
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.15))
    # Mostly rank 0, which writes.
    victims = ranks_of(run)
    os.kill(min(victims) if random.random() < 0.8 else random.choice(victims), signal.SIGKILL)
    job.communicate(timeout=120)
    saved = verified(run)
    if saved < before:
        sys.exit(f"update {before} had been saved, {saved} is left")
    return saved


random.seed(arguments.seed)
print(f"seed {arguments.seed}", flush=True)
sizes = [int(size) for size in arguments.ranks.split(",")]
with tempfile.TemporaryDirectory(prefix="lockstep-kills-") as holder:
    folder = pathlib.Path(holder)
    words = [
        arguments.program,
        "data",
        "synth",
        folder / "set.h5",
        "--train",
        "400",
        "--test",
        "50",
    ]
    subprocess.run(words, check=True, capture_output=True)
    data = f"data.file={folder / 'set.h5'}"
    run = folder / "killed"
    for kill in range(arguments.kills):
        saved = kill_once(run, sizes[kill % len(sizes)], data)
        if (kill + 1) % 10 == 0:
            print(f"{kill + 1} kills, update {saved}", flush=True)
    limit = f"limits.steps={newest(run) + 20}"
    end(train(run, sizes[arguments.kills % len(sizes)], data, limit), 0)
    undisturbed = folder / "undisturbed"
    end(train(undisturbed, sizes[0], data, limit, "checkpoint.every_steps=0"), 0)
    if tensors(run) != tensors(undisturbed):
        sys.exit("the weights differ from those of the undisturbed run")
    print(f"{arguments.kills} kills: newest checkpoint valid each time, {limit}: the same weights")
