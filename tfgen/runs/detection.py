"""Scores of images under a generator, and how well they part two sets."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen import data, stopping
from tfgen.generative import seeds_for
from tfgen.runs.experiment import load_source


class Images(NamedTuple):
    """float32 `[N, H, W, C]` in [0, 1], and which they are, in words."""

    pixels: np.ndarray
    extent: str


def load_images(
    config: Mapping[str, Any], name: str, data_dir, num_images: int, seed: int = 0
) -> Images:
    """Evaluation images of a data set, drawn at random and prepared as the generator's own.

    Raises:
        DataError: they have another shape.
    """
    source = load_source(config, data_dir, config["evaluation"]["split"], name)
    source = source.take(min(num_images, len(source)), seed)
    return Images(prepared(config, source), source.extent)


def prepared(config: Mapping[str, Any], source: data.Source) -> np.ndarray:
    """Images of a source as a generator was shown its own, float32 `[N, H, W, C]` in [0, 1].

    Args:
        config: dict, the generator's configuration; where its `data` is None, all 8 bits are kept.
        source: the `Source` of the images.
    """
    section = config["data"] or {"num_bits": 8, "binarize": None}
    pipeline = data.Pipeline(
        source,
        100,
        training=False,
        num_bits=section["num_bits"],
        binarize=section["binarize"],
    )
    return np.concatenate([batch["images"].numpy() for batch in pipeline.dataset()])


def mean_of_pairs(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mean of each image and another one, drawn at random: `[N, H, W, C]`."""
    shift = np.random.default_rng(seed).integers(1, max(len(images), 2))
    return 0.5 * (images + np.roll(images, shift, axis=0))


def scores(generator, images: np.ndarray, seed: int = 0, batch_size: int = 100) -> dict:
    """What a generator says of images, `[N]` each; larger is further from its data."""
    has_energy = hasattr(generator, "energy_of")
    images = generator.as_images(images)

    @tf.function(autograph=False, reduce_retracing=True)
    def batch_scores(images, seeds):
        base = generator.vae if has_energy else generator
        nelbo = base.negative_elbo(images, seeds)["nelbo"]
        if not has_energy:
            return {"nelbo": nelbo}
        energy = generator.energy_of(images, seeds)
        return {"score": nelbo + energy, "energy": energy, "nelbo": nelbo}

    seeds, found = seeds_for(len(images), seed), []
    for start in range(0, len(images), batch_size):
        stopping.check()
        end = start + batch_size
        found.append(batch_scores(tf.constant(images[start:end]), tf.constant(seeds[start:end])))
    return {key: np.concatenate([part[key] for part in found]) for key in found[0]}
