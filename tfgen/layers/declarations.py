"""What a network declares of itself before it has variables."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Conv:
    """A declared convolution: row `row` of the kernels `stack`, row `bias_row` of the biases.

    Args:
        stack: string, name of the stack that holds the kernel.
        row: integer, the kernel's place in its stack.
        filters: integer, output channels.
        stride: integer, 1 or 2.
        groups: integer, blocks of channels that see only each other.
        depthwise: whether every channel has one filter of its own.
        bias_row: integer, the bias's place among those of its size; None without a bias.
    """

    stack: str
    row: int
    filters: int
    stride: int
    groups: int
    depthwise: bool
    bias_row: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNorm:
    """A declared batch norm over `channels` channels. `repeat`: how often each pixel stands for
    itself.

    Args:
        channels: integer, channels of the input.
        row: integer, its place among the batch norms of that width.
        repeat: integer, how many pixels each pixel stands for in the statistics.
    """

    channels: int
    row: int
    repeat: int


@dataclasses.dataclass(frozen=True, eq=False)
class GroupNorm:
    """A declared group norm over `channels` channels.

    Args:
        channels: integer, channels of the input.
        row: integer, its place among the group norms of that width.
        groups: integer, sets of neighbouring channels that are normalised together.
    """

    channels: int
    row: int
    groups: int


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """A declared dense layer.

    Args:
        stack: string, name of the stack that holds the kernel.
        row: integer, the kernel's place in its stack.
        units: integer, numbers put out.
        bias_row: integer, the bias's place among those of its size.
    """

    stack: str
    row: int
    units: int
    bias_row: int


@dataclasses.dataclass
class Stack:
    """Kernels of one shape."""

    shape: tuple[int, ...]
    kind: str  # "conv", "depthwise" or "dense"
    weight_norm: bool = False
    mask: np.ndarray | None = None
    gain: float = 1.0  # on the initial kernels
    log_gain_shifts: list[float] = dataclasses.field(default_factory=list)
    fans: list[float] = dataclasses.field(default_factory=list)  # row k starts in +-fans[k]**-0.5

    @property
    def size(self) -> int:
        return len(self.log_gain_shifts)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(fan_in, filters); a depthwise kernel gives (k * k, C)."""
        filters = self.shape[-2] if self.kind == "depthwise" else self.shape[-1]
        return int(np.prod(self.shape)) // filters, filters
