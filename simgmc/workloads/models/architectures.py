"""The networks behind the registered models, plain ``nn.Module``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from simgmc.workloads.models.sequence_models import GPT, CharacterLSTM
from simgmc.workloads.models.vision_transformer import VisionTransformer


def logistic(sample_shape: Sequence[int], classes: int) -> nn.Module:
    """Multinomial logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(sample_shape), classes))


def mlp(sample_shape: Sequence[int], classes: int, hidden: Sequence[int]) -> nn.Module:
    """Linear layers of the given widths, ReLU after each but the last."""
    widths = [prod(sample_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def cnn(sample_shape: Sequence[int], classes: int, channels: Sequence[int], groups: int) -> nn.Module:
    """3x3 convolution, group norm, 2x2 max-pooling, ReLU for each of ``channels``; one linear layer."""
    width, *size = sample_shape
    layers: list[nn.Module] = []
    for out in channels:
        layers += [
            nn.Conv2d(width, out, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out),
            nn.MaxPool2d(2),  # before the ReLU: the same result from a quarter of the work
            nn.ReLU(inplace=True),
        ]
        width, size = out, [side // 2 for side in size]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * prod(size), classes))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with normalisation, and a shortcut around them (He et al. 2016)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.norm1 = norm(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.norm2 = norm(fan_out)
        if stride == 1 and fan_in == fan_out:
            self.shortcut: nn.Module = nn.Identity()
        elif shortcut == "A":
            self.shortcut = PaddedShortcut(fan_out - fan_in, stride)
        else:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), norm(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class PaddedShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, the new channels zero; no parameters."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        before = self.channels // 2
        return F.pad(
            x[:, :, :: self.stride, :: self.stride],
            (0, 0, 0, 0, before, self.channels - before),
        )


class ResNet(nn.Module):
    """The CIFAR ResNet of 6 n + 2 layers: 16, 32, 64 channels, n blocks each (He et al. 2016)."""

    def __init__(self, n: int, fan_in: int, classes: int, norm, shortcut: str):
        super().__init__()
        self.conv = nn.Conv2d(fan_in, 16, 3, padding=1, bias=False)
        self.norm = norm(16)
        blocks, width = [], 16
        for out in (16, 32, 64):
            for place in range(n):
                stride = 2 if place == 0 and out > 16 else 1
                blocks.append(ResidualBlock(width, out, stride, norm, shortcut))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.conv(x)), inplace=True))
        return self.linear(x.mean((2, 3)))


def resnet(n: int, sample_shape: Sequence[int], classes: int, norm: str, shortcut: str, groups: int) -> nn.Module:
    """The CIFAR ResNet of 6 n + 2 layers; see the registry for its parameter counts."""

    def normalisation(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(groups, channels)

    return ResNet(n, sample_shape[0], classes, normalisation, shortcut)


def vgg11(sample_shape: Sequence[int], classes: int, norm: str) -> nn.Module:
    """VGG's configuration A for 32x32 images: its eight convolutions, one linear layer.

    Simonyan and Zisserman 2015; the two hidden linear layers of 4096, made for 224x224 images,
    are left out, as everywhere for CIFAR.
    """
    width, layers = sample_shape[0], []
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for out in stage:
            layers.append(nn.Conv2d(width, out, 3, padding=1))
            layers += [nn.BatchNorm2d(out)] if norm == "batch" else []
            layers.append(nn.ReLU(inplace=True))
            width = out
        layers.append(nn.MaxPool2d(2))
    side = [size // 32 for size in sample_shape[1:]]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * prod(side), classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


ARCHITECTURES = {
    "logistic": logistic,
    "mlp": mlp,
    "cnn": cnn,
    "resnet20": partial(resnet, 3),
    "resnet56": partial(resnet, 9),
    "vgg11": vgg11,
    "vit": VisionTransformer,
    "gpt": GPT,
    "lstm": CharacterLSTM,
}
