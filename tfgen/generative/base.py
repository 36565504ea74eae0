"""The contract of every generator: named noise in, images out.

A generator is a deterministic function of named noise, `generate(noise, temperature) -> images`.
Sampling only draws the noise, from one seed per image, so that neither batch size nor the number
of devices changes it. They change an image by the order of float32 sums at most. Exporters,
noise-space samplers and replayable tests all stand on this.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.cores import side_by_side
from tfgen.data.doors import TakesImages
from tfgen.errors import ConfigError, DataError
from tfgen.generative.signatures import generator_signatures
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.random_streams import number
from tfgen.ops.seeded_rows import seeded_rows
from tfgen.serving import PORTABLE, Signature


@dataclasses.dataclass(frozen=True)
class NoiseSpec:
    """Shape (batch first, None when dynamic) and distribution ("normal" or "uniform") of one
    noise.

    Args:
        shape: tuple of integers, the batch first (None when it is open).
        distribution: string, "normal" (standard) or "uniform" (on [0, 1)). Defaults to `"normal"`.
    """

    shape: tuple
    distribution: str = "normal"


def seeds_for(num_images: int, seed: int = 0) -> np.ndarray:
    """One seed per image, `[num_images]` int32; entry k depends on `seed` and k only
    (SplitMix64).

    Args:
        num_images: integer, how many.
        seed: integer, the seed of all of them. Defaults to `0`.
    """
    with np.errstate(over="ignore"):
        stream = np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95)
        x = stream + np.arange(1, num_images + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(33)).astype(np.int32)


def draw_noise(spec: dict[str, NoiseSpec], seeds: tf.Tensor) -> dict[str, tf.Tensor]:
    """Draws the noise of `spec` for each image from its own seed.

    Args:
        spec: dict of `NoiseSpec` by name.
        seeds: `[B]` int32.

    Returns:
        `{name: [B, ...]}` float32; row k depends on `seeds[k]` only.
    """
    noise = {}
    for distribution in ("normal", "uniform"):
        names = [name for name, s in spec.items() if s.distribution == distribution]
        if not names:
            continue
        sizes = [int(np.prod(spec[name].shape[1:])) for name in names]
        flat = seeded_rows(seeds, number(f"{distribution} noise"), sum(sizes), distribution)
        for name, part in zip(names, tf.split(flat, sizes, axis=1)):
            noise[name] = tf.reshape(part, [-1, *spec[name].shape[1:]])
    return {name: noise[name] for name in spec}


def batch_size_of(x):
    """Images in a batch `[B, ...]`: a number where it is known (compilers like it fixed), else a
    tensor.

    Raises:
        DataError: there are none. (TensorFlow's convolutions mistake the channels of an empty batch
            on some CPUs, so that it would fail later with a message about biases.)
    """
    if x.shape[0] == 0:
        raise DataError("the batch is empty; give at least one image")
    return x.shape[0] or tf.shape(x)[0]


def group_temperatures(temperature, num_groups: int) -> tf.Tensor:
    """One temperature for every latent group, `[num_groups]`.

    Args:
        temperature: a number, or `[num_groups]`, top group first.
        num_groups: integer, how many groups there are.

    Raises:
        ConfigError: there are neither one nor `num_groups`.
    """
    temperature = tf.cast(temperature, tf.float32)
    if tuple(temperature.shape) not in ((), (1,), (num_groups,), (None,)):
        raise ConfigError(
            f"temperature has shape {tuple(temperature.shape)}; expected a number, or one for each "
            f"of the {num_groups} latent groups"
        )
    return tf.ones([num_groups]) * temperature


class Generator(TakesImages):
    """Mixin: what any generator can do once it says its noise and how noise becomes images.

    A subclass provides `image_shape`, `noise_spec` and `generate`.
    """

    image_shape: tuple[int, int, int]
    portable_to: tuple[str, ...] = PORTABLE  # runtimes that can hold `generate`
    why_not_portable: str = ""  # of the others, for messages
    encodes_noise: bool = False  # whether images can be turned into the noise that makes them

    def noise_spec(self, num_images: int | None = None) -> dict[str, NoiseSpec]:
        """Names, shapes and distributions of the noise of `num_images` images."""
        raise NotImplementedError

    def generate(self, noise: dict[str, tf.Tensor], temperature=1.0) -> tf.Tensor:
        """Images `[B, H, W, C]` in [0, 1] from named noise; `temperature` scales the prior's
        spread."""
        raise NotImplementedError

    def draw_noise(self, seeds) -> dict[str, tf.Tensor]:
        """Noise for each seed of `[B]` int32; see `draw_noise`."""
        return draw_noise(self.noise_spec(), tf.convert_to_tensor(seeds, tf.int32))

    @staticmethod
    def seeds_for(num_images: int, seed: int = 0) -> np.ndarray:
        """One seed per image; see `seeds_for`."""
        return seeds_for(num_images, seed)

    def ood_score(self, images, seeds) -> tf.Tensor:
        """How far images are from the data, `[B]`; larger is further.

        The negative bound of the likelihood, in nats, of generators that have one.

        Args:
            images: tensor `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32, of the posterior draw of each image.
        """
        return self.negative_elbo(images, seeds)["nelbo"]

    def generate_from_seeds(self, seeds, temperature=1.0) -> tf.Tensor:
        """`generate` on the noise of `seeds` `[B]`."""
        return self.generate(self.draw_noise(seeds), temperature)

    def generate_from_seeds_with_count(self, seeds, temperature=1.0):
        """`generate_from_seeds`, and how often a solver asked its network for each image, `[B]`
        int32; 0 where there is no solver."""
        images = self.generate_from_seeds(seeds, temperature)
        return images, tf.zeros(tf.shape(images)[:1], tf.int32)

    def frozen(self) -> "Generator":
        """A generator with the same methods and weights fixed for inference."""
        return self

    def signatures(self) -> dict[str, Signature]:
        """What it answers when it is served, see `tfgen.generative.signatures`."""
        return generator_signatures(self)

    def without_loops(self) -> "Generator":
        """The same for runtimes whose graphs know no loops."""
        return self

    def sample(
        self, num_images: int, temperature: float = 1.0, seed: int = 0, batch_size: int = 64
    ) -> np.ndarray:
        """Samples images.

        Args:
            num_images: integer, how many.
            temperature: float, scale on the prior's standard deviation: a number, or one per latent
                group. Defaults to `1.0`.
            seed: integer; image k of a seed comes from the same noise, to rounding, for every
                `num_images` and `batch_size`. How many images are computed at once may change the
                order of float32 sums, which does not show in what a decoder makes, but grows with
                every step of a chain (`VAEBM`). Defaults to `0`.
            batch_size: integer, images computed at once. Defaults to `64`.

        Returns:
            `[num_images, H, W, C]` float32 in [0, 1].

        Raises:
            ConfigError: a number is out of range.
        """
        chunks = self.sample_batches(num_images, temperature, seed, batch_size)
        return np.concatenate([np.zeros((0, *self.image_shape), np.float32), *chunks])

    def sample_batches(
        self, num_images: int, temperature: float = 1.0, seed: int = 0, batch_size: int = 64
    ) -> Iterator[np.ndarray]:
        """The images of `sample`, `[batch_size, H, W, C]` at a time."""
        for images, _ in self.counted_batches(num_images, temperature, seed, batch_size):
            yield images

    def counted_batches(
        self, num_images: int, temperature: float = 1.0, seed: int = 0, batch_size: int = 64
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The images of `sample_batches`, and of each how often a solver asked its network, `[B]`;
        0 where there is no solver."""
        num_images = whole_number("num_images", num_images, 0)
        batch_size = whole_number("batch_size", batch_size, 1)
        seed = whole_number("seed", seed, -math.inf)
        try:
            temperature = tf.convert_to_tensor(temperature, tf.float32)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"temperature is {temperature!r}; expected a number, or one per latent group"
            ) from error
        in_range("temperature", temperature, 0.0)
        seeds = seeds_for(num_images, seed)
        run = self._sampling_function(temperature.shape)
        for start in range(0, num_images, batch_size):
            stopping.check()
            batch = tf.constant(seeds[start : start + batch_size])
            parts = side_by_side(lambda rows, of=batch: run(of[rows], temperature), len(batch))
            images, counts = zip(*parts)
            yield np.concatenate(images), np.concatenate(counts)

    @property
    def sampling_options(self) -> tuple:
        """What sampling depends on besides weights, hashable: another value is another program."""
        return ()

    def describe(self) -> dict:
        """The generator in plain values, beside what its other base classes say."""
        described = super().describe() if hasattr(super(), "describe") else {}
        return {**described, "image_shape": list(self.image_shape)}

    @functools.cached_property
    def _compiled_sampling(self) -> dict:
        """Compiled `generate_from_seeds_with_count`, by what they were traced for."""
        return {}

    def _sampling_function(self, temperature_shape):
        """A compiled `generate_from_seeds_with_count`, traced once for all batch sizes."""
        shape = tuple(temperature_shape)
        key = (shape, self.sampling_options)
        if key not in self._compiled_sampling:
            self._compiled_sampling[key] = tf.function(
                lambda seeds, temperature: self.generate_from_seeds_with_count(seeds, temperature),
                input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec(shape, tf.float32)],
                autograph=False,
            )
        return self._compiled_sampling[key]
