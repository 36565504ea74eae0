"""Sample quality as one record: FID, KID, precision and recall with everything that pins them."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tfgen.data.arrays import read_archive
from tfgen.data.subset import part_of
from tfgen.errors import DataError
from tfgen.files.json_file import parse_json, to_json
from tfgen.files.replacing import replace_file
from tfgen.metrics.features import FeatureExtractor, batches_of
from tfgen.metrics.frechet import frechet_distance
from tfgen.metrics.kernel_distance import kernel_distance
from tfgen.metrics.moments import Moments
from tfgen.metrics.precision_recall import precision_recall


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """One side of a comparison: moments of all images and the features of some.

    Args:
        protocol: dict that says how the features were made; both sides must agree in it.
        moments: `Moments` of the features of all images.
        features: array `[N, D]`, the features that were kept.
    """

    protocol: dict[str, str | int]  # how the features were made; see `FeatureExtractor`
    moments: Moments
    features: np.ndarray  # float32 [n, D], a random choice of at most `keep_features` images

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz`, so that a reference set is processed once."""
        with replace_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                protocol=np.array(to_json(self.protocol, None)),
                count=self.moments.count,
                mean=self.moments.mean,
                scatter=self.moments.scatter,
                features=self.features,
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FeatureStatistics":
        """Reads what `save` wrote.

        Raises:
            DataError: if the file is missing, damaged, or something else.
        """
        mend = "write it with FeatureStatistics.save."
        try:
            found = read_archive(Path(path), ("protocol", "count", "mean", "scatter", "features"))
            protocol = parse_json(str(found["protocol"]), "its protocol", DataError)
            return cls(protocol, _moments(found), found["features"])
        except DataError as error:
            raise DataError(f"{path} holds no feature statistics ({error}); {mend}") from error


def _moments(found: Mapping[str, np.ndarray]) -> Moments:
    """Those in a file, once they are numbers that belong to its features."""
    arrays = {name: found[name] for name in ("features", "count", "mean", "scatter")}
    width = arrays["features"].shape[1:]
    shapes = (arrays["features"].shape[:1] + width, (), width, 2 * width)
    if len(width) != 1 or shapes != tuple(array.shape for array in arrays.values()):
        raise DataError("its arrays do not belong together")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
            raise DataError(f"its {name} holds what is no number")
    return Moments(int(found["count"]), found["mean"], found["scatter"])


def feature_statistics(
    images: np.ndarray | Iterable,
    extractor: FeatureExtractor,
    batch_size: int = 64,
    num_images: int | None = None,
    keep_features: int = 10_000,
    seed: int = 0,
) -> FeatureStatistics:
    """Runs images through an extractor, one batch at a time.

    Args:
        images: array `[N, H, W, C]` (float in [0, 1] or uint8), or an iterable of batches, of
            dictionaries with `"images"`, or of tuples that begin with images.
        extractor: a `FeatureExtractor`, shared by both sides of a comparison.
        batch_size: integer, images of an array that are computed at once. Defaults to `64`.
        num_images: integer, only so many, drawn at random, see `tfgen.data.subset.part_of`; None
            takes all.
        keep_features: integer, images whose features are kept for KID, precision and recall, chosen
            at random so that a data set sorted by class does no harm; 0 for FID alone. Defaults to
            `10000`.
        seed: integer, seed of both choices. Defaults to `0`.

    Returns:
        `FeatureStatistics`.

    Raises:
        DataError: if there are no images, or they are not finite.
    """
    moments, choice = None, _RandomChoice(keep_features, seed)
    for batch in batches_of(part_of(images, num_images, seed).images, batch_size):
        if not len(batch):
            continue
        features = extractor(batch)
        fresh = Moments.of(features)
        moments = fresh if moments is None else moments.merge(fresh)
        choice.add(features)
    if moments is None:
        raise DataError("there are no images to compute features of; expected at least one.")
    return FeatureStatistics(extractor.protocol, moments, choice.result())


class _RandomChoice:
    """At most `size` rows of a stream, chosen at random; the same whatever its batches.

    Every row draws a uniform key, and the rows with the smallest keys stay.
    """

    def __init__(self, size: int, seed: int):
        self._size, self._rng = size, np.random.default_rng(seed)
        self._keys: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        self._keys.append(self._rng.random(len(rows)))
        self._rows.append(rows)
        # Seldom enough that each row is copied a few times at most.
        if sum(map(len, self._keys)) > 2 * self._size + len(rows):
            self._compact()

    def result(self) -> np.ndarray:
        """The chosen rows in random order: any first n of them are a random choice too."""
        self._compact()
        return self._rows[0]

    def _compact(self) -> None:
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        order = np.argsort(keys)[: self._size]
        self._keys, self._rows = [keys[order]], [rows[order]]


def compare_samples(
    real: FeatureStatistics,
    fake: FeatureStatistics,
    num_neighbours: int = 3,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    notes: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """FID, KID, precision and recall of samples against real images.

    Args:
        real: `FeatureStatistics` of the reference images (usually the training set).
        fake: `FeatureStatistics` of the samples, by the same extractor.
        num_neighbours: integer k of the manifolds of precision and recall. Defaults to `3`.
        num_subsets: integer, random subsets of KID. Defaults to `100`.
        subset_size: integer, images of each side in a subset of KID. Defaults to `1000`.
        seed: integer, seed of KID's subsets. Defaults to `0`.
        notes: dict of further provenance for the record: temperature, whether images are decoder
            means or draws, batch-norm mode, split. Without it (None) a number cannot be compared
            with another's.

    Returns:
        `fid`, `kid` and `kid_standard_error`, `precision`, `recall`, `num_real`, `num_fake`, the
        protocol (`extractor`, `bit_depth`, `resize`, `value_range`) and the notes. Without kept
        features there is only the FID.

    Raises:
        DataError: if both sides were not made by the same protocol, or have too few images.
    """
    if real.protocol != fake.protocol:
        changed = [
            f"{key}: {value} against {fake.protocol.get(key)}"
            for key, value in real.protocol.items()
            if fake.protocol.get(key) != value
        ]
        raise DataError(f"features were not made alike ({'; '.join(changed)}); redo one side.")
    record: dict[str, object] = {"fid": frechet_distance(real.moments, fake.moments)}
    size = min(len(real.features), len(fake.features))
    if size:
        # Equal sizes on both sides, because precision and recall depend on them.
        a, b = real.features[:size], fake.features[:size]
        kid, kid_error = kernel_distance(a, b, num_subsets, subset_size, seed)
        precision, recall = precision_recall(a, b, num_neighbours)
        record |= {"kid": kid, "kid_standard_error": kid_error}
        record |= {"precision": precision, "recall": recall}
    record |= {"num_real": real.moments.count, "num_fake": fake.moments.count}
    return {**record, **real.protocol, **(notes or {})}
