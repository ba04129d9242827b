"""Checks the metrics.jsonl of a finished run.

check_run.py RUN_DIR --ranks N --hosts N --steps N [--reason completed] [--losses-as OTHER_RUN_DIR]
"""

import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("run")
parser.add_argument("--ranks", type=int, required=True)
parser.add_argument("--hosts", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--losses-as")
options = parser.parse_args()


def events(run, kind):
    with open(f"{run}/metrics.jsonl") as lines:
        return [event for event in map(json.loads, lines) if event["event"] == kind]


start, end = events(options.run, "start")[-1], events(options.run, "end")[-1]
hosts = start["hosts"] if isinstance(start["hosts"], int) else len(start["hosts"])
assert (start["world_size"], hosts) == (options.ranks, options.hosts), start
assert (end["reason"], end["steps"]) == ("completed", options.steps), end
assert len(end["peak_resident_bytes"]) == options.ranks, end

steps = events(options.run, "step")
assert [event["step"] for event in steps] == list(range(1, options.steps + 1)), (
    "every update is reported once, in order"
)
if options.losses_as:
    for mine, other in zip(steps, events(options.losses_as, "step"), strict=True):
        difference = abs(mine["loss"] - other["loss"])
        assert difference < 1e-4, f"step {mine['step']}: losses {mine['loss']} and {other['loss']}"
print(
    f"{options.run}: {options.steps} updates on {options.ranks} ranks of {options.hosts} hosts, as expected"
)
