"""One rank of PyTorch DistributedDataParallel training, timed; started by compare_ddp.py."""

import argparse
import json
import os
import sys
import time

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [TESTS, os.path.join(TESTS, "core", "models")]
from reference_packages import add_reference_packages

add_reference_packages()
import numpy as np
import torch
import torch.distributed as dist
import torchvision.transforms as T
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from reference_models import make_model, training_loss


class CifarBinary(torch.utils.data.Dataset):
    """As torchvision.datasets.CIFAR10: images in memory, PIL transforms."""

    def __init__(self, folder):
        records = np.concatenate(
            [
                np.fromfile(f"{folder}/data_batch_{i}.bin", np.uint8).reshape(-1, 3073)
                for i in range(1, 6)
            ]
        )
        self.labels = records[:, 0].astype(np.int64)
        self.images = np.ascontiguousarray(
            records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        )
        self.transform = T.Compose(
            [
                T.RandomCrop(32, padding=4),
                T.RandomHorizontalFlip(),
                T.ToTensor(),
                T.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)),
            ]
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def batches(options, device, memory_format):
    if not options.data:
        images = torch.randn(options.batch, 3, 32, 32, device=device).contiguous(
            memory_format=memory_format
        )
        labels = torch.randint(0, 10, (options.batch,), device=device)
        while True:
            yield images, labels
    dataset = CifarBinary(options.data)
    sampler = torch.utils.data.distributed.DistributedSampler(dataset, seed=1)
    while True:
        for images, labels in torch.utils.data.DataLoader(
            dataset,
            options.batch,
            sampler=sampler,
            drop_last=True,
            num_workers=options.workers,
            persistent_workers=False,
        ):
            yield images.to(device).contiguous(memory_format=memory_format), labels.to(device)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--head", required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], required=True)
    parser.add_argument("--run", choices=["eager", "compile", "graphs"], required=True)
    parser.add_argument("--batch", type=int, required=True, help="images a rank")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, default=8)  # compiles and records, too
    parser.add_argument("--data", help="cifar-10-batches-bin: end to end instead of in memory")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    rank = int(os.environ["RANK"])
    cuda = torch.cuda.is_available()
    if not cuda:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank % os.cpu_count()]})
        torch.set_num_threads(1)
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    # As Lockstep: TF32 only where it is asked for. cuDNN's is on by default.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    dist.init_process_group("nccl" if cuda else "gloo")
    memory_format = torch.channels_last if options.layout == "nhwc" else torch.contiguous_format
    torch.manual_seed(0)
    model = (
        make_model(options.model, 10, "cifar", options.head)
        .to(device)
        .to(memory_format=memory_format)
    )
    model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    trained = model
    if options.run != "eager":
        # "reduce-overhead" replays what was compiled as CUDA graphs.
        model = torch.compile(
            model, mode="reduce-overhead" if options.run == "graphs" else "default"
        )
    optimizer = torch.optim.SGD(trained.parameters(), 0.1, 0.9, weight_decay=1e-4, fused=True)

    source = batches(options, device, memory_format)
    for step in range(options.warmup + options.steps):
        if step == options.warmup:
            if cuda:
                torch.cuda.synchronize()
            dist.barrier()
            start = time.perf_counter()
        images, labels = next(source)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = training_loss(model, images, labels)
        loss.backward()
        optimizer.step()
    if cuda:
        torch.cuda.synchronize()
    dist.barrier()
    seconds = time.perf_counter() - start
    if rank == 0:
        world_size = dist.get_world_size()
        print(
            json.dumps({"images_per_second": options.batch * world_size * options.steps / seconds}),
            flush=True,
        )
    dist.destroy_process_group()


main()
