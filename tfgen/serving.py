"""What can be served: named questions, each with its inputs, an example and where it can go.

A model that is to be exported states its signatures itself; exporters know nothing else about it.

    class Classifier(keras.Model):
        def signatures(self):
            images = {"images": tf.TensorSpec([None, 32, 32, 3], tf.float32)}
            return {"predict": Signature(self.probabilities, images, self.examples, PORTABLE)}

A plain Keras model with known inputs needs none of this: it answers `predict`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ExportError

Arrays = dict[str, np.ndarray]
PORTABLE = ("litert", "onnx")  # runtimes beside TensorFlow's own


@dataclasses.dataclass(frozen=True)
class Signature:
    """One question that a model answers.

    Attributes:
        function: function of keyword tensors as `inputs` names them -> dict of tensors by name.
            Dimension 0 of every input that is not a scalar, and of every output, is the batch.
        inputs: dict of shape and dtype (`tf.TensorSpec`) of each input by name; a batch of None is
            open. Names are argument names: letters, digits and underscores.
        example: function `(batch_size, seed)` -> dict of plausible inputs by name; the same for the
            same two.
        portable: tuple of the runtimes beside TensorFlow's that can hold it, of `PORTABLE`. A
            signature that draws random numbers is not portable: ONNX and LiteRT have no seeded
            ones.
        without_loops: the same function for runtimes whose graphs know no loops; None: `function`.
        default: whether it is what a server answers that is asked for nothing by name; otherwise
            the first signature is.
        why_not: string, why it does not go to the other runtimes, for the message; empty: as most
            that do not.
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    example: Callable[[int, int], Arrays]
    portable: tuple[str, ...] = ()
    without_loops: Callable[..., Mapping[str, tf.Tensor]] | None = None
    default: bool = False
    why_not: str = ""


@runtime_checkable
class Servable(Protocol):
    """Anything with signatures.

    It may also have `frozen(storage="float32") -> Servable`: the same signatures with weights fixed
    for inference, and kept in another dtype if asked for.
    """

    def signatures(self) -> dict[str, Signature]:
        """The questions it answers, by name."""
        ...


def as_servable(model: Any) -> Servable:
    """The model itself if it states its signatures, or a Keras model with the signature `predict`.

    Raises:
        ExportError: it is neither, or a Keras model whose inputs are not known.
    """
    if isinstance(model, Servable):
        return model
    if isinstance(model, keras.Model):
        return KerasServable(model)
    raise ExportError(
        f"{type(model).__name__} cannot be exported: expected a Keras model with known inputs, or "
        "an object whose signatures() says what it answers (see tfgen.serving)"
    )


def default_signature(signatures: Mapping[str, Signature]) -> str:
    """The name of the signature that a server answers when none is named."""
    named = [name for name, signature in signatures.items() if signature.default]
    return named[0] if named else next(iter(signatures))


def plain_name(name: str) -> str:
    """A name as TF Serving, LiteRT and ONNX accept it: `group/1` becomes `group_1`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


class KerasServable:
    """A Keras model with the signature `predict`: its inputs by name -> its outputs by name.

    Args:
        model: a `keras.Model`, functional, sequential, or subclassed and called once on a batch.
        example: function `(batch_size, seed)` -> dict of arrays by input name; None draws uniform
            numbers in [0, 1) for floating-point inputs, and zeros and ones for the others.

    Raises:
        ExportError: the model's inputs are not known, or have an open dimension beside the batch
            and there is no example.
    """

    def __init__(self, model: keras.Model, example: Callable[[int, int], Arrays] | None = None):
        self.model = model
        self._inputs = _input_specs(model)
        open_ = [s.name for s in self._inputs if None in s.shape[1:]]
        if open_ and example is None:
            raise ExportError(
                f"the input {open_[0]!r} of {model.name!r} has an open dimension beside the batch; "
                "pass an example: KerasServable(model, example=...)"
            )
        self._example = example or self._uniform

    def signatures(self) -> dict[str, Signature]:
        """The one signature, `predict`."""
        inputs = {spec.name: spec for spec in self._inputs}
        return {"predict": Signature(self._predict, inputs, self._example, PORTABLE)}

    def _predict(self, **inputs):
        outputs = self.model(self._as_called(inputs), training=False)
        if isinstance(outputs, Mapping):
            return {plain_name(name): value for name, value in outputs.items()}
        outputs = tf.nest.flatten(outputs)
        if len(outputs) == 1:  # not the layer's name: Keras numbers those as a process goes on
            return {"outputs": outputs[0]}
        names = getattr(self.model, "output_names", None) or range(len(outputs))
        return {plain_name(str(name)): value for name, value in zip(names, outputs, strict=True)}

    def _as_called(self, inputs):
        """The inputs in the structure that the model was made with."""
        values = [inputs[spec.name] for spec in self._inputs]
        structure = getattr(self.model, "_inputs_struct", None)
        if structure is None:
            return values[0] if len(values) == 1 else values
        return tf.nest.pack_sequence_as(structure, values)

    def _uniform(self, batch_size: int, seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        return {spec.name: _draw(rng, spec, batch_size) for spec in self._inputs}


def _draw(rng, spec, batch_size):
    shape = (batch_size, *spec.shape[1:])
    if spec.dtype.is_floating:
        return rng.random(shape).astype(spec.dtype.as_numpy_dtype)
    return rng.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype)


def _input_specs(model: keras.Model) -> list[tf.TensorSpec]:
    """Names, shapes and dtypes of a Keras model's inputs, in order, the batch open."""
    if isinstance(model, keras.Sequential) or getattr(model, "_inputs_struct", None) is not None:
        inputs = [(x.name, x.shape, x.dtype) for x in tf.nest.flatten(model.inputs)]
    else:  # a subclass knows no more than what it was first called with
        inputs = [("keras_tensor", _built_shape(model), "float32")]
    return [
        tf.TensorSpec([None, *shape[1:]], tf.as_dtype(dtype), _input_name(name, k, len(inputs)))
        for k, (name, shape, dtype) in enumerate(inputs)
    ]


def _input_name(name: str, index: int, count: int) -> str:
    """The name that the user gave an input; where Keras numbered it, one that stays the same."""
    if name.startswith("keras_tensor"):
        return "inputs" if count == 1 else f"inputs_{index}"
    return plain_name(name)


def _built_shape(model: keras.Model) -> tuple:
    config = (model.get_build_config() or {}) if model.built else {}
    shape = config.get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(isinstance(d, int | None) for d in shape):
        raise ExportError(
            f"the inputs of {model.name!r} are not known; make it a functional model "
            "(keras.Input), or give it signatures() (see tfgen.serving)"
        )
    return tuple(shape)
