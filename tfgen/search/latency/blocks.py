"""What is timed: a part of a network, under a key that says which and on what it is run."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras

from tfgen.errors import ConfigError, UserError


class BlockError(UserError):
    """A block that cannot be converted, or that ends the process in which it is timed."""


class Block(NamedTuple):
    """A part of a network.

    Attributes:
        key: string by which tables know it. Blocks with the same key are the same block: it has to
            tell the operation and the shapes of its inputs.
        item: a functional `keras.Model` of one input or several, whose shapes are known but for
            the batch; a function without arguments that makes one, called when its turn comes; or
            None, nothing, which takes no time. What is no Keras model is for back-ends of one's
            own.
    """

    key: str
    item: Any

    def made(self) -> Any:
        """The item; None as well for a model that puts out what came in."""
        item = self.item
        if isinstance(item, Callable) and not isinstance(item, keras.Model):
            item = item()
        if isinstance(item, keras.Model) and _is_identity(item):
            return None
        return item


class Network(NamedTuple):
    """A whole network, to be held against the sum of its parts.

    Attributes:
        key: string, as of a `Block`.
        item: what is timed, as of a `Block`.
        parts: tuple of the keys of its blocks; one that occurs twice is named twice.
    """

    key: str
    item: Any
    parts: tuple[str, ...]


def _convolution() -> keras.Model:
    x = keras.Input((32, 32, 32))
    return keras.Model(x, keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(x))


# Takes turns with others, see `measure`: about a millisecond of work that is neither all memory nor
# all calls.
REFERENCE = Block("reference_convolution_3x3/32x32x32", _convolution)


def distinct(blocks: Iterable[Block]) -> dict[str, Block]:
    """The first block of every key.

    Args:
        blocks: iterable of `Block`, or of pairs of a key and an item.

    Raises:
        ConfigError: a key is empty, or no string.
    """
    found = {}
    for key, item in blocks:
        if not isinstance(key, str) or not key:
            raise ConfigError(f"the key of a block is {key!r}; expected a string that is not empty")
        found.setdefault(key, Block(key, item))
    return found


def _is_identity(model) -> bool:
    outputs, inputs = keras.tree.flatten(model.outputs), keras.tree.flatten(model.inputs)
    return all(any(y is x for x in inputs) for y in outputs)
