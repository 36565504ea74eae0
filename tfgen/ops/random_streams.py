"""The one table of random streams: what every use of a seed is keyed by.

Random numbers are stateless, so two uses of one seed that share a key would be the same numbers.
Each use therefore has a name here, and within a space (a kind of key) no two share a number:

    image      the word beside an image's own seed, `(seed, word)`
    proposal   folded into `(seed, block)` of an image's proposals
    chain      folded into the one seed of a batch of chains
    replay     folded into the seed of one look into a replay buffer
    use        of the proposals of an image: added to the number of the latent group
    attack     the word beside a seed of an attack on gradients, for NumPy's generator
    step       folded into the seed of one training step; names become numbers by CRC-32
    data       names of the tables that a pipeline's seed opens, hashed by SHA-256

Sampled images, goldens and resumed runs depend on these numbers: add rows, change none.
"""

import zlib
from typing import NamedTuple

import tensorflow as tf


class Stream(NamedTuple):
    """Numbers `first`, `first + stride`, ... of which a space keeps `count` for one name."""

    space: str
    first: int
    stride: int = 1
    count: int = 1


GROUPS = 2**10  # latent groups at most
STEPS = 2**20  # of a chain, at most
_CHAIN_STRIDE = 4  # numbers per step of a chain
_CHAIN_OFFSET = 0x10000  # of an image's chain, beyond what draws the image

# Between seeds that are made of one: of the latent groups' chains, of an image's posterior samples,
# and of two sets of example inputs.
GROUP_STRIDE, SAMPLE_STRIDE, EXAMPLE_STRIDE = 0x9E3779, 104_729, 1_000_003

STREAMS = {
    "normal noise": Stream("image", 0x6E),
    "uniform noise": Stream("image", 0x75),
    # Of likelihoods under a diffusion: the one offset of an image's times, and the noise of each.
    "diffusion times": Stream("image", 0x100),
    "diffusion noise": Stream("image", 0x200, 1, 2**10),
    "image chain normal": Stream("image", _CHAIN_OFFSET, _CHAIN_STRIDE, STEPS),
    "image chain uniform": Stream("image", _CHAIN_OFFSET + 2, _CHAIN_STRIDE, STEPS),
    "divergence probes": Stream("image", 0x70),
    "proposal normal": Stream("proposal", 0x51),
    "proposal uniform": Stream("proposal", 0x52),
    "chain normal": Stream("chain", 0, _CHAIN_STRIDE, STEPS),
    "chain uniform": Stream("chain", 2, _CHAIN_STRIDE, STEPS),
    "replay order": Stream("replay", 0),
    "replay lottery": Stream("replay", 1),
    "sampling proposals": Stream("use", 0, 1, GROUPS),
    # The proposals that score an image are not those that would draw one.
    "scoring proposals": Stream("use", 2**14, 1, GROUPS),
    "conservative proposals": Stream("use", 2**14 + 2**10, 1, GROUPS),
    "metric references": Stream("attack", 3),
    "group posterior": Stream("step", 0, 1, GROUPS),
}
# Of training steps, by name and perhaps a latent group: see `Model.step_seed`.
STEP_NAMES = (
    *("posterior", "negatives", "dropout", "smoothing", "chain", "start", "replay"),
    # Of two passes of a step: the prior's own and that of the bound.
    *("prior times", "prior noise", "prior dropout"),
    *("bound times", "bound noise", "bound dropout"),
    *("augmentation", "transformations"),
    # Of phrase grounding: which tokens a language model guesses, which noun of a caption is taken.
    *("masking", "noun"),
    # Of architecture search: those that images are seen by, and those that are measured.
    *("architectures", "measured architectures"),
    "cutout",
)
DATA_NAMES = (
    "order",
    "quantize",
    "flip",
    "crop",
    "dynamic",
    "fixed",
    "resized_crop",
    "colour_jitter",
)


def number(name: str, index=0):
    """The number of a stream of the table.

    Args:
        name: string, the stream's name.
        index: integer or scalar tensor, which of its numbers: a step, or a latent group.

    Raises:
        KeyError: no stream has this name.
        ValueError: the stream has fewer numbers; those that follow belong to another.
    """
    stream = STREAMS[name]
    if isinstance(index, int) and not 0 <= index < stream.count:
        raise ValueError(
            f"the random stream {name!r} has {stream.count} numbers; number {index} is beyond them"
        )
    return stream.first + stream.stride * index


def hashed(*words) -> int:
    """The number of a stream that has a name only: the CRC-32 of its words."""
    return zlib.crc32(" ".join(map(str, words)).encode())


def fold_in(seed, *numbers) -> tf.Tensor:
    """A new seed for every combination of `seed` (two integers) and the numbers, int32 `[2]`.

    The generator is named, Philox: the default one depends on the device.
    """
    for each in numbers:
        seed = tf.random.fold_in(seed, tf.cast(each, tf.int32), alg="philox")
    return seed


def group_seeds(seeds: tf.Tensor, group: int) -> tf.Tensor:
    """Seeds `[B]` of one latent group's chains, made of those of the images."""
    return tf.bitwise.bitwise_xor(seeds, tf.constant((group + 1) * GROUP_STRIDE, tf.int32))
