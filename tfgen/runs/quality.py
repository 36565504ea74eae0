"""How samples compare with real images: Fréchet and kernel distance, precision and recall.

What a better prior can do lies between the samples of the generator underneath (the floor) and
reconstructions (the ceiling of any prior with this decoder): both are measured beside the samples.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data import Pipeline
from tfgen.data.elements import images_of
from tfgen.errors import DataError, reason_of
from tfgen.files.regular import regular_file
from tfgen.generative import seeds_for
from tfgen.metrics import (
    FeatureExtractor,
    compare_samples,
    feature_statistics,
    frechet_distance,
    inception_v3,
)
from tfgen.runs.sampling_cost import SamplingCost

Report = Callable[[int], None]


@functools.lru_cache(maxsize=1)
def extractor_from(name: str) -> FeatureExtractor:
    """The feature extractor that a flag names.

    Args:
        name: "inception_v3", or the path of its weights (`.h5`), or of any Keras model (`.keras`)
            that maps images in [0, 1] to features.

    Raises:
        DataError: the file is missing or is no model.
    """
    if name == "inception_v3":
        return inception_v3()
    path = Path(name)
    if path.suffix != ".keras":
        return inception_v3(path)
    try:
        model = keras.saving.load_model(regular_file(path, DataError), compile=False)
    except DataError:
        raise
    except Exception as error:  # zipfile, h5py and Keras raise whatever they like
        raise DataError(
            f"{path} is no Keras model ({reason_of(error)}); expected a file that "
            "model.save(...) wrote"
        ) from error
    return FeatureExtractor(model, path.stem, value_range=(0.0, 1.0))


def try_extractor(extractor: FeatureExtractor, image_shape: Sequence[int]) -> None:
    """Puts one image through an extractor, which otherwise would fail after all samples are drawn.

    Raises:
        DataError: it does not take images `[B, *image_shape]`.
    """
    try:
        extractor(np.zeros((1, *image_shape), np.float32))
    except Exception as error:  # a Keras model raises whatever its layers do
        reason = str(error).strip().splitlines()
        raise DataError(
            f"the extractor {extractor.protocol['extractor']} does not take images of shape "
            f"{tuple(image_shape)}: {reason[0] if reason else type(error).__name__}"
        ) from error


def measure_quality(
    generator,
    real: Pipeline,
    inputs: Pipeline,
    extractor: FeatureExtractor,
    *,
    num_samples: int,
    base=None,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 100,
    report: Report | None = None,
) -> dict[str, Any]:
    """Compares samples with real images, beside what frames them.

    Args:
        generator: the generator, frozen or live.
        real: a `Pipeline` of evaluation batches of real images as people see them, not binarised.
        inputs: a `Pipeline` of the same images as the model encodes them.
        extractor: the `FeatureExtractor` of the features.
        num_samples: integer, samples drawn.
        base: the generator underneath, or None.
        temperature: float, temperature of the samples.
        seed: integer, seed of the samples and of the reconstructions' latents.
        batch_size: integer, samples computed at once; changes no number beyond rounding.
        report: function called with how many images are done, real ones and reconstructions among
            them, or None.

    Returns:
        As `tfgen.metrics.compare_samples`, with what the samples took (see `SamplingCost`) and
        `reconstruction_fid`, and, where there is a base, `base`: the same record of its samples.
    """
    done = 0

    def counted(batches):
        nonlocal done
        for batch in batches:
            images = images_of(batch)
            yield np.asarray(images)
            done += len(images)
            if report is not None:
                report(done)

    truth = feature_statistics(counted(real.dataset()), extractor)
    notes = {"temperature": temperature, "samples": "decoder means"}

    def compared(sampler):
        cost = SamplingCost()
        samples = cost.noted(sampler.counted_batches(num_samples, temperature, seed, batch_size))
        found = feature_statistics(counted(samples), extractor)
        return {**compare_samples(truth, found, notes=notes), **cost.record()}

    record = compared(generator)
    rebuilt = feature_statistics(
        counted(_reconstructions(generator, inputs, seed)), extractor, keep_features=0
    )
    record["reconstruction_fid"] = frechet_distance(truth.moments, rebuilt.moments)
    if base is not None:
        record["base"] = compared(base)
    return record


def _reconstructions(generator, inputs: Pipeline, seed: int):
    rebuild = tf.function(generator.reconstruct, reduce_retracing=True, autograph=False)
    start, seeds = 0, seeds_for(len(inputs.source), seed)
    for batch in inputs.dataset():
        chunk = tf.constant(seeds[start : start + len(batch["images"])])
        start += len(chunk)
        yield rebuild(batch["images"], chunk)
