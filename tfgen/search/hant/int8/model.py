"""A network in int8, and how it differs from the one it came from."""

import functools
import os
import threading
from typing import NamedTuple

import keras
import numpy as np

from tfgen import stopping
from tfgen.data.labels import as_labels
from tfgen.errors import DataError, UserError
from tfgen.files import replace_file
from tfgen.search.hant.int8.inputs import checked_images
from tfgen.search.hant.int8.operators import Operators, operators_of


class Comparison(NamedTuple):
    """A network in int8 beside the same in float32.

    Attributes:
        num_images: integer, images that both have seen.
        agreement: float, share of them to which both give the same class.
        relative_error: float, the mean difference of outputs in multiples of their mean size.
        accuracy: float, share of the labels that int8 finds; None without labels.
        float_accuracy: float, the same of the network in float32; None without labels.
    """

    num_images: int
    agreement: float
    relative_error: float
    accuracy: float | None = None
    float_accuracy: float | None = None


class Int8Model:
    """A network in int8 as a LiteRT file.

    Args:
        content: bytes of the file.
        method: string, how it was made.
        calibration: string, of which images the ranges of activations are. Defaults to `""`.
        network: the `keras.Model` of the training whose numbers the file repeats; None if there
            was none.
    """

    def __init__(
        self,
        content: bytes,
        method: str,
        calibration: str = "",
        network: keras.Model | None = None,
    ):
        self.content, self.method = content, method
        self.calibration, self.network = calibration, network
        self._lock = threading.Lock()

    @functools.cached_property
    def _operators(self) -> Operators:
        return operators_of(self.content)

    @property
    def operators(self) -> dict[str, int]:
        """How many operators compute in "int8", "float32", or convert between ("conversion")."""
        return self._operators.counts

    @property
    def float_operators(self) -> dict[str, int]:
        """Names of the operators that stayed in float32, and how many there are of each."""
        return self._operators.floats

    @property
    def input_range(self) -> tuple[float, float] | None:
        """The smallest and largest pixel that is not clipped; None where nothing is."""
        return self._operators.input_range

    @property
    def output_step(self) -> float | None:
        """The difference of two neighbouring outputs; None where the last is in float32."""
        return self._operators.output_step

    @functools.cached_property
    def _interpreter(self):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UserError(
                "running a network in int8 needs 'ai_edge_litert', which is not installed: "
                "pip install 'tfgen[litert]'"
            ) from error
        interpreter = Interpreter(model_content=self.content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Runs it in LiteRT, on one thread.

        Args:
            images: array `[N, H, W, C]`, as the network took them.

        Returns:
            Array `[N, ...]`, float32, the network's outputs.

        Raises:
            DataError: there are no images, their shape is another, or most of their range would
                be clipped.
            UserError: LiteRT is not installed.
        """
        with self._lock:  # an interpreter holds one batch
            return self._predict(np.asarray(images))

    def _predict(self, images):
        interpreter = self._interpreter
        entry, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        size, *shape = map(int, entry["shape"])
        images = checked_images(_Expected(self.method, shape), images)
        self._check_range(images)
        outputs = []
        for start in range(0, len(images), size):
            stopping.check()
            batch = images[start : start + size]
            count = len(batch)
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, 0)])
            interpreter.set_tensor(entry["index"], _as_integers(batch, entry))
            interpreter.invoke()
            outputs.append(_as_floats(interpreter.get_tensor(last["index"]), last)[:count])
        return np.concatenate(outputs)

    def _check_range(self, images):
        if self.input_range is None:
            return
        low, high = self.input_range
        least, most, width = float(images.min()), float(images.max()), high - low
        if least < low - width or most > high + width:
            raise DataError(
                f"the images range from {least:g} to {most:g}; the network was quantised for "
                f"{low:.3g} to {high:.3g}, beyond which pixels are clipped: scale both alike"
            )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the file, whole or not at all.

        Args:
            path: path of the `.tflite` file.

        Raises:
            OSError: it cannot be written.
        """
        with replace_file(path) as beside, open(beside, "wb") as file:
            file.write(self.content)

    def compare(
        self,
        model: keras.Model,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        batch_size: int = 64,
    ) -> Comparison:
        """Sets it beside a network in float32.

        Args:
            model: the `keras.Model`, a classifier.
            images: array `[N, H, W, C]`.
            labels: `[N]` integers, or one-hot rows; None without.
            batch_size: integer, images at a time in float32. Defaults to `64`.

        Returns:
            The `Comparison`.

        Raises:
            DataError: images or labels do not fit.
        """
        images = checked_images(model, images)
        ours, theirs = self.predict(images), model.predict(images, batch_size, verbose=0)
        classes = [x.reshape(len(images), -1).argmax(1) for x in (ours, theirs)]
        accuracies = (None, None)
        if labels is not None:
            labels = as_labels(labels, len(images), "compare()").numbers
            accuracies = tuple(float(np.mean(found == labels)) for found in classes)
        error = np.abs(ours - theirs).mean() / max(float(np.abs(theirs).mean()), 1e-12)
        agreement = float(np.mean(classes[0] == classes[1]))
        return Comparison(len(images), agreement, float(error), *accuracies)

    def describe(self) -> str:
        """How it was made, its size and its operators, in two lines."""
        floats = ", ".join(f"{count} {name}" for name, count in self.float_operators.items())
        counts = self.operators
        return (
            f"int8 ({self.method}), {len(self.content) / 1024:.0f} KiB"
            f"{', ranges of ' + self.calibration if self.calibration else ''}\n"
            f"{counts['int8']} operators in int8, {counts['float32']} in float32"
            f"{f' ({floats})' if floats else ''}, {counts.get('conversion', 0)} between"
        )


class _Expected:
    """What `checked_images` has to know of a network."""

    def __init__(self, name, shape):
        self.name, self.inputs = name, [np.empty((0, *shape))]


def _as_integers(batch, entry):
    if entry["dtype"] == np.float32:
        return batch
    scale, zero = entry["quantization"]
    limits = np.iinfo(entry["dtype"])
    return np.clip(np.round(batch / scale) + zero, limits.min, limits.max).astype(entry["dtype"])


def _as_floats(values, entry):
    if entry["dtype"] == np.float32:
        return values.copy()
    scale, zero = entry["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale)
