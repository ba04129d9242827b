#!/usr/bin/env python3
"""Weights travel to torchvision and back: exported networks give its logits, fine-tuning from its weights gives PyTorch's numbers.

usage: torchvision_weights_test.py PROGRAM MPIRUN GUIDE. Exit code 77 (skipped) without PyTorch, torchvision and safetensors, which
`launch/setup.sh --tests` puts into the cache.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from launching import ranks_command
from reference_packages import add_reference_packages

add_reference_packages()
try:
    import numpy as np
    import torch
    import torchvision
    from PIL import Image
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}: launch/setup.sh --tests installs it")
    sys.exit(77)

PROGRAM, MPIRUN, GUIDE = sys.argv[1:4]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
FROZEN = ("conv1", "bn1", "layer1")
torch.set_num_threads(1)


def run(*arguments, ranks=0, code=0):
    command = (ranks_command(MPIRUN, ranks) if ranks else []) + [PROGRAM, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert result.returncode == code, (command, result.returncode, result.stdout + result.stderr)
    return result


def with_statistics(model):
    """Running statistics as training would leave them, so that evaluation tells whether they travel."""
    generator = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return model


def resnet18(classes):
    model = torchvision.models.resnet18(num_classes=classes)
    model.conv1, model.maxpool = (
        torch.nn.Conv2d(3, 64, 3, padding=1, bias=False),
        torch.nn.Identity(),
    )
    return with_statistics(model)


def googlenet(classes):
    model = torchvision.models.googlenet(num_classes=classes, init_weights=False)
    model.conv1.conv, model.maxpool1 = (
        torch.nn.Conv2d(3, 64, 3, padding=1, bias=False),
        torch.nn.Identity(),
    )
    return with_statistics(model)


class TorchvisionWeights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="lockstep-torchvision-")
        cls.folder = pathlib.Path(cls.holder.name)
        random = np.random.default_rng(1)
        source = cls.folder / "binary"
        source.mkdir()
        images, labels = random.integers(0, 256, (48, 3, 32, 32), np.uint8), np.arange(48) % 10
        for i in range(6):
            rows = [bytes([labels[j]]) + images[j].tobytes() for j in range(8 * i, 8 * i + 8)]
            (source / (f"data_batch_{i + 1}.bin" if i < 5 else "test_batch.bin")).write_bytes(
                b"".join(rows)
            )
        (source / "batches.meta.txt").write_text("\n".join(f"class {i}" for i in range(10)) + "\n")
        cls.images, cls.labels = images, torch.tensor(labels)
        cls.data = cls.folder / "set.h5"
        run("data", "import", source, cls.data)
        cls.pictures = []
        for i in range(40, 48):
            cls.pictures.append(cls.folder / f"{i}.png")
            Image.fromarray(images[i].transpose(1, 2, 0)).save(cls.pictures[-1])
        torch.manual_seed(1)
        cls.weights = cls.folder / "from-torchvision.safetensors"
        save_file(resnet18(17).state_dict(), cls.weights, {"format": "pt"})

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def train(self, run_dir, *settings, ranks=0, resume=()):
        options = [
            "model.name=resnet18",
            f"data.file={self.data}",
            "batch_size=40",
            "data.validation_fraction=0",
            "data.augmentation.pad_crop=0",
            "data.augmentation.flip=false",
            "optimizer.learning_rate=0.003",
            *settings,
        ]
        sets = [word for option in options for word in ("--set", option)]
        result = run("train", "--run-dir", self.folder / run_dir, *resume, *sets, ranks=ranks)
        return result.stdout, load_file(self.folder / run_dir / "last.safetensors")

    def normalised(self, path, indices):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        mean, std = (
            torch.tensor(json.loads(metadata[key])).view(3, 1, 1) for key in ("mean", "std")
        )
        return (torch.tensor(self.images[indices]) / 255 - mean) / std

    def predicted(self, source, *options):
        lines = [
            json.loads(line)
            for line in run(
                "predict", source, *self.pictures, "--json", "--top", 10, *options
            ).stdout.splitlines()
        ]
        self.assertEqual([line["picture"] for line in lines], [str(path) for path in self.pictures])
        logits = torch.empty(len(lines), 10)
        for row, line in zip(logits, lines):
            self.assertEqual(sorted(entry["index"] for entry in line["classes"]), list(range(10)))
            for entry in line["classes"]:
                row[entry["index"]] = entry["logit"]
            probabilities = [entry["probability"] for entry in line["classes"]]
            self.assertEqual(probabilities, sorted(probabilities, reverse=True))
            expected = row.double().softmax(0)[[entry["index"] for entry in line["classes"]]]
            torch.testing.assert_close(
                torch.tensor(probabilities, dtype=torch.double), expected, rtol=1e-6, atol=1e-9
            )
        return logits

    def assert_same_logits(self, model, path, logits):
        with torch.no_grad():
            expected = model(self.normalised(path, slice(40, 48)))
        self.assertLess((logits - expected).abs().max() / expected.abs().max(), 1e-5)

    def test_exported_networks_are_torchvisions(self):
        self.train("template", "limits.steps=1")
        with safe_open(self.folder / "template" / "last.safetensors", "pt") as file:
            metadata = file.metadata()
        for name, model in [
            ("resnet18", resnet18),
            ("vgg11_bn", lambda n: with_statistics(torchvision.models.vgg11_bn(num_classes=n))),
            ("googlenet_bn", googlenet),
        ]:
            with self.subTest(model=name):
                config = json.loads(metadata["config"])
                config["model"]["name"] = name
                source, exported = (
                    self.folder / f"{name}-given.safetensors",
                    self.folder / f"{name}-exported.safetensors",
                )
                save_file(
                    model(10).state_dict(),
                    source,
                    dict(metadata, model=name, config=json.dumps(config)),
                )
                printed = run("export", source, exported).stdout
                names = {}
                exec(re.search(r"\n(import torch.*?model\.eval\(\)\n)", printed, re.S)[1], names)
                self.assert_same_logits(names["model"], exported, self.predicted(exported))
                with safe_open(exported, "pt") as file:
                    self.assertEqual(
                        json.loads(file.metadata()["config"])["data"]["file"],
                        "",
                        "a path of the owner's",
                    )
                    self.assertEqual(
                        json.loads(file.metadata()["class_names"]),
                        [f"class {i}" for i in range(10)],
                    )

    def test_the_guides_snippet_and_evaluation(self):
        self.train("trained", "epochs=2")
        run(
            "export",
            self.folder / "trained",
            self.folder / "resnet18.safetensors",
            "--weights",
            "last",
        )
        snippet = re.search(r"```python\n(.*?)```", pathlib.Path(GUIDE).read_text(), re.S)[1]
        before = os.getcwd()
        os.chdir(self.folder)
        names = {}
        try:
            exec(snippet, names)
        finally:
            os.chdir(before)
        path = self.folder / "trained" / "last.safetensors"
        self.assert_same_logits(
            names["model"], path, self.predicted(self.folder / "trained", "--weights", "last")
        )
        result = json.loads(
            run(
                "evaluate",
                self.folder / "trained",
                "--data",
                self.data,
                "--weights",
                "last",
                "--json",
            ).stdout
        )
        with torch.no_grad():
            logits = names["model"](self.normalised(path, slice(40, 48)))
        self.assertAlmostEqual(
            result["loss"],
            torch.nn.functional.cross_entropy(logits, self.labels[40:]).item(),
            delta=1e-5 * logits.abs().max().item(),
        )
        self.assertEqual(result["correct"], (logits.argmax(1) == self.labels[40:]).sum().item())

    def two_steps_of_pytorch(self, start, path, frozen):
        model = resnet18(10)
        model.load_state_dict(start)
        model.train()
        for name in frozen:
            module = getattr(model, name)
            module.requires_grad_(False)
            module.eval()  # its norms
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.003, momentum=0.9, weight_decay=1e-4)
        losses = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                model(self.normalised(path, slice(0, 40))), self.labels[:40]
            )
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return model.state_dict(), losses

    def test_two_steps_of_fine_tuning_are_pytorchs(self):
        given = load_file(self.weights)
        # A step of rate 0 shows the fresh last layer; averaged weights begin with those read, too.
        words, rested = self.train(
            "rested",
            f"model.weights={self.weights}",
            "optimizer.learning_rate=0",
            "optimizer.ema_decay=0.5",
            "limits.steps=1",
        )
        self.assertIn("last layer fc has 17 classes in it and 10 here: freshly initialised", words)
        start = {
            name: rested[name] if name.startswith("fc.") else tensor
            for name, tensor in given.items()
        }
        for name, tensor in start.items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(rested[name], start[name], rtol=1e-6, atol=0)
        for frozen, ranks in [((), 0), (FROZEN, 0), (FROZEN, 2)]:
            with self.subTest(frozen=frozen, ranks=ranks):
                run_dir = f"tuned-{len(frozen)}-{ranks}"
                words, weights = self.train(
                    run_dir,
                    f"model.weights={self.weights}",
                    f"model.freeze={','.join(frozen)}",
                    "epochs=2",
                    "distributed.batch_norm=sync",
                    ranks=ranks,
                )
                self.assertEqual(
                    frozen != (),
                    "frozen: conv1,bn1,layer1 (149824 of 11173962 parameters)" in words,
                    words,
                )
                expected, losses = self.two_steps_of_pytorch(
                    start, self.folder / run_dir / "last.safetensors", frozen
                )
                lines = [
                    json.loads(line)
                    for line in (self.folder / run_dir / "metrics.jsonl").read_text().splitlines()
                ]
                for line, loss in zip(
                    [line for line in lines if line["event"] == "step"], losses, strict=True
                ):
                    self.assertLess(abs(line["loss"] / loss - 1), 1e-4)
                self.assertEqual(weights.keys(), expected.keys())
                for layer in {name.rsplit(".", 1)[0] for name in expected}:
                    # Biases of norms start at 0 and are small: they count with their layer's weights.
                    for names in (
                        ("weight", "bias"),
                        ("running_mean",),
                        ("running_var",),
                        ("num_batches_tracked",),
                    ):
                        ours, theirs = (
                            torch.cat(
                                [
                                    tensors[f"{layer}.{name}"].double().flatten()
                                    for name in names
                                    if f"{layer}.{name}" in expected
                                ]
                                or [torch.ones(1)]
                            )
                            for tensors in (weights, expected)
                        )
                        self.assertLess(
                            (ours - theirs).norm(), 1e-4 * theirs.norm() + 1e-30, (layer, names)
                        )
                for name, tensor in given.items():
                    if name.split(".")[0] in frozen:
                        self.assertTrue(torch.equal(weights[name], tensor), name)

    def test_resuming_does_not_read_the_weights_again(self):
        moved = self.folder / "moved.safetensors"
        moved.write_bytes(self.weights.read_bytes())
        self.train(
            "resumed",
            f"model.weights={moved}",
            "model.freeze=backbone",
            "epochs=2",
            "limits.steps=1",
        )
        moved.unlink()
        words, weights = self.train(
            "resumed",
            f"model.weights={moved}",
            "model.freeze=backbone",
            "epochs=2",
            "limits.steps=2",
            resume=["--resume"],
        )
        self.assertIn("resuming after update 1", words)
        given = load_file(self.weights)
        for name in given:
            self.assertEqual(weights[name].equal(given[name]), not name.startswith("fc."), name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
