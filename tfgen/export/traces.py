"""Signatures as concrete functions, traced once for artefacts: float32, portable, no gradients."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.ops.clusters import portable
from tfgen.serving import Arrays, Servable, Signature, plain_name


class Traces(Mapping):
    """A model's signatures as concrete functions, each traced on first use and then kept.

    The functions take keyword tensors and return named float32 (or integer) tensors.

    Args:
        servable: a `Servable`, which states the signatures. It is held here because traces refer to
            its variables only weakly.
        batch_size: integer that fixes the batch; `None` leaves it open.
        without_loops: whether to trace the form without loops of signatures that have one.
    """

    def __init__(self, servable: Servable, batch_size: int | None = None, without_loops=False):
        self.servable = servable
        self.signatures = servable.signatures()
        self._batch_size, self._without_loops = batch_size, without_loops
        self._functions = {}

    def __getitem__(self, name: str):
        if name not in self.signatures:
            known = ", ".join(self.signatures)
            raise ExportError(f"there is no signature {name!r}; the model has {known}")
        if name not in self._functions:
            self._functions[name] = self._trace(name, self.signatures[name])
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.signatures)

    def __len__(self) -> int:
        return len(self.signatures)

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Answers one signature with arrays."""
        outputs = self[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    def _trace(self, name: str, signature: Signature):
        unrolled = self._without_loops and signature.without_loops is not None
        ask = signature.without_loops if unrolled else signature.function

        def answer(**inputs):
            outputs = {key: _served(value) for key, value in ask(**inputs).items()}
            _forget_custom_gradients(tf.compat.v1.get_default_graph())
            return outputs

        specs = {key: self._spec(name, key, spec) for key, spec in signature.inputs.items()}
        with computing_in_float32(self.servable), portable():
            return tf.function(answer, autograph=False).get_concrete_function(**specs)

    def _spec(self, name: str, key: str, spec: tf.TensorSpec) -> tf.TensorSpec:
        if plain_name(key) != key:
            raise ExportError(
                f"The input {key!r} of signature {name!r} cannot be an argument name; "
                "expected letters, digits and underscores only."
            )
        shape = [self._batch_size, *spec.shape[1:]] if spec.shape.rank else []
        return tf.TensorSpec(shape, spec.dtype, key)


@contextlib.contextmanager
def computing_in_float32(servable: Any):
    """Suspends mixed precision: artefacts compute in float32 whatever the model was trained in.

    Variables are float32 under every mixed policy, so this changes nothing that was learned.
    """
    model = getattr(servable, "model", servable)
    layers = list(model._flatten_layers()) if hasattr(model, "_flatten_layers") else []
    policies = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(layers, policies):
            layer.dtype_policy = policy


def _served(value) -> tf.Tensor:
    """Floating-point outputs leave as float32."""
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype.is_floating else value


def _forget_custom_gradients(graph) -> None:
    """Serving takes no gradients; a loader would warn of each that is missing."""
    for operation in graph.get_operations():
        if "_gradient_op_type" in operation.node_def.attr:
            operation._clear_attr("_gradient_op_type")
