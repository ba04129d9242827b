#!/usr/bin/env python3
"""distributed.reproducible: runs at other numbers of ranks and threads, and runs that go on at another number of ranks, have the same bits.

usage: reproducible_test.py PROGRAM MPIRUN
"""

import json
import sys
import unittest

from program_fixture import ProgramTest, run

# All that draws numbers or keeps state beside the weights.
SETTINGS = [
    "distributed.reproducible=true",
    "distributed.batch_norm_group=4",  # nine groups, eight shards; three in the last batch
    "epochs=2",
    "optimizer.ema_decay=0.9",
    "optimizer.clip_gradient_norm=1",
    "data.augmentation.mixup=0.3",
    "data.augmentation.cutmix=0.3",
    "data.augmentation.random_erasing=0.3",
    "validation.batch_size=20",
    "logging.tensorboard=false",
]
CHANGING = ("seconds", "images_per_second", "data_wait_seconds", "peak_resident_bytes", "time")


class Reproducible(ProgramTest):
    IMAGES = (200, 50)

    def options(self, *more):
        return [word for setting in (*SETTINGS, *more) for word in ("--set", setting)]

    def run_of(self, name, *more, ranks=0, **variables):
        directory = self.folder / name
        data = ["--set", f"data.file={self.data}", "--set", "batch_size=37"]
        options = self.options(*more)
        result = run("train", *data, *options, "--run-dir", directory, ranks=ranks, **variables)
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.outcome(directory)

    def outcome(self, directory):
        lines = []
        for line in (directory / "metrics.jsonl").read_text().splitlines():
            event = json.loads(line)
            if event["event"] in ("step", "epoch", "end"):
                lines.append({k: v for k, v in event.items() if k not in CHANGING})
        tensors = [
            self.safetensors(directory / f"{which}.safetensors")[1] for which in ("best", "last")
        ]
        newest = max((directory / "checkpoints").iterdir(), key=lambda path: path.name)
        tensors += [self.safetensors(path)[1] for path in sorted(newest.glob("*.safetensors"))]
        return lines, tensors

    def assert_equal(self, outcome, expected):
        self.assertEqual(outcome[0], expected[0])
        self.assertEqual([len(each) for each in outcome[1]], [len(each) for each in expected[1]])
        self.assertTrue(outcome[1] == expected[1], "weights differ")

    def test_ranks_and_threads_change_no_bit(self):
        for precision in ("precision=fp32", "precision=bf16"):
            alone = self.run_of(f"alone-{precision}", precision)
            for ranks, threads in ((1, "2"), (2, "1"), (3, "2"), (7, "1")):
                with self.subTest(precision=precision, ranks=ranks, threads=threads):
                    name = f"{precision}-{ranks}-{threads}"
                    together = self.run_of(name, precision, ranks=ranks, OMP_NUM_THREADS=threads)
                    self.assert_equal(together, alone)

    def test_a_run_goes_on_at_another_number_of_ranks(self):
        whole = self.run_of("whole")
        directory = self.folder / "in-parts"
        data = ["--set", f"data.file={self.data}", "--set", "batch_size=37"]
        for steps, ranks in ((3, 2), (7, 3), (0, 0)):
            limit = ["--set", f"limits.steps={steps}"] if steps else []
            command = ["train", *data, *self.options(), *limit, "--run-dir", directory, "--resume"]
            result = run(*command, ranks=ranks)
            self.assertEqual(result.returncode, 0, result.stderr)
        resumed = self.outcome(directory)
        self.assertTrue(resumed[1] == whole[1], "weights differ")

    def test_what_cannot_be_reproduced_is_refused(self):
        for more, ranks, words in (
            (["distributed.batch_norm=local"], 0, ["batch_norm=local", "batch_norm=group"]),
            (["distributed.batch_norm=sync"], 0, ["batch_norm=sync", "batch_norm=group"]),
            (["validation.batch_size=auto"], 0, ["auto"]),
            (["distributed.virtual_shards=2"], 3, ["2 virtual shards", "3 ranks"]),
        ):
            with self.subTest(more=more):
                result = self.train(*self.options(*more), ranks=ranks, run_dir="refused")
                self.assert_refused(result, 64, "distributed.reproducible=true", *words)


unittest.main(argv=sys.argv[:1], verbosity=2)
