"""What a network loses when one layer is replaced: one number for every candidate.

To first order these losses add up over layers (LANA, arXiv:2107.10624), which makes the choice of
all layers a linear programme. Batch norm uses its moving statistics throughout.
"""

import hashlib
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.hant.library import Library, fingerprint
from tfgen.search.hant.network import CutNetwork

MEASURES = ("kl", "loss", "accuracy")


def gives_probabilities(network: keras.Model) -> bool:
    """Whether a classifier ends with a softmax; otherwise its outputs are logits.

    Args:
        network: a functional `keras.Model`.
    """
    last = getattr(network.outputs[0]._keras_history.operation, "activation", None)
    return last is keras.activations.softmax


def log_probabilities(outputs, probabilities: bool) -> tf.Tensor:
    """Of a classifier's outputs, `[B, classes]` float32.

    Args:
        outputs: `[B, classes]`, logits or probabilities.
        probabilities: whether they are probabilities.
    """
    outputs = tf.cast(outputs, tf.float32)
    return tf.math.log(outputs + 1e-12) if probabilities else tf.nn.log_softmax(outputs)


def score_swaps(
    library: Library,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    measure: str = "kl",
    *,
    batch_size: int = 64,
    report: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """What each candidate of each layer loses where it alone replaces its layer.

    They are kept in the library's folder as they are found; a later call with the same images finds
    what is missing.

    Args:
        library: the `Library`, of which all is trained.
        images: array `[N, H, W, C]`, as the network takes them; the same for all.
        labels: `[N]` integers, the classes; None where the measure needs none.
        measure: string: "kl", the divergence of the trained network's probabilities from those of
            the changed one, which needs no labels; "loss", by how much the cross-entropy grows;
            "accuracy", by how much the accuracy falls. Defaults to `"kl"`.
        batch_size: integer, images at a time. Defaults to `64`.
        report: function `(layers finished, layers)`, called as they are finished; None calls
            nothing.

    Returns:
        One array for every layer, of the operations in the order of `library.operations`; infinity
        where one does not fit or could not be trained. The layer itself has 0.

    Raises:
        DataError: there are no images, or labels do not fit.
        UserError: a candidate is not trained.
        ConfigError: the measure is unknown, or needs labels.
    """
    one_of("measure", measure, MEASURES)
    whole_number("batch_size", batch_size, 1)
    images = np.asarray(images)
    if not len(images):
        raise DataError("there are no images; expected at least one to score on")
    if measure == "kl":
        labels = np.zeros(len(images), np.int32)
    elif labels is None:
        raise ConfigError(f"the measure {measure!r} needs labels; give them, or take 'kl'")
    labels = np.asarray(labels).reshape(-1)
    if len(labels) != len(images):
        raise DataError(
            f"there are {len(labels)} labels of {len(images)} images; expected one each"
        )
    return _Scoring(library, images, labels, measure, batch_size).all(report)


class _Scoring:
    def __init__(self, library, images, labels, measure, batch_size):
        self.library, self.network, self.measure = library, library.network, measure
        self.labels = _batched(labels, batch_size)
        self.images = _batched(images, batch_size)
        self.probabilities = gives_probabilities(self.network.network)
        teacher = at_rest(self.network.network)
        self.teacher = [self._log_p(teacher(x)) for x in self.images]
        self.about = {
            "network": fingerprint(self.network),
            "measure": measure,
            "images": _digest(images, labels),
        }
        self.file = library.folder / f"scores_{measure}.json"
        self.known = self._read()

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
        choices, tail = self.library.choices(number), None
        row = np.full(len(self.library.operations), np.inf)
        for place, (name, operation) in enumerate(self.library.operations.items()):
            if operation["family"] == "teacher":
                row[place] = 0.0
            elif name in choices and (
                operation["family"] == "identity" or np.isfinite(self.library.error(number, name))
            ):
                key = f"{self.network.segments[number].name}/{name}"
                if key not in self.known:
                    tail = tail or _Tail(self.network, number, self.images)
                    self.known[key] = self._score(tail, self.library.candidate(number, name))
                value = self.known[key]
                row[place] = np.inf if value is None else value
        return row

    def _score(self, tail, candidate) -> float | None:
        stopping.check()
        found, count = 0.0, 0
        parts = zip(self.teacher, self.labels, tail.outputs(candidate))
        for teacher, labels, outputs in parts:
            found += float(tf.reduce_sum(self._lost(teacher, self._log_p(outputs), labels)))
            count += len(labels)
        return found / count if np.isfinite(found) else None

    def _log_p(self, outputs):
        return log_probabilities(outputs, self.probabilities)

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


class _Tail:
    """The network from a layer's input on, which is computed once for all candidates."""

    def __init__(self, network: CutNetwork, number: int, images):
        network_inputs = network.network.inputs[0]
        features = at_rest(keras.Model(network_inputs, network.segments[number].input))
        self.inputs = [features(x) for x in images]
        self.tail = at_rest(network.tail(number))

    def outputs(self, candidate):
        """The network's outputs with a candidate, batch by batch."""
        candidate = (lambda x: x) if candidate is None else at_rest(candidate)
        return (self.tail(candidate(x)) for x in self.inputs)


def at_rest(model: keras.Model):
    """A model in inference as one function, traced once for batches of any size.

    Args:
        model: `keras.Model` of one input.
    """
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    run = tf.function(lambda x: model(x, training=False), autograph=False)
    trace = run.get_concrete_function(spec)
    # A trace refers to variables weakly; the model stays as long as what is returned.
    return lambda x, _model=model: trace(tf.convert_to_tensor(x))


def _batched(values, size):
    return [tf.constant(values[start : start + size]) for start in range(0, len(values), size)]


def _digest(*arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
