"""The operations of cells and blocks, made of plain Keras layers.

Every function takes a tensor and puts layers behind it, so that a network of them is an ordinary
functional model: it exports, converts and quantises like any other. (The supernets, which only
train, are made of those of `tfgen.layers.convolutional`.) Grids are halved as the
published networks do it, with equal padding on both sides.
"""

from keras import layers

from tfgen.layers.convolutional import kinds
from tfgen.search.unas.genotypes import Bottleneck

CELL_NORM = dict(momentum=0.9, epsilon=1e-5)
BLOCK_NORM = dict(momentum=0.9, epsilon=1e-3)


def conv(x, filters: int, kernel: int = 1, stride: int = 1, *, name: str):
    """A convolution without bias.

    Args:
        x: `[B, H, W, C]`.
        filters: integer, channels that come out.
        kernel: integer, odd, height and width of the kernel. Defaults to `1`.
        stride: integer, pixels from one place to the next. Defaults to `1`.
        name: string, the layer's name.
    """
    x, padding = _padded(x, kernel, stride, name)
    options = dict(strides=stride, padding=padding, use_bias=False, name=name)
    return kinds().Conv2D(filters, kernel, **options)(x)


def depthwise(x, kernel: int, stride: int = 1, dilation: int = 1, *, name: str):
    """A depthwise convolution without bias.

    Args:
        x: `[B, H, W, C]`.
        kernel: integer, odd, height and width of the kernel.
        stride: integer, pixels from one place to the next. Defaults to `1`.
        dilation: integer, pixels from one of the kernel's entries to the next: 1, or `stride` if
            that is not 1. Defaults to `1`.
        name: string, the layer's name.
    """
    if dilation == stride > 1:  # which Keras refuses: the kernel sees every second pixel only
        x, dilation, stride = _every(x, stride, name), 1, 1
    if dilation > 1:
        options = dict(dilation_rate=dilation, padding="same", use_bias=False, name=name)
        return kinds().DepthwiseConv2D(kernel, **options)(x)
    x, padding = _padded(x, kernel, stride, name)
    options = dict(strides=stride, padding=padding, use_bias=False, name=name)
    return kinds().DepthwiseConv2D(kernel, **options)(x)


def _padded(x, kernel, stride, name):
    """Zeros on both sides where Keras's own padding would put more on one."""
    if stride == 1:
        return x, "same"
    return (layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x) if kernel > 1 else x), "valid"


def _every(x, stride, name):
    """Every second pixel, from the first on."""
    return x if stride == 1 else layers.MaxPooling2D(1, stride, name=f"{name}_every")(x)


def cell_norm(x, affine: bool, *, name: str):
    """Batch norm of cells; without scale and offset while a search goes on."""
    options = dict(CELL_NORM, center=affine, scale=affine, name=name)
    return kinds().BatchNormalization(**options)(x)


def separable(x, channels: int, kernel: int, stride: int, affine: bool = True, *, name: str):
    """ReLU, depthwise and pointwise convolution and batch norm, twice."""
    for step, at in enumerate((stride, 1), 1):
        x = layers.ReLU(name=f"{name}_relu{step}")(x)
        x = depthwise(x, kernel, at, name=f"{name}_depthwise{step}")
        x = conv(x, channels, name=f"{name}_pointwise{step}")
        x = cell_norm(x, affine, name=f"{name}_norm{step}")
    return x


def dilated(x, channels: int, kernel: int, stride: int, affine: bool = True, *, name: str):
    """ReLU, depthwise convolution over every second pixel, pointwise one and batch norm."""
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = depthwise(x, kernel, stride, dilation=2, name=f"{name}_depthwise1")
    x = conv(x, channels, name=f"{name}_pointwise1")
    return cell_norm(x, affine, name=f"{name}_norm1")


def factorized_reduction(x, channels: int, affine: bool = True, *, name: str):
    """Half the grid by two convolutions, of which the second looks one pixel further on.

    Args:
        x: `[B, H, W, C]` of even H and W.
        channels: integer, even, channels that come out.
        affine: whether batch norm has a scale and an offset. Defaults to `True`.
        name: string, start of the layers' names.
    """
    x = layers.ReLU(name=f"{name}_relu")(x)
    further = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_shift")(x)
    halves = [
        layers.Conv2D(channels // 2, 1, strides=2, use_bias=False, name=f"{name}_conv{k}")(part)
        for k, part in enumerate((x, further), 1)
    ]
    x = layers.Concatenate(name=f"{name}_concat")(halves)
    return cell_norm(x, affine, name=f"{name}_norm")


def relu_conv(x, channels: int, affine: bool = True, *, name: str):
    """ReLU, pointwise convolution and batch norm: what comes into a cell, at the cell's width."""
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = conv(x, channels, name=f"{name}_conv")
    return cell_norm(x, affine, name=f"{name}_norm")


def cell_operation(
    x, operation: str, channels: int, stride: int, affine: bool = True, *, name: str
):
    """One of `CELL_OPERATIONS`.

    Args:
        x: `[B, H, W, channels]`.
        operation: string, its name.
        channels: integer, channels that come in and out.
        stride: integer, 1, or 2 to halve the grid.
        affine: whether batch norms have a scale and an offset. Defaults to `True`.
        name: string, start of the layers' names.
    """
    kind, _, size = operation.rpartition("_")
    if operation == "skip":
        return x if stride == 1 else factorized_reduction(x, channels, affine, name=name)
    if kind.endswith("pool"):
        pool = layers.MaxPooling2D if kind == "max_pool" else layers.AveragePooling2D
        return _every(pool(3, 1, "same", name=f"{name}_pool")(x), stride, name)
    make = separable if kind == "separable" else dilated
    return make(x, channels, int(size[0]), stride, affine, name=name)


def bottleneck(x, block: Bottleneck, filters: int, stride: int, *, name: str):
    """An inverted bottleneck, beside which the input passes where it fits.

    Args:
        x: `[B, H, W, C]`.
        block: `Bottleneck`, its kernel and expansion; at 1 nothing is expanded.
        filters: integer, channels that come out.
        stride: integer, 1 or 2.
        name: string, start of the layers' names.
    """
    channels, y = x.shape[-1], x
    if block.expansion > 1:
        y = conv(y, channels * block.expansion, name=f"{name}_expand")
        y = kinds().BatchNormalization(**BLOCK_NORM, name=f"{name}_expand_norm")(y)
        y = layers.ReLU(6.0, name=f"{name}_expand_relu")(y)
    y = depthwise(y, block.kernel, stride, name=f"{name}_depthwise")
    y = kinds().BatchNormalization(**BLOCK_NORM, name=f"{name}_depthwise_norm")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = conv(y, filters, name=f"{name}_project")
    y = kinds().BatchNormalization(**BLOCK_NORM, name=f"{name}_project_norm")(y)
    if stride == 1 and channels == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y
