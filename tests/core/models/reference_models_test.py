#!/usr/bin/env python3
"""Every model against PyTorch and torchvision: weights travel both ways, logits, loss, gradients and running statistics agree.

usage: reference_models_test.py MODEL_PROBE. Exit code 77 (skipped) without PyTorch and torchvision, which `launch/setup.sh --tests`
puts into the cache on machines with CUDA. Without LOCKSTEP_ALL_MODELS in the environment (tests/thorough.sh sets it) it leaves
out depths that differ from others in their number of blocks alone.
"""

import copy
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from reference_packages import add_reference_packages

add_reference_packages()
try:
    import torch
    import torchvision  # noqa: F401
    from reference_models import make_model, training_loss
except ImportError as error:
    print(f"skipped: {error}: launch/setup.sh --tests installs it where CUDA is")
    sys.exit(77)

PROBE = sys.argv.pop(1)
ALL = "LOCKSTEP_ALL_MODELS" in os.environ
CLASSES = 7
DTYPES = {"F32": torch.float32, "I64": torch.int64}


def save(path, tensors):
    header, buffers, offset = {}, [], 0
    names = {dtype: name for name, dtype in DTYPES.items()}
    for name, tensor in tensors.items():
        data = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        buffers.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(buffers))


def load(path):
    data = bytearray(path.read_bytes())
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            part = memoryview(data)[8 + length + begin : 8 + length + end]
            tensors[name] = torch.frombuffer(part, dtype=DTYPES[entry["dtype"]]).reshape(
                entry["shape"]
            )
    return tensors


def with_prefix(prefix, tensors):
    return {
        name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }


def keep_activations_away_from_zero(model):
    """A bias of 3 after every batch norm: one activation in a thousand is still negative, but hardly any so near zero that float32's
    rounding decides whether ReLU passes its gradient. Where it does, gradients jump by 1e-3 to 5e-2 of their norm: PyTorch's own in
    float32 differ as much from those in float64."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.bias, 3.0)


def gradients_of(model):
    return {
        key: parameter.grad
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def make_exact(model):
    exact = copy.deepcopy(model).double()
    exact.zero_grad()
    return exact


def distance(ours, theirs):
    """Of two gradients, as a fraction of the second's norm."""

    def norm(tensors):
        return sum(tensor.double().square().sum().item() for tensor in tensors) ** 0.5

    return norm(ours[key] - theirs[key] for key in theirs) / norm(theirs.values())


class ReferenceModels(unittest.TestCase):
    def probe(self, folder, arguments, inputs):
        save(folder / "in.safetensors", inputs)
        command = [
            PROBE,
            *map(str, arguments),
            folder / "in.safetensors",
            folder / "out.safetensors",
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return load(folder / "out.safetensors")

    def assert_near(self, ours, theirs, tolerance, what):
        scale = theirs.abs().max().clamp(min=1e-30)
        self.assertLessEqual(((ours - theirs).abs().max() / scale).item(), tolerance, what)

    def compare(self, name, side=32, stem="cifar", head="full", batch=4):
        torch.manual_seed(len(name) + side)
        images, labels = torch.randn(batch, 3, side, side), torch.randint(0, CLASSES, (batch,))
        inputs = {"images": images, "labels": labels}
        arguments = (name, CLASSES, side, stem, head)
        with tempfile.TemporaryDirectory(prefix="lockstep-models-", dir="/dev/shm") as holder:
            folder = pathlib.Path(holder)
            model = make_model(name, CLASSES, stem, head)
            ours = self.probe(folder, arguments, inputs)
            model.load_state_dict(with_prefix("weight.", ours), strict=True)
            self.assert_same_logits(model, images, ours, f"{name} exported")
            self.assert_same_step(model, images, labels, ours, f"{name} exported")

            model = make_model(name, CLASSES, stem, head)
            keep_activations_away_from_zero(model)
            ours = self.probe(
                folder,
                arguments,
                inputs | {f"weight.{key}": value for key, value in model.state_dict().items()},
            )
            self.assert_same_logits(model, images, ours, f"{name} imported")
            self.assert_same_step(model, images, labels, ours, f"{name} imported")
            self.assert_same_gradients(model, images, labels, ours, f"{name} imported")

    def assert_same_logits(self, model, images, ours, what):
        model.eval()
        with torch.no_grad():
            self.assert_near(ours["logits"], model(images), 1e-5, f"{what}: logits")

    def assert_same_step(self, model, images, labels, ours, what):
        model.train()
        loss = training_loss(model, images, labels)
        loss.backward()
        self.assert_near(ours["loss"], loss.detach(), 1e-4, f"{what}: loss")
        for key, buffer in model.named_buffers():
            self.assert_near(
                ours["running." + key].double(), buffer.double(), 1e-3, f"{what}: {key}"
            )

    def assert_same_gradients(self, model, images, labels, ours, what):
        theirs = gradients_of(model)
        ours = with_prefix("gradient.", ours)
        limit = 1e-4
        if distance(ours, theirs) > limit:
            # GoogLeNet's many maxima over nearly equal values: PyTorch's own rounding is the yardstick then.
            exact = make_exact(model)
            training_loss(exact, images.double(), labels).backward()
            limit = 3 * distance(theirs, gradients_of(exact))
        self.assertLessEqual(distance(ours, theirs), limit, f"{what}: gradient")

    def test_cifar_resnets(self):
        for depth in (20, 56, 110) if ALL else (20,):
            self.compare(f"resnet{depth}")

    def test_resnets_with_the_stem_for_small_images(self):
        for depth in (18, 34, 50, 101, 152) if ALL else (18, 50):
            self.compare(f"resnet{depth}")

    def test_resnets_with_the_imagenet_stem(self):
        for depth in (18, 50):
            self.compare(f"resnet{depth}", side=64, stem="imagenet")

    def test_vgg(self):
        self.compare("vgg11")

    def test_vgg_on_large_images(self):
        self.compare("vgg11_bn", side=112)

    def test_vgg_with_the_compact_head(self):
        """The full head's 120 million weights are the same at every depth: once is enough."""
        for depth in (11, 13, 16, 19) if ALL else (16,):
            self.compare(f"vgg{depth}", head="compact")
            self.compare(f"vgg{depth}_bn", head="compact")

    def test_googlenet_with_batch_norm(self):
        self.compare("googlenet_bn")
        self.compare("googlenet_bn", side=96, stem="imagenet")

    def test_googlenet_without_batch_norm(self):
        self.compare("googlenet")
        self.compare("googlenet", side=96, stem="imagenet")

    def test_airbench(self):
        self.compare("airbench94")


if __name__ == "__main__":
    unittest.main(verbosity=2)
