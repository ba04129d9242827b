#!/usr/bin/env python3
"""Trainings as users start, stop and resume them.

usage: training_runs_test.py PROGRAM MPIRUN
"""

import hashlib
import json
import sys
import unittest

from program_fixture import ProgramTest, run


class TrainingRuns(ProgramTest):
    def test_a_run_from_its_start_to_its_evaluation(self):
        result = self.train("--set", "epochs=2", ranks=2, run_dir="whole")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("\x1b", result.stdout)
        events = [
            json.loads(line)
            for line in (self.folder / "whole/metrics.jsonl").read_text().splitlines()
        ]
        self.assertEqual(
            [e["event"] for e in events], ["start"] + (["step"] * 9 + ["epoch"]) * 2 + ["end"]
        )  # 330 training images in batches of 37
        self.assertEqual(
            list(events[-2]),
            [
                "event",
                "epoch",
                "step",
                "train_loss",
                "train_accuracy",
                "validation_loss",
                "validation_accuracy",
                "learning_rate",
                "seconds",
                "images_per_second",
                "best_epoch",
                "patience_left",
            ],
        )
        self.assertAlmostEqual(
            events[-2]["validation_accuracy"] * 80 % 1, 0, places=6
        )  # 8 of the 41 of each class
        for name in ("config.json", "environment.json", "best.safetensors", "last.safetensors"):
            self.assertTrue((self.folder / "whole" / name).exists(), name)
        self.assertTrue(list((self.folder / "whole").glob("events.out.tfevents.*")))
        for ranks in (1, 3):
            result = run(
                "evaluate", self.folder / "whole", "--data", self.data, "--json", ranks=ranks
            )
            measured = json.loads(result.stdout)
            self.assertEqual(measured["images"], 101)
            self.assertAlmostEqual(measured["accuracy"], events[-1]["test_accuracy"])
            self.assertAlmostEqual(measured["loss"], events[-1]["test_loss"], places=5)

    def resume_and_compare(self, name, *options):
        straight, halved = f"{name}-straight", f"{name}-halved"
        self.assertEqual(
            self.train("--set", "epochs=2", *options, ranks=2, run_dir=straight).returncode, 0
        )
        self.assertEqual(
            self.train(
                "--set", "epochs=2", *options, "--set", "limits.steps=5", ranks=2, run_dir=halved
            ).returncode,
            0,
        )
        result = self.train("--set", "epochs=2", *options, "--resume", ranks=2, run_dir=halved)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        for file in ("last.safetensors", "checkpoints/00000018/model.safetensors"):
            self.assertEqual(
                self.safetensors(f"{straight}/{file}")[1],
                self.safetensors(f"{halved}/{file}")[1],
                file,
            )
        steps = [
            json.loads(line)["step"]
            for line in (self.folder / halved / "metrics.jsonl").read_text().splitlines()
            if '"event":"step"' in line
        ]
        self.assertEqual(steps, list(range(1, 19)))

    def test_a_resumed_run_is_judged_by_all_its_epochs(self):
        self.assertEqual(self.train("--set", "epochs=3", ranks=2, run_dir="judged").returncode, 0)
        result = self.train("--set", "epochs=6", "--resume", ranks=2, run_dir="judged")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("changed since the run was started last: epochs: 3 != 6", result.stdout)
        end = json.loads((self.folder / "judged/metrics.jsonl").read_text().splitlines()[-1])
        self.assertIn(
            end["verdict"], ("underfit", "still_improving", "good", "overfitting", "unstable")
        )  # five epochs are needed: not too_short
        self.assertIn(end["verdict"].split("_")[0], result.stdout)

    def test_a_run_that_diverges_goes_back_at_lower_rates(self):
        # A rate of 1,000 in the second epoch diverges within it, one of 31 does not.
        options = []
        for setting in (
            "epochs=2",
            "optimizer.learning_rate=0.01",
            "lr_schedule.name=exponential",
            "lr_schedule.gamma=1e5",
        ):
            options += ["--set", setting]
        policy = ["--set", "optimizer.not_finite=rollback"]
        stopped = self.train(*options, ranks=2, run_dir="diverged")
        self.assertEqual(stopped.returncode, 70, stopped.stdout + stopped.stderr)
        # The policy may be another when a run goes on.
        result = self.train(*options, *policy, "--resume", ranks=2, run_dir="diverged")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("going back to update 9, at 0.5 of its rates", result.stdout)
        lines = map(json.loads, (self.folder / "diverged/metrics.jsonl").read_text().splitlines())
        events = [line for line in lines if line["event"] in ("step", "epoch", "end")]
        steps = [line for line in events if line["event"] == "step"]
        self.assertEqual([line["step"] for line in steps], list(range(1, 19)))
        self.assertLess(steps[-1]["learning_rate"], 501)
        self.assertEqual(sum(line["event"] == "epoch" for line in events), 2)
        # A rate that no halving makes small enough.
        hopeless = [word.replace("1e5", "1e12") for word in options]
        result = self.train(*hopeless, *policy, run_dir="hopeless")
        self.assertEqual(result.returncode, 70, result.stdout + result.stderr)
        self.assertIn("going back to update 9, at 0.03125 of its rates", result.stdout)
        self.assertIn("going back is of no use", result.stdout)

    def test_a_resumed_run_ends_with_the_same_bits(self):
        self.resume_and_compare("plain")

    def test_averaged_weights_of_a_regularised_run_are_resumed_saved_and_tested(self):
        options = [
            "optimizer.ema_decay=0.9",
            "model.stochastic_depth=0.3",
            *(f"data.augmentation.{key}=0.5" for key in ("mixup", "cutmix", "random_erasing")),
        ]
        self.resume_and_compare(
            "averaged", *(word for option in options for word in ("--set", option))
        )
        run_dir = self.folder / "averaged-straight"
        header, last = self.safetensors(run_dir / "last.safetensors")
        self.assertEqual(header["__metadata__"]["ema_decay"], "0.9")
        checkpoint = run_dir / "checkpoints/00000018"
        self.assertEqual(self.safetensors(checkpoint / "ema.safetensors")[1], last)
        self.assertNotEqual(self.safetensors(checkpoint / "model.safetensors")[1], last)
        end = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
        measured = json.loads(run("evaluate", run_dir, "--data", self.data, "--json").stdout)
        self.assertAlmostEqual(measured["loss"], end["test_loss"], places=5)

    def test_the_range_test_suggests_the_same_rate_at_any_number_of_ranks(self):
        found = {}
        for ranks in (1, 2, 4):
            result = self.train(
                "--find-lr",
                "--set",
                "seed=2",
                "--set",
                "lr_schedule.name=cosine",
                "--set",
                "lr_schedule.warmup=3",
                ranks=ranks,
                run_dir=f"find-{ranks}",
            )
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            folder = self.folder / f"find-{ranks}"
            found[ranks] = json.loads((folder / "lr_finder.json").read_text())
            self.assertIn(
                f"optimizer.learning_rate={found[ranks]['suggestion']:.4g}", result.stdout
            )
            self.assertEqual(list(folder.glob("**/*.safetensors")), [])
            self.assertFalse((folder / "metrics.jsonl").exists())
        self.assertIsNotNone(found[1]["suggestion"])
        self.assertEqual({f["suggestion"] for f in found.values()}, {found[1]["suggestion"]})
        for ranks in (2, 4):
            self.assertAlmostEqual(
                found[ranks]["points"][0]["loss"], found[1]["points"][0]["loss"], places=4
            )
        # The folder is free for the run itself.
        self.assertEqual(self.train("--set", "limits.steps=1", run_dir="find-1").returncode, 0)
        self.assert_refused(self.train("--find-lr", run_dir="find-1"), 64, "--run-dir")

    def test_bad_range_tests_are_refused(self):
        self.assert_refused(
            self.train("--find-lr", "--find-lr-start", 0, run_dir="bad-find"), 64, "positive"
        )
        self.assert_refused(
            self.train("--find-lr", "--find-lr-updates", 3, run_dir="bad-find"), 64, "20"
        )
        self.assert_refused(self.train("--find-lr", "--resume", run_dir="bad-find"), 64, "--resume")
        self.assertFalse((self.folder / "bad-find").exists())

    def test_a_validation_batch_by_memory_is_recorded_and_kept(self):
        options = ("--set", "epochs=1", "--set", "validation.batch_size=auto")
        result = self.train(*options, "--set", "limits.steps=3", ranks=2, run_dir="auto-batch")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("validation.batch_size: ", result.stdout)
        self.assertEqual(result.stdout.count("validation.batch_size: "), 1)
        lines = [
            json.loads(line)
            for line in (self.folder / "auto-batch" / "metrics.jsonl").read_text().splitlines()
        ]
        size = lines[0]["validation_batch_size"]
        self.assertTrue(1 <= size <= 4096 and size & (size - 1) == 0, size)
        checkpoint = max((self.folder / "auto-batch" / "checkpoints").iterdir())
        state = json.loads((checkpoint / "state.json").read_text())
        self.assertEqual(state["validation_batch_size"], size)
        # Evaluation is exact whatever the batch: each image once.
        fixed = self.train(
            "--set",
            "epochs=1",
            "--set",
            "validation.batch_size=7",
            "--set",
            "limits.steps=3",
            ranks=2,
            run_dir="seven",
        )
        self.assertEqual(fixed.returncode, 0, fixed.stderr)
        other = [
            json.loads(line)
            for line in (self.folder / "seven" / "metrics.jsonl").read_text().splitlines()
        ]
        self.assertEqual(other[0]["validation_batch_size"], 7)
        epoch, same = (
            next(line for line in run if line["event"] == "epoch") for run in (lines, other)
        )
        self.assertAlmostEqual(epoch["validation_loss"], same["validation_loss"], places=5)
        # A resumed run keeps the size of its checkpoint, here one that today's memory would not give.
        (checkpoint / "state.json").write_text(json.dumps({**state, "validation_batch_size": 2}))
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["sha256"]["state.json"] = hashlib.sha256(
            (checkpoint / "state.json").read_bytes()
        ).hexdigest()
        del manifest["digest"]  # as older ones
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
        resumed = self.train(
            *options, "--set", "limits.steps=4", "--resume", ranks=2, run_dir="auto-batch"
        )
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        starts = [
            json.loads(line)
            for line in (self.folder / "auto-batch" / "metrics.jsonl").read_text().splitlines()
            if '"start"' in line
        ]
        self.assertEqual([start["validation_batch_size"] for start in starts], [size, 2])
        evaluated = run(
            "evaluate",
            self.folder / "auto-batch",
            "--data",
            self.data,
            "--weights",
            "last",
            "--json",
        )
        self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
        self.assertEqual(json.loads(evaluated.stdout)["images"], 101)

    def test_dry_run_writes_nothing(self):
        result = self.train("--dry-run", ranks=2, run_dir="dry")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("rank 1", result.stdout)
        self.assertFalse((self.folder / "dry").exists())

    def test_early_stopping_says_so(self):
        result = self.train(
            "--set",
            "epochs=50",
            "--set",
            "early_stopping.patience=1",
            "--set",
            "early_stopping.min_delta=100",
            run_dir="early",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(
            "stopped early after epoch 2: validation_loss has not improved by early_stopping.min_delta=100 or more for 1 epoch",
            result.stdout,
        )
        self.assertIn("early_stopping.patience=1", result.stdout)
        last = json.loads((self.folder / "early/metrics.jsonl").read_text().splitlines()[-1])
        self.assertEqual(
            (last["reason"], last["epochs"], last["best_epoch"]), ("early_stopping", 2, 1)
        )

    def test_streaming_and_a_copy_a_rank_train_the_same(self):
        losses = set()
        for cache in ("node", "rank", "stream"):
            self.assertEqual(
                self.train(
                    "--set",
                    f"data.cache={cache}",
                    "--set",
                    "epochs=1",
                    ranks=2,
                    run_dir=f"cache-{cache}",
                ).returncode,
                0,
            )
            losses.add(
                json.loads(
                    (self.folder / f"cache-{cache}/metrics.jsonl").read_text().splitlines()[-1]
                )["test_loss"]
            )
        self.assertEqual(len(losses), 1)


unittest.main(argv=sys.argv[:1], verbosity=2)
