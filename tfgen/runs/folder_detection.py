"""A folder of images under a trained model: a score for each, and whether it is accepted."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.data import Source
from tfgen.data.folder_splits import list_images, relative_name
from tfgen.data.folders import read_listing
from tfgen.errors import DataError, UserError
from tfgen.export.traces import Traces
from tfgen.files.names import printable, shown
from tfgen.files.replacing import replace_file
from tfgen.generative import seeds_for
from tfgen.metrics import acceptance_threshold
from tfgen.runs.detection import prepared
from tfgen.serving import as_servable

SCORE = "score"  # the signature of what tells by itself what it accepts


class Judged(NamedTuple):
    """What is known of each image.

    Attributes:
        ood_score: `[N]`, larger is more out-of-distribution.
        accepted: `[N]` booleans, or None where there is no threshold.
        probabilities: `[N, C]`, or None where nothing is classified.
    """

    ood_score: np.ndarray
    accepted: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def folder_source(
    folder: str | os.PathLike, image_shape: tuple[int, int, int]
) -> tuple[Source, list[str]]:
    """All images below a folder, brought to a shape, and their names.

    Raises:
        DataError: there is no such folder, no image in it, or one is damaged.
        UserError: files of images do not have as many channels.
    """
    height, width, channels = image_shape
    if channels not in (1, 3):
        raise UserError(
            f"the model takes images of {channels} channels, which files of images do not have"
        )
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)}; expected a folder of images")
    listing = list_images(folder)
    if not len(listing):
        raise DataError(f"{shown(folder)} has no images; expected files of PNG, JPEG and the like")
    found = read_listing(listing, (height, width), channels)
    names = [printable(os.fsdecode(relative_name(path, folder))) for path in listing]
    source = Source(shown(folder), "all", {"images": found.images}, str(folder), found.notes)
    return source, names


def answers_score(model: Any) -> bool:
    """Whether a model has the signature `score`, and with it a threshold of its own."""
    return hasattr(model, "signatures") and SCORE in model.signatures()


def judge(
    model: Any, config: Mapping[str, Any], source: Source, batch_size: int = 100, seed: int = 0
) -> Judged:
    """What a model says of the images of a source.

    Args:
        model: a `keras.Model` with the signature `score` (`images` -> `ood_score`, `accepted`
            and, of classifiers, `probabilities`), or with `ood_score(images, seeds)` as generators.
        config: dict, its configuration.
        source: the `Source` of the images.
        batch_size: integer, images computed at once. Defaults to `100`.
        seed: integer, of what a generator draws. Defaults to `0`.

    Raises:
        UserError: the model gives images no score.
        DataError: a score is NaN.
    """
    if answers_score(model):
        function = Traces(as_servable(model))[SCORE]
        found = [function(images=batch) for batch in _batches(source, batch_size)]
    elif hasattr(model, "ood_score"):
        pixels = prepared(config, source)
        found = [{"ood_score": scores_of_generator(model, pixels, batch_size, seed)}]
    else:
        raise UserError(
            f"{type(model).__name__} gives images no score; expected a detector or a generator "
            "with a bound of the likelihood"
        )
    joined = {key: np.concatenate([np.asarray(part[key]) for part in found]) for key in found[0]}
    if np.any(np.isnan(joined["ood_score"])):
        first = int(np.flatnonzero(np.isnan(joined["ood_score"]))[0])
        raise DataError(
            f"the score of image {first} of {source.name} is NaN; look at the model's weights"
        )
    return Judged(*(joined.get(name) for name in Judged._fields))


def scores_of_generator(
    model: Any, images: np.ndarray, batch_size: int = 100, seed: int = 0
) -> np.ndarray:
    """`ood_score` of images that are prepared as a generator's own, `[N]`.

    Args:
        model: with `ood_score(images, seeds)`, a `Generator`.
        images: float32 `[N, H, W, C]` in [0, 1].
        batch_size: integer, images computed at once. Defaults to `100`.
        seed: integer, of what it draws. Defaults to `0`.
    """
    function = tf.function(model.ood_score, autograph=False, reduce_retracing=True)
    seeds, found = seeds_for(len(images), seed), []
    for rows in _rows(len(images), batch_size):
        stopping.check()
        found.append(function(tf.constant(images[rows]), tf.constant(seeds[rows])).numpy())
    return np.concatenate(found)


def with_threshold(
    judged: Judged, own_scores: np.ndarray, acceptance: float
) -> tuple[Judged, float]:
    """Accepts what scores at most as a model's own images do, and the threshold.

    Args:
        judged: the `Judged` of a model without a threshold.
        own_scores: `[n]`, of images like those it learned from, but not these.
        acceptance: float, at least how probable it is that such an image is accepted.

    Raises:
        DataError: there are too few of them.
    """
    threshold = acceptance_threshold(own_scores, acceptance)
    return judged._replace(accepted=judged.ood_score <= threshold), threshold


def write_table(path: Path, names: Sequence[str], judged: Judged) -> None:
    """A CSV file with a row for each image, whole or not at all.

    Columns are `file`, `ood_score`, `accepted` (1, 0 or empty) and, of classifiers, `class` and
    `probability`.
    """
    header = ["file", "ood_score", "accepted"]
    if judged.probabilities is not None:
        header += ["class", "probability"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replace_file(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(_row(name, judged, index) for index, name in enumerate(names))


def _row(name, judged, index):
    accepted = "" if judged.accepted is None else int(judged.accepted[index])
    row = [name, f"{judged.ood_score[index]:.9g}", accepted]
    if judged.probabilities is not None:
        best = int(np.argmax(judged.probabilities[index]))
        row += [best, f"{judged.probabilities[index][best]:.9g}"]
    return row


def _rows(count, batch_size):
    for first in range(0, count, batch_size):
        yield np.arange(first, min(first + batch_size, count))


def _batches(source, batch_size):
    """float32 in [0, 1]."""
    for rows in _rows(len(source), batch_size):
        stopping.check()
        yield tf.constant(np.asarray(source.images[rows], np.float32) / np.float32(255))
