"""Sample quality on the features of a given network, beside the two numbers that frame it.

What a better prior can do lies between the samples of the generator underneath (the floor) and
reconstructions of held-out images (the ceiling of any prior with this decoder).
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.generative import seeds_for
from tfgen.metrics import FeatureExtractor, compare_samples, feature_statistics

BATCH = 64


def load_extractor(path: str | Path) -> FeatureExtractor:
    """The features of a `.keras` file whose model takes images in [0, 1].

    Raises:
        DataError: the file is missing or holds no Keras model.
    """
    if not Path(path).is_file():
        raise DataError(f"there is no extractor {path}; make one with tools/feature_classifier")
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} holds no Keras model ({str(error).splitlines()[0]})") from error
    return FeatureExtractor(model, Path(path).stem, value_range=(0.0, 1.0))


def measure(
    generator, base, pipeline, extractor: FeatureExtractor, num_images: int, seed: int = 0
) -> dict[str, Any]:
    """Fréchet distance, precision and recall of samples at temperature 1 against real images.

    Args:
        generator: frozen.
        base: the frozen generator underneath, or None.
        pipeline: evaluation batches of the reference images.
        extractor: of the features.
        num_images: on every side; fewer if the data set has fewer.
        seed: of samples and posterior draws.

    Returns:
        `samples`, `base_samples` (where there is a base) and `reconstructions`, each a record of
        `tfgen.metrics.compare_samples`. All images are decoder means.
    """
    images = [batch["images"].numpy() for batch in pipeline.dataset().take(-(-num_images // BATCH))]
    images = np.concatenate(images)[:num_images]
    real = feature_statistics(images, extractor)

    def compare(fake, what):
        notes = {"images": "decoder means", "temperature": 1.0, "what": what}
        return compare_samples(
            real,
            feature_statistics(fake, extractor),
            subset_size=min(1000, len(images)),
            notes=notes,
        )

    count = len(images)
    results = {"samples": compare(generator.sample(count, seed=seed, batch_size=BATCH), "samples")}
    if base is not None:
        plain = base.sample(count, seed=seed, batch_size=BATCH)
        results["base_samples"] = compare(plain, "samples of the generator underneath")
    rebuild = tf.function(generator.reconstruct, reduce_retracing=True, autograph=False)
    rebuilt = [
        rebuild(images[k : k + BATCH], tf.constant(seeds_for(count, seed)[k : k + BATCH])).numpy()
        for k in range(0, count, BATCH)
    ]
    results["reconstructions"] = compare(np.concatenate(rebuilt), "posterior draws, decoded")
    return results


def summary(results: dict[str, Any]) -> str:
    """The results in a few lines for a person."""
    lines = []
    for name, record in results.items():
        lines.append(
            f"{name.replace('_', ' '):15} Fréchet distance {record['fid']:.3f}, precision "
            f"{record['precision']:.3f}, recall {record['recall']:.3f} "
            f"({record['num_fake']:,} images, {record['extractor']})"
        )
    return "\n".join(lines)
