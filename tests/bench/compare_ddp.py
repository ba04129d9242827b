#!/usr/bin/env python3
"""Times Lockstep and PyTorch DistributedDataParallel alternately on this machine and prints the ratio with its spread.

usage: compare_ddp.py [--model NAME]... [--precision P]... [--against eager|compile|graphs]... [--batch N]... [--ranks N]
                      [--rounds N] [--end-to-end FILE.h5 BINARY_FOLDER]

eager: DDP as it is. compile: torch.compile over it. graphs: its mode "reduce-overhead", with CUDA graphs; GPUs only.

In memory: both train on one batch of random images. End to end: Lockstep reads the HDF5 file, DDP the CIFAR-10 binary folder
through a torchvision-style loader, both with pad-crop and flip. DDP runs in its best memory layout (both are tried first).
Batch norm is local on both sides, as DDP's is. GoogLeNet trains with both auxiliary heads on either side; dropout is off. Needs torch, torchvision, numpy and pillow in this Python; see tests/bench/README.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reference_packages import add_reference_packages

add_reference_packages()
import torch

BATCH = {"resnet18": 64, "resnet34": 64, "resnet50": 64, "vgg16_bn": 64, "googlenet_bn": 64}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ddp(model, head, precision, run, layout, batch, steps, ranks, data):
    environment = dict(
        os.environ,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(free_port()),
        WORLD_SIZE=str(ranks),
        OMP_NUM_THREADS="1",
    )
    command = [
        sys.executable,
        HERE / "ddp_worker.py",
        "--model",
        model,
        "--head",
        head,
        "--precision",
        precision,
        "--run",
        run,
        "--layout",
        layout,
        "--batch",
        str(batch),
        "--steps",
        str(steps),
    ] + (["--data", data] if data else [])
    workers = [
        subprocess.Popen(
            command,
            env=dict(environment, RANK=str(r)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(ranks)
    ]
    outputs = [w.communicate() for w in workers]
    if any(w.returncode for w in workers):
        sys.exit("DDP failed:\n" + "\n".join(error for _, error in outputs))
    return json.loads(outputs[0][0].strip().splitlines()[-1])["images_per_second"]


def lockstep(program, model, head, precision, batch, steps, ranks, data):
    # On GPUs a rank's helper threads need cores too.
    binding = "none" if torch.cuda.is_available() else "core"
    command = ["mpirun", "-np", str(ranks), "--bind-to", binding] + (
        ["--allow-run-as-root"] if os.geteuid() == 0 else []
    )
    command += [
        program,
        "bench",
        "--model",
        model,
        "--precision",
        precision,
        "--batch",
        str(batch),
        "--steps",
        str(steps),
        "--repetitions",
        "1",
        "--batch-norm",
        "local",
        "--json",
    ] + (["--end-to-end", data] if data else [])
    if model.startswith(("vgg", "googlenet")):
        command += ["--set", f"model.head={head}", "--set", "model.dropout=0"]
    result = subprocess.run(
        command, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True, text=True
    )
    if result.returncode:
        sys.exit(f"Lockstep failed:\n{result.stderr}")
    return json.loads(result.stdout.strip().splitlines()[-1])["images_per_second"]


def compare(options, model, precision, run, batch, end_to_end):
    steps = options.steps or (12 if model in BATCH else 40)
    h5, folder = end_to_end or (None, None)

    def theirs_at(layout, steps):
        return ddp(model, options.head, precision, run, layout, batch, steps, options.ranks, folder)

    layout = max(("nhwc", "nchw"), key=lambda tried: theirs_at(tried, max(5, steps // 2)))
    ratios, theirs, ours = [], [], []
    for _ in range(options.rounds):
        theirs.append(theirs_at(layout, steps))
        ours.append(
            lockstep(
                options.program, model, options.head, precision, batch, steps, options.ranks, h5
            )
        )
        ratios.append(ours[-1] / theirs[-1])
    print(
        f"| {model} | {precision} | {run} | {'end to end' if end_to_end else 'in memory'} | {options.ranks} x {batch} | "
        f"{statistics.median(theirs):.0f} ({layout}) | {statistics.median(ours):.0f} | "
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append")
    parser.add_argument("--head", default="full", choices=["full", "compact"], help="of VGG")
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16"])
    parser.add_argument("--against", action="append", choices=["eager", "compile", "graphs"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batch",
        type=int,
        action="append",
        help="images a rank (default 128, or 64 for large models)",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--program", default=str(HERE.parent.parent / "build" / "lockstep"))
    parser.add_argument("--end-to-end", nargs=2, metavar=("FILE.h5", "BINARY_FOLDER"))
    options = parser.parse_args()
    print(
        "| model | precision | DDP | input | ranks x batch | DDP images/s (layout) | Lockstep images/s | ratio, median (range) |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for model, precision, run in itertools.product(
        options.model or ["resnet20", "resnet18"],
        options.precision or ["bf16", "fp32"],
        options.against or ["eager"],
    ):
        for batch in options.batch or [BATCH.get(model, 128)]:
            compare(options, model, precision, run, batch, options.end_to_end)


main()
