"""What a network loses when one layer is replaced: one number for every candidate.

To first order these losses add up over layers (LANA, arXiv:2107.10624), which makes the choice of
all layers a linear programme. Batch norm uses its moving statistics throughout.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.ops.checks import one_of, whole_number
from tfgen.ops.labels import class_indices
from tfgen.search.hant.answers import gives_probabilities, log_probabilities
from tfgen.search.hant.chain import Chain, at_rest
from tfgen.search.hant.library import Library, fingerprint

MEASURES = ("kl", "loss", "accuracy")


def score_swaps(
    library: Library,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    measure: str = "kl",
    *,
    around: Sequence[str] | None = None,
    batch_size: int = 64,
    report: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """What each candidate of each layer loses where it alone replaces its layer.

    They are kept in the library's folder as they are found; a later call with the same images finds
    what is missing.

    Args:
        library: the `Library`, of which all is trained.
        images: array `[N, H, W, C]`, as the network takes them; the same for all.
        labels: `[N]` or `[N, 1]` integers or one-hot rows; None where the measure needs none.
        measure: string: "kl", the divergence of the trained network's probabilities from those of
            the changed one, which needs no labels; "loss", by how much the cross-entropy grows;
            "accuracy", by how much the accuracy falls. Defaults to `"kl"`.
        around: sequence of names of operations, one a layer, the network in which layers are
            replaced and whose own loss is subtracted; None is the one that was trained.
        batch_size: integer, images at a time. Defaults to `64`.
        report: function `(layers finished, layers)`, called as they are finished; None calls
            nothing.

    Returns:
        One array for every layer, of the operations in the order of `library.operations`; infinity
        where one does not fit or could not be trained. What is there already has 0.

    Raises:
        DataError: there are no images, or labels do not fit.
        UserError: a candidate is not trained.
        ConfigError: the measure is unknown, or needs labels.
    """
    return _scoring(library, images, labels, measure, around, batch_size).all(report)


def mean_loss(
    library: Library,
    plan: Sequence[str],
    images: np.ndarray,
    labels: np.ndarray | None = None,
    measure: str = "kl",
    *,
    batch_size: int = 64,
) -> float:
    """What the network of a plan loses, in the units of `score_swaps`.

    Args:
        library: the `Library`.
        plan: sequence of names of operations, one a layer.
        images: array `[N, H, W, C]`, as the network takes them.
        labels: `[N]` or `[N, 1]` integers or one-hot rows; None where the measure needs none.
        measure: string, "kl", "loss" or "accuracy". Defaults to `"kl"`.
        batch_size: integer, images at a time. Defaults to `64`.

    Raises:
        DataError: there are no images, or labels do not fit.
        UserError: a candidate is not trained.
        ConfigError: the measure is unknown, or needs labels.
    """
    return _scoring(library, images, labels, measure, plan, batch_size).base


def _scoring(library, images, labels, measure, around, batch_size) -> "_Scoring":
    one_of("measure", measure, MEASURES)
    whole_number("batch_size", batch_size, 1)
    images = np.asarray(images)
    if not len(images):
        raise DataError("there are no images; expected at least one to score on")
    if measure == "kl":
        labels = np.zeros(len(images), np.int32)
    elif labels is None:
        raise ConfigError(f"the measure {measure!r} needs labels; give them, or take 'kl'")
    classes = library.network.network.outputs[0].shape[-1]
    labels = class_indices(labels, classes).numpy()
    if len(labels) != len(images):
        raise DataError(
            f"there are {len(labels)} labels of {len(images)} images; expected one each"
        )
    if around is None:
        around = [library.teacher_name] * len(library.network.segments)
    return _Scoring(library, images, labels, measure, batch_size, list(around))


class _Scoring:
    def __init__(self, library, images, labels, measure, batch_size, around):
        self.library, self.network, self.measure = library, library.network, measure
        self.labels = _batched(labels, batch_size)
        self.images = _batched(images, batch_size)
        self.around = around
        self.about = {
            "network": fingerprint(self.network),
            "measure": measure,
            "images": _digest(images, labels),
            "around": around,
        }
        changed = any(library.operations[name]["family"] != "teacher" for name in around)
        where = f"_around_{_digest(np.array(around))}" if changed else ""
        self.file = library.folder / f"scores_{measure}{where}.json"
        self.known = self._read()

    @functools.cached_property
    def chain(self) -> "Chain":
        return Chain(self.library, self.around, self.images)

    @functools.cached_property
    def teacher(self) -> list[tf.Tensor]:
        """Log-probabilities of the network as it came, by batch."""
        run = at_rest(self.network.network)
        return [self._log_p(run(x)) for x in self.images]

    @functools.cached_property
    def base(self) -> float:
        """What the network that is scored around loses itself."""
        return self._mean(self.chain.current())

    def _read(self) -> dict[str, float]:
        if not os.path.lexists(self.file):
            return {}
        found = read_json(self.file, UserError, "delete it to score again")
        known = found.pop("scores", None)
        return known if found == self.about and isinstance(known, dict) else {}

    def all(self, report):
        count, rows = len(self.network.segments), []
        for number in range(count):
            rows.append(self._layer(number))
            write_json(self.file, {**self.about, "scores": self.known}, indent=1)
            if report is not None:
                report(number + 1, count)
        return rows

    def _layer(self, number):
        choices = self.library.choices(number)
        row = np.full(len(self.library.operations), np.inf)
        for place, name in enumerate(self.library.operations):
            if name == self.around[number]:
                row[place] = 0.0
            elif name in choices and self._is_trained(number, name):
                key = f"{self.network.segments[number].name}/{name}"
                if key not in self.known:
                    self.known[key] = self._score(number, name)
                value = self.known[key]
                row[place] = np.inf if value is None else value
        return row

    def _is_trained(self, number, name) -> bool:
        family = self.library.operations[name]["family"]
        return family == "identity" or np.isfinite(self.library.error(number, name))

    def _score(self, number, name) -> float | None:
        stopping.check()
        outputs = self.chain.outputs(number, self.library.candidate(number, name))
        found = self._mean(outputs) - self.base
        return found if np.isfinite(found) else None

    def _mean(self, outputs) -> float:
        total, count = 0.0, 0
        for teacher, labels, found in zip(self.teacher, self.labels, outputs):
            total += float(tf.reduce_sum(self._lost(teacher, self._log_p(found), labels)))
            count += len(labels)
        return total / count

    def _log_p(self, outputs):
        return log_probabilities(outputs, gives_probabilities(self.network.network))

    def _lost(self, teacher, changed, labels):
        """`[B]`."""
        if self.measure == "kl":
            return tf.reduce_sum(tf.exp(teacher) * (teacher - changed), axis=-1)
        if self.measure == "loss":
            return -tf.gather(changed - teacher, labels, axis=1, batch_dims=1)
        right = [
            tf.cast(tf.equal(tf.argmax(x, axis=-1), tf.cast(labels, tf.int64)), tf.float32)
            for x in (teacher, changed)
        ]
        return right[0] - right[1]


def _batched(values, size):
    return [tf.constant(values[start : start + size]) for start in range(0, len(values), size)]


def _digest(*arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
