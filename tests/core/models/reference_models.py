"""Lockstep's models in plain PyTorch: torchvision's where it has them, otherwise written here from the papers, with the same names."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.googlenet import BasicConv2d


class OptionABlock(nn.Module):
    """He et al. 2015, section 4.2: the shortcut takes every second place and pads channels with zeros."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.added = stride, out_channels - in_channels

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(
            x[:, :, :: self.stride, :: self.stride],
            (0, 0, 0, 0, self.added // 2, self.added - self.added // 2),
        )
        return F.relu(y + shortcut)


class CifarResNet(nn.Module):
    def __init__(self, depth, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(OptionABlock(channels, width, 2 if stage > 0 and i == 0 else 1))
                channels = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


def small_image_stem(model, name):
    """The stem for small images: nothing is halved before the first stage (GoogLeNet: once)."""
    if name.startswith("resnet"):
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    else:
        model.conv1.conv = nn.Conv2d(3, 64, 3, 1, 1, bias=model.conv1.conv.bias is not None)
        model.maxpool1 = nn.Identity()


def without_batch_norm(model):
    """torchvision's GoogLeNet as it was published: a bias in every convolution, no normalisation."""
    for module in model.modules():
        if isinstance(module, BasicConv2d):
            old = module.conv
            module.conv = nn.Conv2d(
                old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding
            )
            module.bn = nn.Identity()


class AirbenchGroup(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        for number, channels in ((1, in_channels), (2, out_channels)):
            setattr(self, f"conv{number}", nn.Conv2d(channels, out_channels, 3, 1, 1, bias=False))
            norm = nn.BatchNorm2d(out_channels, eps=1e-12, momentum=0.4)
            norm.weight.requires_grad = False
            setattr(self, f"norm{number}", norm)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """Jordan 2024, listing 4: for images of 32 pixels."""

    def __init__(self, num_classes):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.group1 = AirbenchGroup(24, 64)
        self.group2 = AirbenchGroup(64, 256)
        self.group3 = AirbenchGroup(256, 256)
        self.classifier = nn.Linear(256, num_classes, bias=False)

    def forward(self, x):
        x = self.group3(self.group2(self.group1(F.gelu(self.whiten(x)))))
        return self.classifier(F.max_pool2d(x, 3).flatten(1)) / 9


def make_model(name, num_classes, stem, head):
    if name == "airbench94":
        return Airbench(num_classes)
    if name in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"):
        return CifarResNet(int(name[len("resnet") :]), num_classes)
    if name.startswith("googlenet"):
        model = torchvision.models.googlenet(
            num_classes=num_classes,
            aux_logits=True,
            init_weights=False,
            dropout=0.0,
            dropout_aux=0.0,
        )
        if not name.endswith("_bn"):
            without_batch_norm(model)
    elif name.startswith("vgg"):
        model = getattr(torchvision.models, name)(
            num_classes=num_classes, init_weights=False, dropout=0.0
        )
        if head == "compact":
            model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)
    else:
        model = getattr(torchvision.models, name)(num_classes=num_classes)
    if stem == "cifar" and not name.startswith("vgg"):
        small_image_stem(model, name)
    return model


def training_loss(model, images, labels):
    """Mean cross entropy; GoogLeNet's auxiliary heads with weight 0.3 each (Szegedy et al. 2014, section 5)."""
    output = model(images)
    if torch.is_tensor(output):
        return F.cross_entropy(output, labels)
    return F.cross_entropy(output.logits, labels) + 0.3 * sum(
        F.cross_entropy(logits, labels) for logits in (output.aux_logits1, output.aux_logits2)
    )
