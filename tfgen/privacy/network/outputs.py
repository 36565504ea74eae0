"""What a classifier returns and where its classes come from, followed back through its graph.

Keras's list of layers says neither: the last layer of the list need not be the last of the graph,
and a softmax may be a layer, an activation, an operation or a line of a Lambda. The TensorFlow
graph of the forward pass shows them all alike.
"""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

LOGITS, PROBABILITIES, SIGMOID, UNKNOWN = "logits", "probabilities", "sigmoid", "unknown"

# Operations that pass numbers on, constants that scale and shift them, and what is linear.
_SAME = {
    "Cast",
    "CheckNumerics",
    "EnsureShape",
    "ExpandDims",
    "Identity",
    "PreventGradient",
    "Reshape",
    "Snapshot",
    "Squeeze",
    "StopGradient",
}
_AFFINE = {"Add", "AddV2", "BiasAdd", "Mul", "Neg", "RealDiv", "Sub"}
_LINEAR = {"BatchMatMulV2", "BatchMatMulV3", "Conv2D", "DepthwiseConv2dNative", "Einsum", "MatMul"}
_ACTIVATIONS = {"Softmax": PROBABILITIES, "LogSoftmax": LOGITS, "Sigmoid": SIGMOID}


@dataclasses.dataclass
class Dense:
    """The dense layer behind the outputs, `scale * (features @ kernel + bias) + shift`.

    Attributes:
        features: tensor `[K, M]` of the graph.
        kernel: its variable, `[M, N]` (or `[1, 1, M, N]` of a convolution over one pixel).
        bias: its variable `[N]`, or None.
        scale: constant, scalar or `[N]`.
        shift: constant, scalar or `[N]`.
    """

    features: tf.Tensor
    kernel: keras.Variable
    bias: keras.Variable | None
    scale: np.ndarray
    shift: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What stands at the end of a graph.

    Attributes:
        kind: string, LOGITS, PROBABILITIES (of a softmax), SIGMOID, or UNKNOWN.
        source: string, type of the operation that decided it.
        dense: the layer that computes the classes, or None.
    """

    kind: str
    source: str
    dense: Dense | None


def follow(outputs: tf.Tensor, inputs: tf.Tensor, variables: list[keras.Variable]) -> Outputs:
    """Reads the end of a graph.

    Args:
        outputs: symbolic tensor `[K, N]`.
        inputs: symbolic tensor, the images it was computed from.
        variables: list of variables among which a kernel and a bias are looked for.
    """
    return _Reader(inputs, variables, outputs.shape[-1]).read(outputs)


@dataclasses.dataclass(frozen=True)
class _Operand:
    """A constant or a variable beside what depends on the images, and whether it comes first."""

    moving: tf.Tensor
    value: np.ndarray | None
    variable: keras.Variable | None = None
    first: bool = False


def _composed(kind, operand, scale, shift):
    """Scale and shift of `scale * z + shift`, where z is this operation."""
    value = operand.value
    if kind in ("Mul", "Neg"):
        return scale * value, shift
    if kind == "RealDiv":
        return scale / value, shift
    if kind == "Sub" and operand.first:
        return -scale, shift + scale * value
    return scale, shift + (-1 if kind == "Sub" else 1) * scale * value


class _Reader:
    """Walks from an output towards the images."""

    def __init__(self, inputs, variables, num_classes):
        self.inputs, self.num_classes = inputs, num_classes
        graph = inputs.graph
        owner = {id(v.value.handle): v for v in variables}
        self.variables = {
            id(inside): owner[id(outside)]
            for outside, inside in graph.captures
            if id(outside) in owner
        }

    def read(self, tensor) -> Outputs:
        activation = source = None
        while True:
            tensor, scale, shift, bias = self.strip(tensor)
            kind = tensor.op.type
            plain = np.all(scale == 1) and np.all(shift == 0) and bias is None
            if activation or kind not in _ACTIVATIONS:
                break
            if not plain or tensor.shape[-1] != self.num_classes:  # a softmax, and then changed
                return Outputs(UNKNOWN, kind, None)
            activation, source, tensor = _ACTIVATIONS[kind], kind, tensor.op.inputs[0]
        dense = self.dense(tensor, scale, shift, bias)
        if activation is None:
            activation, source = (LOGITS if dense or self.is_linear(tensor) else UNKNOWN), kind
        return Outputs(activation, source, dense)

    def strip(self, tensor):
        """Steps over what passes on, scales or shifts; the tensor before, and what was done."""
        scale, shift, bias = np.float64(1), np.float64(0), None
        while True:
            op = tensor.op
            if op.type in _SAME and tensor.dtype.is_floating:
                tensor = op.inputs[0]
                continue
            operand = next(self.constant_operands(op), None) if op.type in _AFFINE else None
            if operand is not None and op.type == "RealDiv" and operand.first:
                operand = None
            if operand is None or bias is not None:
                return tensor, scale, shift, bias
            if operand.variable is None:
                scale, shift = _composed(op.type, operand, scale, shift)
            elif op.type in ("Add", "AddV2", "BiasAdd"):
                bias = operand.variable
            else:
                return tensor, scale, shift, bias
            tensor = operand.moving

    def constant_operands(self, op) -> Iterator["_Operand"]:
        """Operands that are the same for all images."""
        if op.type == "Neg":
            yield _Operand(op.inputs[0], np.float64(-1))
            return
        for index, tensor in enumerate(op.inputs):
            moving, variable = op.inputs[1 - index], self.variable_of(tensor)
            value = tf.get_static_value(tensor) if variable is None else None
            if variable is not None:
                yield _Operand(moving, None, variable)
            elif value is not None and np.size(value) in (1, self.num_classes):
                yield _Operand(moving, np.squeeze(np.float64(value)), first=index == 0)

    def variable_of(self, tensor):
        while tensor.op.type in _SAME:
            tensor = tensor.op.inputs[0]
        if tensor.op.type != "ReadVariableOp":
            return None
        return self.variables.get(id(tensor.op.inputs[0]))

    def dense(self, tensor, scale, shift, bias):
        op = tensor.op
        if op.type not in ("MatMul", "Conv2D") or tensor.shape[-1] != self.num_classes:
            return None
        features, kernel = op.inputs[0], self.variable_of(op.inputs[1])
        if kernel is None or (op.type == "MatMul" and op.get_attr("transpose_b")):
            return None
        if op.type == "Conv2D":
            if tuple(features.shape[1:3]) != (1, 1) or tuple(kernel.shape[:2]) != (1, 1):
                return None
            features = tf.squeeze(features, [1, 2])
        return Dense(features, kernel, bias, scale, shift)

    def is_linear(self, tensor) -> bool:
        """Whether a tensor is unbounded as logits are: linear at last, sums and means of such."""
        tensor, *_ = self.strip(tensor)
        op = tensor.op
        if op.type in _LINEAR:
            return True
        if op.type in ("Mean", "AvgPool"):
            return self.is_linear(op.inputs[0])
        if op.type not in _AFFINE:
            return False
        moving = [x for x in op.inputs if self.depends_on_images(x)]
        return bool(moving) and all(self.is_linear(x) for x in moving)

    def depends_on_images(self, tensor) -> bool:
        waiting, seen = [tensor.op], set()
        while waiting:
            op = waiting.pop()
            if op is self.inputs.op:
                return True
            if id(op) not in seen:
                seen.add(id(op))
                waiting.extend(x.op for x in op.inputs)
        return False
