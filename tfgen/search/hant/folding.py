"""Batch norm that goes into the convolution before it, and branches that become one convolution."""

import keras
import numpy as np

from tfgen.errors import ConfigError
from tfgen.search.hant import affine


def folded(
    kernel: np.ndarray, bias: np.ndarray | None, norm: keras.layers.BatchNormalization
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution with the batch norm behind it.

    Args:
        kernel: `[height, width, inputs, channels]`; of a depthwise convolution
            `[height, width, channels, 1]`.
        bias: `[channels]`; None is zero.
        norm: the `BatchNormalization`, whose moving statistics are used.
    """
    scale, offset = affine.of_batch_norm(norm)
    if bias is not None:
        offset = offset + scale * bias
    depthwise = kernel.shape[-1] == 1 and kernel.shape[-2] == len(scale) > 1
    column = scale[:, None] if depthwise else scale
    return np.asarray(kernel, np.float64) * column, offset


def merge_branches(block: keras.Model) -> keras.Model:
    """A `repvgg` block as a single convolution, which computes the same in inference.

    Args:
        block: the `keras.Model` that `make_operation` made of the family `repvgg`.

    Raises:
        ConfigError: it is of another kind.
    """
    norms = {n.name: n for n in block.layers if isinstance(n, keras.layers.BatchNormalization)}
    convs = [n for n in block.layers if isinstance(n, keras.layers.Conv2D)]
    if len(convs) != 2 or len(norms) not in (2, 3):
        raise ConfigError(f"{block.name!r} is no block of three branches; expected a repvgg")
    convs.sort(key=lambda layer: -layer.kernel_size[0])
    large, small = convs
    kernel, bias = folded(large.kernel.numpy(), None, norms[large.name[: -len("conv")] + "norm"])
    point, offset = folded(small.kernel.numpy(), None, norms[small.name[: -len("conv")] + "norm"])
    places = [
        _pads_before(size, k, s)
        for size, k, s in zip(block.inputs[0].shape[1:3], large.kernel_size, large.strides)
    ]
    kernel[places[0], places[1]] += point[0, 0]
    bias = bias + offset
    if len(norms) == 3:
        norm = next(n for name, n in norms.items() if name.endswith("identity_norm"))
        same, offset = folded(np.eye(kernel.shape[2])[None, None], None, norm)
        kernel[places[0], places[1]] += same[0, 0]
        bias = bias + offset
    x = keras.Input(block.inputs[0].shape[1:])
    name = f"{block.name}_merged"
    merged = keras.layers.Conv2D(
        kernel.shape[-1], large.kernel_size, large.strides, "same", name=name
    )
    y = merged(x)
    merged.set_weights([kernel, bias])
    last = block.layers[-1]
    if not isinstance(last, keras.layers.Add):  # the activation of the layer it stands for
        y = type(last).from_config(last.get_config())(y)
    return keras.Model(x, y, name=block.name)


def _pads_before(size, kernel, stride) -> int:
    """Zeros that "same" padding puts before a row: where a kernel's first pixel is seen."""
    needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return needed // 2
