"""Networks of a genotype: ordinary functional Keras models of images.

They put out logits. One that is to be trained as the published ones are has an auxiliary head, and
drops edges at random (`drop_path`); both are gone from the one that is used.
"""

from collections.abc import Sequence

import keras
from keras import layers

from tfgen.errors import ConfigError
from tfgen.layers.convolutional import kinds
from tfgen.layers.drop_path import DropPath
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.search.unas.genotypes import BlockGenotype, Bottleneck, CellGenotype
from tfgen.search.unas.operations import (
    BLOCK_NORM,
    CELL_NORM,
    bottleneck,
    cell_operation,
    conv,
    factorized_reduction,
    relu_conv,
)

STEMS = ("small", "large")
# Width and stride of the blocks of the ProxylessNAS space, in order (UNAS has the same).
BLOCKS = tuple(
    (width, stride if k == 0 else 1)
    for width, count, stride in (
        (32, 4, 2),
        (56, 4, 2),
        (112, 4, 2),
        (128, 4, 1),
        (256, 4, 2),
        (432, 1, 1),
    )
    for k in range(count)
)


def cell_network(
    genotype: CellGenotype,
    image_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    num_channels: int = 36,
    num_cells: int = 20,
    stem: str = "small",
    auxiliary: bool = False,
    drop_path: float = 0.0,
    name: str = "cell_network",
) -> keras.Model:
    """A stack of cells, of which those at one and at two thirds halve the grid.

    Args:
        genotype: `CellGenotype` of the cells.
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer, classes. Defaults to `10`.
        num_channels: integer, even, channels of the first cells' nodes. Defaults to `36`.
        num_cells: integer, cells in all, at least 3. Defaults to `20`.
        stem: string: "small", one convolution, as for CIFAR; "large", three that halve the grid
            each, as for ImageNet. Defaults to `"small"`.
        auxiliary: whether a second head behind the last halving helps in training. Defaults to
            `False`.
        drop_path: float, share of the edges that are dropped in training, which
            `tfgen.layers.DropPath` says how to change. Defaults to `0.0`.
        name: string, the model's name. Defaults to `"cell_network"`.

    Returns:
        `keras.Model` of `[B, H, W, C]` images to `[B, num_classes]` logits; with an auxiliary head
        to a dict of `logits` and `auxiliary_logits`.

    Raises:
        ConfigError: a number is out of range, or the image is too small.
    """
    _check(image_shape, num_classes)
    whole_number("num_channels", num_channels, 1)
    whole_number("num_cells", num_cells, 3)
    in_range("drop_path", drop_path, 0.0, below=1.0)
    if one_of("stem", stem, STEMS) == "large" and num_channels % 2:
        raise ConfigError(f"num_channels is {num_channels}; expected an even number")
    images = keras.Input(tuple(image_shape), name="images")
    before, x, halved = stem_of(images, num_channels, stem)
    width, reductions, second_head = num_channels, (num_cells // 3, 2 * num_cells // 3), None
    for number in range(num_cells):
        reduces = number in reductions
        width *= 2 if reduces else 1
        nodes = genotype.reduction if reduces else genotype.normal
        made = _cell(nodes, before, x, width, reduces, halved, drop_path, f"cell{number}")
        before, x, halved = x, made, reduces
        if auxiliary and number == reductions[1]:
            second_head = _auxiliary_head(x, num_classes, stride=3 if stem == "small" else 2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = _head(num_classes, "logits")(x)
    outputs = logits
    if auxiliary:
        outputs = {"logits": logits, "auxiliary_logits": second_head}
    return keras.Model(images, outputs, name=name)


def stem_of(images, channels, kind):
    """What the first cell sees: two tensors, and whether the second has half the first's grid."""
    norm = kinds().BatchNormalization
    if kind == "small":
        x = conv(images, 3 * channels, 3, name="stem_conv")
        x = norm(**CELL_NORM, name="stem_norm")(x)
        return x, x, False
    x = conv(images, channels // 2, 3, 2, name="stem_conv1")
    x = layers.ReLU(name="stem_relu1")(norm(**CELL_NORM, name="stem_norm1")(x))
    first = norm(**CELL_NORM, name="stem_norm2")(conv(x, channels, 3, 2, name="stem_conv2"))
    return first, stem_end(first, channels), True


def stem_end(first, channels):
    """The second output of a large stem, from the first."""
    x = conv(layers.ReLU(name="stem_relu2")(first), channels, 3, 2, name="stem_conv3")
    return kinds().BatchNormalization(**CELL_NORM, name="stem_norm3")(x)


def _cell(nodes, before, last, channels, reduces, halved, drop_path, name):
    fit = factorized_reduction if halved else relu_conv
    states = [
        fit(before, channels, name=f"{name}_input0"),
        relu_conv(last, channels, name=f"{name}_input1"),
    ]
    for number, node in enumerate(nodes):
        ends = []
        for edge, (operation, source) in enumerate(node):
            stride = 2 if reduces and source < 2 else 1
            own = f"{name}_node{number}_edge{edge}"
            y = cell_operation(states[source], operation, channels, stride, name=own)
            if drop_path and not (operation == "skip" and stride == 1):
                y = DropPath(drop_path, name=f"{own}_drop")(y)
            ends.append(y)
        states.append(layers.Add(name=f"{name}_node{number}")(ends))
    return layers.Concatenate(name=name)(states[2:])


def _auxiliary_head(x, num_classes, stride):
    if min(x.shape[1:3]) < 5 + stride:
        raise ConfigError(
            f"the auxiliary head sees a grid of {x.shape[1]} x {x.shape[2]}; expected at least "
            f"{5 + stride}: give larger images, or auxiliary=False"
        )
    norm = layers.BatchNormalization
    x = layers.ReLU(name="auxiliary_relu")(x)
    x = layers.AveragePooling2D(5, stride, name="auxiliary_pool")(x)
    x = norm(**CELL_NORM, name="auxiliary_norm1")(conv(x, 128, name="auxiliary_conv1"))
    x = layers.ReLU(name="auxiliary_relu1")(x)
    x = layers.Conv2D(768, 2, use_bias=False, name="auxiliary_conv2")(x)
    x = layers.ReLU(name="auxiliary_relu2")(norm(**CELL_NORM, name="auxiliary_norm2")(x))
    x = layers.Flatten(name="auxiliary_flatten")(x)
    return _head(num_classes, "auxiliary_logits")(x)


def block_network(
    genotype: BlockGenotype,
    image_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    width: float = 1.0,
    name: str = "block_network",
) -> keras.Model:
    """A stack of inverted bottlenecks, as ProxylessNAS has it.

    Args:
        genotype: `BlockGenotype` of 21 blocks.
        image_shape: sequence `(H, W, C)`. Defaults to `(224, 224, 3)`.
        num_classes: integer, classes. Defaults to `1000`.
        width: float, channels in multiples of the published ones. Defaults to `1.0`.
        name: string, the model's name. Defaults to `"block_network"`.

    Returns:
        `keras.Model` of `[B, H, W, C]` images to `[B, num_classes]` logits.

    Raises:
        ConfigError: a number is out of range, or there is no block where the width changes.
    """
    _check(image_shape, num_classes)
    in_range("width", width, 0.0, above=True)
    if len(genotype.blocks) != len(BLOCKS):
        raise ConfigError(f"the genotype has {len(genotype.blocks)} blocks; expected {len(BLOCKS)}")

    images = keras.Input(tuple(image_shape), name="images")
    x = before_blocks(images, width)
    for number, (block, (channels, stride)) in enumerate(zip(genotype.blocks, BLOCKS)):
        channels = scaled(channels, width)
        fits = stride == 1 and x.shape[-1] == channels
        if block is not None:
            x = bottleneck(x, block, channels, stride, name=f"block{number}")
        elif not fits:
            raise ConfigError(
                f"block {number} is none where width or grid change; expected a bottleneck"
            )
    return keras.Model(images, behind_blocks(x, width, num_classes), name=name)


def scaled(channels: int, width: float) -> int:
    """Channels of a narrower or wider network of blocks."""
    return max(round(channels * width), 1)


def before_blocks(images, width: float):
    """What the first block sees of images."""
    x = _conv_norm_relu(images, scaled(40, width), 3, 2, "stem")
    return bottleneck(x, Bottleneck(3, 1), scaled(24, width), 1, name="first")


def behind_blocks(x, width: float, num_classes: int):
    """Logits from what the last block puts out."""
    x = _conv_norm_relu(x, scaled(1728, width), 1, 1, "last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _head(num_classes, "logits")(x)


def _head(num_classes, name):
    """Logits, which mixed precision leaves in float32."""
    rounds = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    return layers.Dense(num_classes, dtype="float32" if rounds else None, name=name)


def _conv_norm_relu(x, filters, kernel, stride, name):
    x = conv(x, filters, kernel, stride, name=f"{name}_conv")
    x = layers.BatchNormalization(**BLOCK_NORM, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _check(image_shape, num_classes):
    if len(image_shape) != 3:
        raise ConfigError(f"image_shape is {tuple(image_shape)}; expected (H, W, C)")
    for size in image_shape:
        whole_number("a size of image_shape", size, 1)
    whole_number("num_classes", num_classes, 1)


def check_pixels(mean, std, channels: int) -> None:
    """Refuses a mean or deviation of pixels that does not fit images.

    Args:
        mean: float, or sequence of one for every channel.
        std: float, or sequence of one for every channel, above 0.
        channels: integer, channels of the images.

    Raises:
        ConfigError: there are more or fewer of them, or a deviation is not above 0.
    """
    in_range("pixel_std", std, 0.0, above=True)
    for name, value in (("pixel_mean", mean), ("pixel_std", std)):
        count = len(value) if isinstance(value, Sequence) else 1
        if count not in (1, channels):
            raise ConfigError(
                f"{name} has {count} numbers and images have {channels} channels; expected one "
                "number, or one for each"
            )


def num_parameters(model: keras.Model) -> int:
    """Trainable numbers: without the running statistics of batch norm."""
    return sum(int(v.shape.num_elements() or 1) for v in model.trainable_variables)


def num_macs(model: keras.Model) -> int:
    """Multiplications of one image in convolutions and dense layers, without biases."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * layer.kernel.shape.num_elements()
        elif isinstance(layer, layers.Dense):
            total += layer.kernel.shape.num_elements()
    return int(total)
