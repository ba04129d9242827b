#!/usr/bin/env python3
"""The whole program on pretended GPUs: trainings against the CPU's, resuming, evaluation.

usage: program_test.py PROGRAM MPIRUN
"""

import json
import os
import pathlib
import sys
import unittest

os.environ.update(LOCKSTEP_PRETENDED_GPUS="2", LOCKSTEP_PRETENDED_DELAY_US="50")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "launch/commands"))
from program_fixture import ProgramTest, run


def settings(assignments):
    return [part for key, value in assignments.items() for part in ("--set", f"{key}={value}")]


class PretendedGpu(ProgramTest):
    IMAGES = (100, 20)

    def run_of(self, name, *options, ranks=0, **assignments):
        """The events of a training that ended well."""
        given = {"batch_size": 32, "epochs": 2, "device": "cuda", "precision": "fp32"} | assignments
        result = self.train(*options, *settings(given), ranks=ranks, run_dir=name)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def epochs(self, events):
        return [event for event in events if event["event"] == "epoch"]

    def assert_close(self, events, expected, tolerance):
        for own, other in zip(self.epochs(events), self.epochs(expected), strict=True):
            for name in ("train_loss", "validation_loss"):
                self.assertLess(abs(own[name] / other[name] - 1), tolerance, (name, own, other))

    def test_training_equals_the_cpus_on_any_number_of_gpus(self):
        # Small steps: large ones magnify the rounding by which a ReLU opens on the one device alone.
        sync = {"distributed.batch_norm": "sync", "optimizer.learning_rate": 0.001}
        on_cpu = self.run_of("cpu", device="cpu", **sync)
        for ranks in (1, 2):
            events = self.run_of(f"gpu{ranks}", ranks=ranks, **sync)
            start = events[0]
            self.assertEqual((start["world_size"], start["backend"]), (ranks, "nccl"), start)
            self.assertIn("Pretended H100", start["device"])
            self.assert_close(events, on_cpu, 2e-4)

    def test_what_regularises_trains_in_bf16(self):
        extras = {
            "optimizer.ema_decay": 0.5,
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.001,
            "data.augmentation.mixup": 0.2,
            "distributed.accumulation_steps": 2,
        }
        events = self.run_of("bf16", ranks=2, precision="bf16", **extras)
        for epoch in self.epochs(events):
            self.assertTrue(0 < epoch["train_loss"] < 10, epoch)

    def test_images_train_the_same_wherever_they_are_kept(self):
        losses = set()
        for cache in ("auto", "device", "node", "stream"):
            events = self.run_of(cache, epochs=1, precision="bf16", **{"data.cache": cache})
            losses.add(self.epochs(events)[0]["train_loss"])
        self.assertEqual(len(losses), 1, losses)
        plan = self.train("--dry-run", *settings({"batch_size": 32, "device": "cuda"}))
        self.assertIn("MB of images on each GPU (data.cache=device)", plan.stdout)

    def test_a_resumed_run_ends_with_the_same_weights(self):
        every_step = {"checkpoint.every_steps": 1}
        self.run_of("whole", **every_step)
        self.run_of("halves", **every_step, **{"limits.steps": 4})
        self.run_of("halves", "--resume", **every_step)
        weights = [
            (self.folder / name / "last.safetensors").read_bytes()[-4096:]
            for name in ("whole", "halves")
        ]
        self.assertEqual(*weights)

    def test_weights_evaluate_alike_on_both(self):
        self.run_of("trained", epochs=1)
        losses = []
        for device in ("cuda", "cpu"):
            result = run(
                "evaluate",
                self.folder / "trained",
                "--data",
                self.data,
                "--device",
                device,
                "--json",
            )
            self.assertEqual(result.returncode, 0, result.stderr)
            losses.append(json.loads(result.stdout)["loss"])
        self.assertLess(abs(losses[0] / losses[1] - 1), 1e-5)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
