"""The inversion loop of `gradinversion.py` as one writes it in PyTorch: the peer.

Networks, objective and update are those of `tfgen.privacy`; tests/benchmarks holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which is uneven where it strides."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride)
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        even = pads[0] == pads[1] == pads[2] == pads[3]
        if even:
            return F.conv2d(x, self.weight, None, self.stride, (pads[2], pads[0]))
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride)


class BatchNorm(nn.Module):
    """Batch norm by batch statistics, which it notes; fused or as a product and a sum."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.fused = fused
        self.statistics: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
        self.statistics = mean, variance
        if self.fused:
            return F.batch_norm(x, None, None, self.weight, self.bias, True, eps=1e-5)
        scale = self.weight * torch.rsqrt(variance + 1e-5)
        offset = self.bias - mean * scale
        return x * scale[:, None, None] + offset[:, None, None]


class Block(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, before: int, filters: int, stride: int, fused: bool) -> None:
        super().__init__()
        self.shortcut = None
        if stride > 1 or before != filters:
            self.shortcut = nn.Sequential(
                SameConv(before, filters, 1, stride, bias=False), BatchNorm(filters, fused)
            )
        self.body = nn.Sequential(
            SameConv(before, filters, 3, stride, bias=False),
            BatchNorm(filters, fused),
            nn.ReLU(),
            SameConv(filters, filters, 3, bias=False),
            BatchNorm(filters, fused),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu(self.body(x) + shortcut)


class FlattenLikeKeras(nn.Module):
    """Channels last, as the dense layer of a Keras network sees them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class GlobalAverage(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def build(name: str, width: int, fused: bool) -> nn.Module:
    """`batch_norm_cnn` or `resnet18` of `tfgen.privacy.CLASSIFIERS`, for 32 x 32 x 3 and 10."""
    if name == "batch_norm_cnn":
        parts: list[nn.Module] = []
        before = 3
        for filters, stride in ((width, 1), (2 * width, 2), (2 * width, 2)):
            parts += [SameConv(before, filters, 3, stride, bias=False), BatchNorm(filters, fused)]
            parts.append(nn.ReLU())
            before = filters
        return nn.Sequential(*parts, FlattenLikeKeras(), nn.Linear(64 * before, 10))
    parts = [SameConv(3, width, 3, bias=False), BatchNorm(width, fused), nn.ReLU()]
    before = width
    for stage in range(4):
        for block in range(2):
            filters = width * 2**stage
            parts.append(Block(before, filters, 2 if stage and not block else 1, fused))
            before = filters
    return nn.Sequential(*parts, GlobalAverage(), nn.Linear(before, 10))


class Attack:
    """GradInversion's iteration for one seed.

    Args:
        name: of the network.
        width: of the network.
        images: the client's `[K, 32, 32, 3]`, normalised.
        labels: theirs `[K]`.
        start: first candidates, like `images`.
        channels_last: memory layout.
        fused: whether batch norm uses PyTorch's own function.
        weights: Keras' trainable weights in order, to compare values; None: PyTorch's own.
    """

    TV, L2, BATCH_NORM, GRADIENT = 1e-4, 1e-6, 0.1, 1e-3

    def __init__(
        self,
        name: str,
        width: int,
        images: np.ndarray,
        labels: np.ndarray,
        start: np.ndarray,
        channels_last: bool = False,
        fused: bool = True,
        weights: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.model = build(name, width, fused)
        if weights is not None:
            load_keras_weights(self.model, weights)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)
        self.parameters = list(self.model.parameters())
        self.norms = [m for m in self.model.modules() if isinstance(m, BatchNorm)]
        self.labels = torch.from_numpy(labels)
        truth = _nchw(images, layout)
        self.target = [g.detach() for g in self._gradients(truth, create_graph=False)]
        self.known = [tuple(s.detach() for s in m.statistics) for m in self.norms]
        self.x = _nchw(start, layout).requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.x], lr=0.1)
        self.low, self.high = -0.45 / 0.25, 0.55 / 0.25

    def _gradients(self, x: torch.Tensor, create_graph: bool) -> Sequence[torch.Tensor]:
        loss = F.cross_entropy(self.model(x), self.labels)
        return torch.autograd.grad(loss, self.parameters, create_graph=create_graph)

    def objective(self) -> torch.Tensor:
        """The weighted sum of all terms at the current candidates."""
        gradients = self._gradients(self.x, create_graph=True)
        distance = sum(torch.linalg.vector_norm(g - t) for g, t in zip(gradients, self.target))
        statistics = sum(
            torch.linalg.vector_norm(ours - theirs)
            for norm, known in zip(self.norms, self.known)
            for ours, theirs in zip(norm.statistics, known)
        )
        x = self.x
        variation = sum(
            torch.linalg.vector_norm(difference)
            for difference in (
                x[..., 1:] - x[..., :-1],
                x[..., 1:, :] - x[..., :-1, :],
                x[..., 1:, 1:] - x[..., :-1, :-1],
                x[..., 1:, :-1] - x[..., :-1, 1:],
            )
        )
        size = torch.linalg.vector_norm(x.flatten(1), dim=1).mean()
        return (
            self.GRADIENT * distance
            + self.TV * variation
            + self.L2 * size
            + self.BATCH_NORM * statistics
        )

    def value_and_gradient(self) -> tuple[float, np.ndarray]:
        """The objective, and its gradient in Keras' layout."""
        value = self.objective()
        (gradient,) = torch.autograd.grad(value, [self.x])
        return value.item(), gradient.numpy().transpose(0, 2, 3, 1)

    def step(self) -> None:
        """One update: gradient, Adam, Langevin noise, box."""
        (gradient,) = torch.autograd.grad(self.objective(), [self.x])
        self.x.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            self.x.add_(torch.randn_like(self.x), alpha=0.1 * 0.2)
            self.x.clamp_(self.low, self.high)


def load_keras_weights(model: nn.Module, weights: Sequence[np.ndarray]) -> None:
    """Keras kernels are height, width, input, output and input, output."""
    parameters = list(model.parameters())
    assert len(parameters) == len(weights)
    with torch.no_grad():
        for parameter, value in zip(parameters, weights):
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            elif value.ndim == 2:
                value = value.T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _nchw(images: np.ndarray, layout: torch.memory_format) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return tensor.to(memory_format=layout).clone(memory_format=torch.preserve_format)
