"""A network that is every network of blocks at once, weighted by an architecture."""

from collections.abc import Callable, Sequence

import keras

from tfgen.ops.checks import in_range
from tfgen.search.unas.genotypes import BLOCK_OPERATIONS, BlockGenotype
from tfgen.search.unas.mixing import SKIP_BELOW, mixed, part
from tfgen.search.unas.networks import (
    BLOCKS,
    before_blocks,
    behind_blocks,
    block_network,
    scaled,
)
from tfgen.search.unas.operations import bottleneck
from tfgen.search.unas.supernet import Supernet

# Blocks at which the width changes, where there has to be a bottleneck.
CHANGES = tuple(k for k in range(len(BLOCKS)) if not k or BLOCKS[k][0] != BLOCKS[k - 1][0])


def block_groups() -> dict[str, tuple[int, int]]:
    """The factors of a network of blocks, for `ArchitectureDistribution`.

    `"same"` are the blocks that keep their width, whose first choice is none; `"change"` the rest.
    """
    number = len(BLOCK_OPERATIONS)
    return {
        "same": (len(BLOCKS) - len(CHANGES), number + 1),
        "change": (len(CHANGES), number),
    }


@keras.saving.register_keras_serializable(package="tfgen")
class BlockSupernet(Supernet):
    """All networks of `block_network` with shared weights (UNAS, arXiv:1912.07651).

    Args:
        image_shape: sequence `(H, W, C)`. Defaults to `(224, 224, 3)`.
        num_classes: integer, classes. Defaults to `1000`.
        width: float, channels in multiples of the published ones. Defaults to `1.0`.
        identity_dropout: float, share of numbers that are dropped in training where a block is
            none, which would else lead at first. Defaults to `0.1`.
        skip_below: float, weight below which an operation is not run; 0 runs all. Defaults to
            `0.05`.
        name: string, the model's name. Defaults to `"block_supernet"`.

    Call arguments:
        images: `[B, H, W, C]`.
        architectures: dict of group name -> `[B or 1, factors, choices]`, one-hot or relaxed; see
            `block_groups`.
        training: whether batch norm uses the batch's statistics. Defaults to `False`.

    Returns:
        `[B, num_classes]` logits.

    Raises:
        ConfigError: a number is out of range.
    """

    own_options = ("width", "identity_dropout")

    def __init__(
        self,
        image_shape: Sequence[int] = (224, 224, 3),
        num_classes: int = 1000,
        width: float = 1.0,
        identity_dropout: float = 0.1,
        skip_below: float = SKIP_BELOW,
        name: str = "block_supernet",
        **kwargs,
    ):
        in_range("width", width, 0.0, above=True)
        in_range("identity_dropout", identity_dropout, 0.0, below=1.0)
        options = dict(width=width, identity_dropout=identity_dropout)
        super().__init__(image_shape, num_classes, skip_below, **options, name=name, **kwargs)

    def _declare(self):
        width, dropout = self._options["width"], self._options["identity_dropout"]
        images = keras.Input(self.image_shape)
        self.stem = keras.Model(images, before_blocks(images, width), name="stem")
        shape, self.operations, self.shapes = self.stem.output.shape[1:], [], []
        for number, (channels, stride) in enumerate(BLOCKS):
            channels = scaled(channels, width)
            made = [
                part(shape, bottleneck, block, channels, stride, name=_named(number, block))
                for block in BLOCK_OPERATIONS
            ]
            if number not in CHANGES:
                none = keras.layers.Dropout(dropout, name=f"block{number}_none")
                made.insert(0, none if dropout else None)
            shape = made[-1].output.shape[1:]
            self.operations.append(made)
            self.shapes.append(tuple(shape))
        x = keras.Input(shape)
        logits = behind_blocks(x, width, self._options["num_classes"])
        self.head = keras.Model(x, logits, name="head")

    def call(self, images, architectures, training=False):
        x = self.stem(images, training=training)
        same, skip_below = 0, self._options["skip_below"]
        for number, operations in enumerate(self.operations):
            if number in CHANGES:
                weights = architectures["change"][:, CHANGES.index(number)]
            else:
                weights, same = architectures["same"][:, same], same + 1
            x = mixed(weights, operations, x, self.shapes[number], training, skip_below)
        return self.head(x, training=training)

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """The factors of its architectures, see `block_groups`."""
        return block_groups()

    def genotype(self, choices) -> BlockGenotype:
        """The genotype of choices, `{group: [factors]}` integers."""
        return BlockGenotype.of_choices(choices)

    def costs(self, count: Callable) -> dict:
        """What the parts of its networks count, as `AdditiveMeasure` takes it.

        Args:
            count: function of a list of layers to a number.
        """
        factors = {"same": [], "change": []}
        for number, operations in enumerate(self.operations):
            models = [o for o in operations if isinstance(o, keras.Model)]
            row = [0.0] * (len(operations) - len(models)) + [count(o.layers) for o in models]
            factors["change" if number in CHANGES else "same"].append(row)
        constant = count(self.stem.layers) + count(self.head.layers)
        return {"factors": factors, "constant": constant}

    def _network(self, genotype):
        sizes = {name: self._options[name] for name in ("image_shape", "num_classes", "width")}
        return block_network(genotype, **sizes)

    def _own_layer(self, name, genotype):
        """The layer here whose weights a layer of an extracted network has."""
        if name.startswith(("stem", "first")):
            return self.stem.get_layer(name)
        if not name.startswith("block"):
            return self.head.get_layer(name)
        start, _, rest = name.partition("_")
        number = int(start.removeprefix("block"))
        choice = BLOCK_OPERATIONS.index(genotype.blocks[number]) + (number not in CHANGES)
        own = _named(number, genotype.blocks[number])
        return self.operations[number][choice].get_layer(f"{own}_{rest}")


def _named(number, block):
    return f"block{number}_{block.kernel}x{block.kernel}_e{block.expansion}"
