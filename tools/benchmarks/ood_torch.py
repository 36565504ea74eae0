"""Multi-task transformation learning in PyTorch, the peer of `ood.py`.

Written from the equations for this comparison, as one would write them in PyTorch today. Modules
are named so that a path with underscores is the name of the Keras layer that the weights come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_side import Trained, tensors_of


class Conv(nn.Conv2d):
    """A convolution of odd size.

    Attributes:
        as_keras: whether a stride of 2 begins at the first pixel, where Keras puts all padding
            behind; PyTorch's own padding costs no copy.
    """

    as_keras = False

    def __init__(self, channels: int, filters: int, size: int, stride: int) -> None:
        super().__init__(channels, filters, size, stride, size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.as_keras and self.stride == (2, 2) and self.kernel_size == (3, 3):
            return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, None, 2)
        return super().forward(x)


class Unit(nn.Module):
    """Convolution, batch norm and perhaps ReLU."""

    def __init__(self, channels: int, filters: int, size: int, stride: int = 1, relu: bool = True):
        super().__init__()
        self.conv = Conv(channels, filters, size, stride)
        self.norm = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.add_module("1", Unit(channels, filters, 3, stride))
        self.add_module("2", Unit(filters, filters, 3, relu=False))
        self.shortcut = None
        if stride > 1 or channels != filters:
            self.shortcut = Unit(channels, filters, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else self.shortcut(x)
        first, second = (getattr(self, name) for name in "12")
        return F.relu(second(first(x)) + skip, inplace=True)


def backbone(name: str, **options) -> tuple[nn.ModuleDict, int]:
    """The parts of a network in order, and how many features it has."""
    parts, width = {}, 3
    if name == "small_cnn":
        for number, (filters, stride) in enumerate(zip(options["widths"], options["strides"])):
            parts[f"layer{number}"] = Unit(width, filters, 3, stride)
            width = filters
        return nn.ModuleDict(parts), width
    parts["stem"] = Unit(3, options["width"], 3)
    width = options["width"]
    for stage in range(4):
        for block in range(2):
            filters, stride = options["width"] * 2**stage, 2 if stage and not block else 1
            parts[f"stage{stage}_block{block}"] = Block(width, filters, stride)
            width = filters
    return nn.ModuleDict(parts), width


class Head(nn.Module):
    """A hidden layer, and logits."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.hidden, self.outputs = nn.Linear(width, width), nn.Linear(width, units)

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(F.relu(self.hidden(x)))


class Detector(nn.Module):
    """Losses of images `[B, C, H, W]`: the class, and of each task the level and the class."""

    levels: ClassVar = {"rotation": 4, "translation": 5}

    def __init__(self, spec: Mapping, classes: int, mean: float, std: float, shift: int) -> None:
        super().__init__()
        self.mean, self.std, self.shift = mean, std, shift
        parts, width = backbone(**spec)
        for name, part in parts.items():
            self.add_module(name, part)
        self.parts = list(parts)
        self.main = nn.Linear(width, classes)
        for task, count in self.levels.items():
            self.add_module(f"ssl_{task}", Head(width, count))
            self.add_module(f"supervised_{task}", Head(width, classes))

    def copies(self, images: Tensor) -> Tensor:
        """The images, three turns and four shifts."""
        found = [images, *(torch.rot90(images, k, (2, 3)) for k in (1, 2, 3))]
        s, size = self.shift, images.shape[2]
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            around = (s * (x > 0), s * (x < 0), s * (y > 0), s * (y < 0))
            padded = F.pad(images, around, mode="reflect")
            rows, columns = around[3], around[1]
            found.append(padded[:, :, rows : rows + size, columns : columns + size])
        return torch.cat(found)

    def features(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        for name in self.parts:
            x = getattr(self, name)(x)
        return x.mean((2, 3))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = self.features(self.copies(images)).chunk(8)
        loss = F.cross_entropy(self.main(features[0]), labels)
        own = {"rotation": features[1:4], "translation": features[4:]}
        for task, count in self.levels.items():
            rows = torch.cat([features[0], *own[task]])
            levels = torch.arange(count).repeat_interleave(len(labels))
            ssl = F.cross_entropy(getattr(self, f"ssl_{task}")(rows), levels)
            classes = getattr(self, f"supervised_{task}")(rows)
            loss = loss + (ssl + F.cross_entropy(classes, labels.repeat(count))) / len(self.levels)
        return loss


class Peer(Trained):
    """The detector and its training step.

    Args:
        layout: "NCHW" or "channels_last".
        threads: of PyTorch.
        spec: the backbone as `MultiTaskOOD` takes it.
        weights: arrays by the name of the Keras layer.
        batch: images `[B, H, W, C]` and labels.
        pixels: mean and standard deviation of pixels, and how far translations move.
        sgd: learning rate, momentum and weight decay.
    """

    def __init__(
        self,
        layout: str,
        threads: int,
        spec: Mapping,
        weights: Mapping[str, Sequence[np.ndarray]],
        batch: Mapping[str, np.ndarray],
        pixels: tuple[float, float, int],
        sgd: Mapping[str, float],
    ) -> None:
        super().__init__(threads)
        self.net = Detector(spec, weights["main"][1].size, *pixels)
        self.copy(self.net, weights)
        self.net = self.net.to(memory_format=self.layouts[layout]).train()
        self.batch = tensors_of(batch, layout)
        parameters = list(self.net.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": sgd["weight_decay"]},
            {"params": [p for p in parameters if p.ndim < 2]},
        ]
        options = dict(momentum=sgd["momentum"], nesterov=True, fused=True)
        self.optimizer = torch.optim.SGD(groups, sgd["learning_rate"], **options)

    def loss(self) -> float:
        Conv.as_keras = True
        try:
            return super().loss()
        finally:
            Conv.as_keras = False
