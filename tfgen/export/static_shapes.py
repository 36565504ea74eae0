"""Settles what a graph computes from shapes, as far as only the batch is open.

With an open batch TensorFlow's gradients work out at run time which axes to sum and how to reshape,
by ops that ONNX does not have. All axes but the batch are known here, and the batch is never what
is broadcast: so the answers are constants, with -1 for the batch where a shape may say so.
"""

import numpy as np
import tensorflow as tf

_OPEN = -1
# What gradients compute axes with.
_ARITHMETIC = {
    "AddV2": np.add,
    "Fill": lambda shape, value: np.full(shape, value[0]),
    "FloorMod": np.mod,
    "Range": lambda start, stop, step: np.arange(start[0], stop[0], step[0]),
}


def settle_shapes(graph: tf.Graph) -> tf.compat.v1.GraphDef:
    """The graph's definition, its shape arithmetic replaced by constants where that is possible."""
    constants = {}
    for op in graph.get_operations():
        for index, value in enumerate(_settled(op)):
            if value is not None:
                constants[op.name, index] = value
    definition = graph.as_graph_def(add_shapes=True)
    made = {}
    for node in definition.node:
        for position, name in enumerate(node.input):
            producer, _, index = name.partition(":")
            value = constants.get((producer, int(index or 0)))
            if value is None or not _may_replace(node, position, value):
                continue
            node.input[position] = _constant(definition, made, producer, index or "0", value)
    for node in definition.node:
        axes = made.get(node.input[1]) if node.op == "Sum" and len(node.input) == 2 else None
        if axes is not None and not axes.size:  # ONNX would sum over everything
            _make_identity(node)
    return definition


def _settled(op) -> list:
    """Values of an op's outputs that are known, None for the others."""
    if op.type in ("Shape", "ShapeN"):
        return [_dimensions(x) for x in op.inputs]
    if op.type == "BroadcastGradientArgs":
        shapes = [_vector(x) for x in op.inputs]
        return [None, None] if None in map(_none, shapes) else _summed_axes(*shapes)
    if op.type == "ConcatOffset":
        return _offsets(op)
    if op.type == "DynamicStitch":
        return [_stitched(op)]
    return []


def _none(value):
    return None if value is None else True


def _dimensions(x):
    if x.shape.rank is None:
        return None
    return np.array([_OPEN if d is None else d for d in x.shape], np.int32)


def _vector(x):
    """The integers in a tensor as a vector, -1 for an open dimension; None if unknown."""
    if x.op.type == "Const":
        return tf.make_ndarray(x.op.get_attr("value")).reshape(-1)
    if x.op.type in _ARITHMETIC:
        values = [_vector(y) for y in x.op.inputs]
        if any(map(_is_open, x.op.inputs, values)):
            return None
        return np.atleast_1d(_ARITHMETIC[x.op.type](*values))
    if x.op.type == "Identity":
        return _vector(x.op.inputs[0])
    values = _settled(x.op)
    return values[x.value_index] if values else None


def _is_open(x, value) -> bool:
    """Whether a value is unknown, or -1 in it is an open dimension rather than an axis."""
    return value is None or (x.op.type != "Const" and _OPEN in value)


def _summed_axes(first, second) -> list:
    """Axes over which the gradient of each of two broadcast operands is summed."""
    rank = max(len(first), len(second))
    sizes = [np.r_[np.ones(rank - len(s), int), s] for s in (first, second)]
    return [
        np.flatnonzero((own == 1) & (other != 1)).astype(np.int32)
        for own, other in (sizes, sizes[::-1])
    ]


def _offsets(op) -> list:
    axis = _vector(op.inputs[0])
    shapes = [_vector(x) for x in op.inputs[1:]]
    if axis is None or any(s is None or s[axis[0]] == _OPEN for s in shapes):
        return []
    sizes = [s[axis[0]] for s in shapes]
    offsets = []
    for start in np.cumsum([0, *sizes[:-1]]):
        offset = np.zeros(len(shapes[0]), np.int32)
        offset[axis[0]] = start
        offsets.append(offset)
    return offsets


def _stitched(op):
    half = len(op.inputs) // 2
    indices = [_vector(x) for x in op.inputs[:half]]
    data = [_vector(x) for x in op.inputs[half:]]
    if any(value is None for value in (*indices, *data)):
        return None
    result = np.zeros(1 + max(int(i.max()) for i in indices if i.size), np.int32)
    for index, values in zip(indices, data):
        result[index] = values
    return result


def _may_replace(node, position, value) -> bool:
    """-1 stands for an open dimension only as the shape of Reshape and the size of Slice."""
    if _OPEN not in value:
        return True
    if np.sum(value == _OPEN) > 1:
        return False
    return (node.op, position) in (("Reshape", 1), ("Slice", 2))


def _constant(definition, made, producer, index, value) -> str:
    name = f"{producer}_settled_{index}"
    if name not in made:
        made[name] = value
        node = definition.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.int32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
        shape = node.attr["_output_shapes"].list.shape.add()
        shape.dim.add(size=len(value))
    return name


def _make_identity(node):
    node.op = "Identity"
    del node.input[1:]
    kept = {key: node.attr[key] for key in ("T", "_output_shapes") if key in node.attr}
    copies = {key: type(value).FromString(value.SerializeToString()) for key, value in kept.items()}
    node.attr.clear()
    for key, value in copies.items():
        node.attr[key].CopyFrom(value)
