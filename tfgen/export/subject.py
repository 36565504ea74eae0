"""A model under export: the questions put to it, its own answers, and its serving form.

One subject serves all formats, so that the model is folded, traced and asked once.
"""

import functools
from typing import Any

import numpy as np

from tfgen.errors import ExportError
from tfgen.export.traces import Traces, computing_in_float32
from tfgen.serving import Arrays, as_servable


class Subject:
    """A model with example inputs and its own answers to them.

    Args:
        model: a `tfgen.serving.Servable`, or a Keras model with known inputs.
        num_examples: integer, batch size of each example. Defaults to `4`.
        seed: integer that draws other examples. Defaults to `0`.
        storage: string, dtype in which the serving form keeps its weights; it computes in float32.
            Defaults to `"float32"`.

    Raises:
        ExportError: `num_examples` is below 1.
    """

    def __init__(self, model: Any, num_examples: int = 4, seed: int = 0, storage: str = "float32"):
        if num_examples < 1:
            raise ExportError(
                f"num_examples is {num_examples}; a comparison needs at least one example."
            )
        self.model = as_servable(model)
        self.num_examples = num_examples
        self.storage = storage
        self.keras = Traces(self.model)
        self._seed = seed
        self._questions: dict[str, Arrays] = {}
        self._answers: dict[str, Arrays] = {}

    @functools.cached_property
    def frozen(self) -> Traces:
        """The serving form, normalisation folded in where the model offers `frozen()`.

        Raises:
            ExportError: weights are wanted in another dtype, which only `frozen()` could give.
        """
        if not hasattr(self.model, "frozen"):
            if self.storage != "float32":
                raise ExportError(
                    f"{type(self.model).__name__} has no frozen(storage=...): its weights cannot "
                    f"be kept in {self.storage}"
                )
            return self.keras
        options = {} if self.storage == "float32" else {"storage": self.storage}
        with computing_in_float32(self.model):
            return Traces(self.model.frozen(**options))

    def question(self, name: str) -> Arrays:
        """Plausible inputs of a signature."""
        if name not in self._questions:
            signature = self.keras.signatures[name]
            values = signature.example(self.num_examples, self._seed)
            self._questions[name] = {key: np.asarray(values[key]) for key in signature.inputs}
        return self._questions[name]

    def answer(self, name: str) -> Arrays:
        """The Keras model's answer, computed once.

        Raises:
            ExportError: it is not finite.
        """
        if name not in self._answers:
            outputs = self.keras.run(name, self.question(name))
            for key, value in outputs.items():
                if not np.all(np.isfinite(value)):
                    raise ExportError(
                        f"The Keras model itself answers {name!r} with non-finite {key!r}: "
                        "train or restore it before exporting."
                    )
            self._answers[name] = outputs
        return self._answers[name]
