"""Residual cells of NVAE (arXiv:2007.03898, section 3.1): `skip(x) + 0.1 * SE(body(x))`.

Cells are declared against a `ParameterBank` and called with a view of its weights and an input.
"""

import dataclasses

import tensorflow as tf

from tfgen.layers.bank import ParameterBank
from tfgen.layers.recompute import recomputed
from tfgen.ops.convolution import upsample_bilinear, upsample_nearest
from tfgen.ops.pointwise import activate, gated_sum, swish

RESIDUAL_SCALE = 0.1


@dataclasses.dataclass(frozen=True)
class Residual:
    """Two convolutions with an activation before each. `norm`: batch norm before the activation.

    Args:
        kernel_sizes: pair of odd integers, of the first and the second convolution. Defaults to
            `(3, 3)`.
        activation: string, "swish" or "elu". Defaults to `"swish"`.
        norm: whether batch norm comes before each activation. Defaults to `True`.
    """

    kernel_sizes: tuple[int, int] = (3, 3)
    activation: str = "swish"
    norm: bool = True


@dataclasses.dataclass(frozen=True)
class InvertedResidual:
    """1x1 expansion, depthwise (or grouped) convolution, 1x1 projection (section 3.1.1).

    Args:
        expansion: integer, width of the middle in multiples of the input's.
        kernel_size: odd integer, height and width of the depthwise kernel in pixels. Defaults to
            `5`.
        groups: integer, blocks of channels of the middle convolution; 0 is depthwise. Defaults to
            `0`.
    """

    expansion: int
    kernel_size: int = 5
    groups: int = 0  # 0: depthwise


class Cell:
    """A residual cell.

    Args:
        bank: the `ParameterBank` where its parameters are declared.
        body: a `Residual` or `InvertedResidual`, what stands on the residual branch.
        channels: integer, channels of the input.
        filters: integer, channels of the output.
        resample: "down" (stride 2), "up" (doubled) or None.
        squeeze_excite: whether the branch is rescaled per channel. Defaults to `True`.
    """

    def __init__(
        self,
        bank: ParameterBank,
        body: Residual | InvertedResidual,
        channels: int,
        filters: int,
        resample: str | None = None,
        squeeze_excite: bool = True,
    ):
        kind = {Residual: ResidualBody, InvertedResidual: InvertedResidualBody}[type(body)]
        skip = {None: IdentitySkip, "down": FactorizedReduce, "up": UpSkip}[resample]
        self.body = kind(bank, body, channels, filters, resample)
        self.skip = skip(bank, channels, filters)
        self.squeeze_excite = SqueezeExcite(bank, filters) if squeeze_excite else None

    def __call__(self, w, x):
        return recomputed(self._compute, w, x, self) if w.recompute else self._compute(w, x)

    def _compute(self, w, x):
        branch = self.body(w, x)
        scale = RESIDUAL_SCALE
        if self.squeeze_excite is not None:
            scale *= self.squeeze_excite(w, branch)
        return gated_sum(self.skip(w, x), branch, scale)


class ResidualBody:
    """Norm, activation and convolution, twice; resampling in the first convolution."""

    def __init__(self, bank, spec: Residual, channels, filters, resample):
        self.activation = spec.activation
        self.up = resample == "up"
        stride = 2 if resample == "down" else 1
        sizes = spec.kernel_sizes
        self.norms = [bank.batch_norm(c) for c in (channels, filters)] if spec.norm else [None] * 2
        self.convs = [
            bank.conv(channels, filters, sizes[0], stride=stride),
            bank.conv(filters, filters, sizes[1]),
        ]

    def __call__(self, w, x):
        if self.norms[0] is None:
            x = activate(x, self.activation)
        else:
            x = w.norm(self.norms[0], x, self.activation)
        if self.up:
            x = upsample_nearest(x)
        x = w.conv(self.convs[0], x, after=self.norms[1], activation=self.activation)
        return w.conv(self.convs[1], x)


class InvertedResidualBody:
    """The generative cell: BN, 1x1, BN, Swish, depthwise k x k, BN, Swish, 1x1, BN.

    Going up, the pixels are doubled by repetition before everything; batch statistics, 1x1
    convolution and Swish treat equal pixels equally, so the repetition waits until the depthwise
    convolution, where it first matters, and the layers before it work on a quarter of the pixels.
    """

    def __init__(self, bank, spec: InvertedResidual, channels, filters, resample):
        self.up = resample == "up"
        hidden = spec.expansion * channels
        repeat = 4 if self.up else 1
        middle = {"groups": spec.groups} if spec.groups else {"depthwise": True}
        plain = {"bias": False, "weight_norm": False}
        self.norms = [
            bank.batch_norm(channels, repeat),
            bank.batch_norm(hidden, repeat),
            bank.batch_norm(hidden),
            bank.batch_norm(filters),
        ]
        stride = 2 if resample == "down" else 1
        self.expand = bank.conv(channels, hidden, 1, **plain)
        self.middle = bank.conv(hidden, hidden, spec.kernel_size, stride=stride, **middle, **plain)
        self.project = bank.conv(hidden, filters, 1, **plain)

    def __call__(self, w, x):
        first, second, third, fourth = self.norms
        x = w.conv(self.expand, x, before=first, after=second, activation="swish")
        if self.up:
            x = upsample_nearest(x)
        x = w.conv(self.middle, x, after=third, activation="swish")
        return w.conv(self.project, x, after=fourth)


class SqueezeExcite:
    """Gate per channel from the mean over space: dense, ReLU, dense, sigmoid."""

    def __init__(self, bank, channels: int):
        hidden = max(channels // 16, 4)
        self.reduce = bank.dense(channels, hidden)
        self.expand = bank.dense(hidden, channels)

    def __call__(self, w, x):
        mean = tf.reduce_mean(x, axis=[1, 2])
        gate = w.dense(self.expand, w.dense(self.reduce, mean, tf.nn.relu), tf.sigmoid)
        return tf.expand_dims(tf.expand_dims(gate, 1), 1)


class IdentitySkip:
    """The input itself."""

    def __init__(self, bank, channels, filters):
        if channels != filters:
            raise ValueError(f"an identity skip keeps {channels} channels, not {filters}")

    def __call__(self, w, x):
        return x


class FactorizedReduce:
    """Swish and one strided 1x1 convolution on each of the four pixel phases, concatenated."""

    def __init__(self, bank, channels, filters):
        quarter = filters // 4
        widths = [quarter, quarter, quarter, filters - 3 * quarter]
        self.convs = [bank.conv(channels, width, 1) for width in widths]

    def __call__(self, w, x):
        return w.phase_conv(self.convs, swish(x))


class UpSkip:
    """Bilinear doubling and 1x1 convolution; they commute, and the convolution first is cheaper."""

    def __init__(self, bank, channels, filters):
        self.conv = bank.conv(channels, filters, 1, bias=False)

    def __call__(self, w, x):
        return upsample_bilinear(w.conv(self.conv, x))
