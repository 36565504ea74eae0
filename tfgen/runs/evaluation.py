"""What a trained generator is worth, in numbers and in pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.cores import side_by_side
from tfgen.data.elements import images_of
from tfgen.data.subset import part_of
from tfgen.files import save_grid
from tfgen.generative import seeds_for
from tfgen.metrics import evaluate_likelihood
from tfgen.runs.pictures import save_kl_per_group

ACTIVE_NATS = 0.1  # a latent channel that carries more, on average, is in use (NVAE, section 4.3)

IMAGES_SHOWN = 40  # beside their reconstructions

_PROBED = 16  # images by which the error of log-densities is measured

Report = Callable[[int, dict[str, float]], None]


def measure(
    generator,
    pipeline,
    *,
    num_importance_samples: int,
    seed: int = 0,
    base=None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Likelihood, rate of every latent group, and active units of a generator on a data set.

    Args:
        generator: the generator, frozen or live.
        pipeline: `Pipeline` of evaluation batches, of a part of a data set where its source is one.
        num_importance_samples: integer K, posterior samples of every image.
        seed: integer, seed of the posterior samples.
        base: the generator that this one refines, to compare with, or None.
        report: function called after every batch of the likelihood, see `evaluate_likelihood`, or
            None.

    Returns:
        The results of `evaluate_likelihood`, and `kl_per_group` (nats, top group first),
        `active_units` and `latent_channels`; with a base also those of `compare_bounds`. Where K is
        above 1 and log-densities of the generator are themselves random, `nll_noise_gain`, the nats
        by which `nll` may be too good for it.
    """
    results = evaluate_likelihood(
        generator,
        pipeline.dataset(),
        num_importance_samples,
        seed=seed,
        report=report,
    )
    if num_importance_samples > 1 and hasattr(generator, "density_variance"):
        results["nll_noise_gain"] = 0.5 * density_variance(generator, pipeline.dataset(), seed)
    results |= rates(generator, pipeline.dataset(), results["num_images"], seed)
    if base is not None:
        results |= compare_bounds(generator, base, pipeline.dataset(), results["num_images"], seed)
    return results


def density_variance(generator, dataset, seed: int = 0) -> float:
    """Mean variance of a generator's log-densities, which are random, in squared nats: over at most
    16 images drawn at random."""
    parts = [images_of(batch) for batch in part_of(dataset, _PROBED, seed).images]
    images = generator.as_images(np.concatenate(parts)[:_PROBED])
    measure_of = tf.function(generator.density_variance, autograph=False)
    variance = measure_of(images, tf.constant(seeds_for(len(images), seed)))
    return float(tf.reduce_mean(variance))


def compare_bounds(generator, base, dataset, num_images: int, seed: int = 0) -> dict[str, float]:
    """NELBO of a base and what its refinement gains, in nats of images paired by posterior draw.

    Returns:
        `base_nelbo` and `nelbo_gain`, each with its `_standard_error`.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def batch_bounds(images, seeds):
        return tf.stack([g.negative_elbo(images, seeds)["nelbo"] for g in (base, generator)])

    seeds, found, done = seeds_for(num_images, seed), [], 0
    for batch in dataset:
        if done >= num_images:
            break
        stopping.check()
        images = generator.as_images(images_of(batch))[: num_images - done]

        def bounds(rows, images=images, own=seeds[done:]):
            return batch_bounds(images[rows], tf.constant(own[rows])).numpy()

        found += side_by_side(bounds, len(images))
        done += len(images)
    before, after = np.concatenate(found, axis=1).astype(np.float64)
    return {**_mean("base_nelbo", before), **_mean("nelbo_gain", before - after)}


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}


def rates(generator, dataset, num_images: int, seed: int = 0) -> dict[str, Any]:
    """Mean nats of each latent group, and how many latent channels are in use."""

    @tf.function(reduce_retracing=True, autograph=False)
    def batch_rates(images, seeds):
        return generator.kl_per_group(images, seeds), generator.kl_per_channel(images, seeds)

    seeds = seeds_for(num_images, seed)
    done, per_group, per_channel = 0, 0.0, 0.0
    for batch in dataset:
        if done >= num_images:
            break
        stopping.check()
        images = generator.as_images(images_of(batch))[: num_images - done]
        count = len(images)
        group, channel = batch_rates(images, tf.constant(seeds[done : done + count]))
        per_group += tf.reduce_sum(group, axis=0).numpy().astype(np.float64)
        per_channel += channel.numpy().astype(np.float64) * count
        done += count
    return {
        "kl_per_group": (per_group / done).tolist(),
        "active_units": int(np.sum(per_channel / done > ACTIVE_NATS)),
        "latent_channels": int(np.size(per_channel)),
    }


def draw(
    generator,
    images: np.ndarray,
    kl_per_group: Sequence[float],
    folder: Path,
    *,
    temperatures: Sequence[float] = (0.7, 0.85, 1.0),
    seed: int = 0,
) -> list[Path]:
    """Writes the pictures of an evaluation.

    Args:
        generator: the generator, frozen or live.
        images: `[N, H, W, C]` of the data set, at least one.
        kl_per_group: sequence of floats, as `measure` gives it.
        folder: path of the folder of the PNG files.
        temperatures: sequence of floats, a grid of 64 samples each.
        seed: integer, seed of the samples.

    Returns:
        The files.
    """
    files = []

    def place(name):
        files.append(folder / f"{name}.png")
        return files[-1]

    for temperature in temperatures:
        samples = generator.sample(64, temperature=temperature, seed=seed)
        save_grid(samples, place(f"samples_temperature_{temperature:g}"))
    save_grid(
        reconstructions(generator, images[:IMAGES_SHOWN]), place("reconstructions"), columns=10
    )
    save_grid(interpolations(generator, images[:12], steps=10), place("interpolations"), columns=10)
    save_kl_per_group(place("kl_per_group"), kl_per_group, generator.latent_shapes)
    return files


def reconstructions(generator, images: np.ndarray, columns: int = 10) -> np.ndarray:
    """Rows of originals, each above the row of their reconstructions; `[N', H, W, C]`."""
    rebuilt = np.asarray(generator.reconstruct(tf.constant(images), seeds_for(len(images))))
    rows = []
    for start in range(0, len(images), columns):
        for row in (images[start : start + columns], rebuilt[start : start + columns]):
            missing = columns - len(row)
            rows.append(np.pad(row, [(0, missing), (0, 0), (0, 0), (0, 0)], constant_values=1.0))
    return np.concatenate(rows)


def interpolations(generator, images: np.ndarray, steps: int = 10) -> np.ndarray:
    """One row of `steps` for each pair of neighbours, from the first to the second."""
    first, second = images[0::2], images[1::2]
    if not len(second):  # a single image is its own partner
        second = first
    paths = generator.interpolate(tf.constant(first[: len(second)]), tf.constant(second), steps)
    return np.reshape(paths, [-1, *images.shape[1:]])
