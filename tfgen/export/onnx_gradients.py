"""ONNX forms of TensorFlow's gradient ops, which tf2onnx does not know.

A sampler that follows a gradient has the backward pass of its networks in its graph. ONNX has no
gradient operators in general use; all of these are sums and products of standard ones. Images are
`[batch, height, width, channels]` with a dynamic batch.
"""

from collections.abc import Callable

import numpy as np

Handler = tuple[Callable, list]


def handlers() -> dict[str, Handler]:
    """By TensorFlow op, as `tf2onnx.convert.from_graph_def(custom_op_handlers=...)` takes them."""
    functions = {
        "TanhGrad": _tanh,  # (y, dy) -> dy (1 - y^2)
        "SigmoidGrad": _sigmoid,  # (y, dy) -> dy y (1 - y)
        "EluGrad": _elu,  # (dy, y) -> dy where y > 0, else dy (y + 1)
        "ReluGrad": _relu,  # (dy, x) -> dy where x > 0, else 0
        "AvgPoolGrad": _average_pool,
        "StridedSliceGrad": _strided_slice,
        "ResizeNearestNeighborGrad": _nearest,
        "ResizeBilinearGrad": _bilinear,
    }
    return {name: (function, []) for name, function in functions.items()}


class _Builder:
    """Replaces a node by several, the last of which takes its name and output."""

    def __init__(self, context, node):
        self.context, self.node = context, node
        self.inputs = list(node.input)
        self.output = node.output[0]
        self.shape = context.get_shape(self.output)
        self.dtype = context.get_dtype(self.output)
        self.input_shapes = [context.get_shape(name) for name in node.input]
        context.remove_node(node.name)

    def constant(self, value, dtype=np.float32) -> str:
        from tf2onnx import utils

        return self.context.make_const(
            utils.make_name(self.node.name), np.array(value, dtype)
        ).output[0]

    def op(self, kind: str, *inputs: str, last: bool = False, **attributes) -> str:
        options = {}
        if last:
            options = dict(
                name=self.node.name,
                outputs=[self.output],
                shapes=[self.shape],
                dtypes=[self.dtype],
            )
        return self.context.make_node(kind, list(inputs), attr=attributes, **options).output[0]

    def reshape(self, x: str, shape, last: bool = False) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64), last=last)


def _tanh(context, node, name, arguments):
    del name, arguments
    b = _Builder(context, node)
    y, dy = b.inputs
    slope = b.op("Sub", b.constant(1.0), b.op("Mul", y, y))
    b.op("Mul", dy, slope, last=True)


def _sigmoid(context, node, name, arguments):
    del name, arguments
    b = _Builder(context, node)
    y, dy = b.inputs
    slope = b.op("Mul", y, b.op("Sub", b.constant(1.0), y))
    b.op("Mul", dy, slope, last=True)


def _elu(context, node, name, arguments):
    del name, arguments
    b = _Builder(context, node)
    dy, y = b.inputs  # y > -1 always: the slope is min(y, 0) + 1
    slope = b.op("Add", b.op("Min", y, b.constant(0.0)), b.constant(1.0))
    b.op("Mul", dy, slope, last=True)


def _relu(context, node, name, arguments):
    del name, arguments
    b = _Builder(context, node)
    dy, x = b.inputs
    b.op("Where", b.op("Greater", x, b.constant(0.0)), dy, b.constant(0.0), last=True)


def _average_pool(context, node, name, arguments):
    """Every pixel's gradient goes in equal parts to the pixels it was the mean of."""
    del name, arguments
    sizes = node.get_attr("ksize").ints[1:3], node.get_attr("strides").ints[1:3]
    b = _Builder(context, node)
    dy = b.inputs[1]
    height, width, channels = b.input_shapes[1][1:]
    (rows, columns), strides = sizes
    if (rows, columns) != tuple(strides):
        raise ValueError("overlapping average pooling")
    x = b.op("Mul", dy, b.constant(1.0 / (rows * columns)))
    x = b.reshape(x, [-1, height, 1, width, 1, channels])
    x = b.op("Tile", x, b.constant([1, 1, rows, 1, columns, 1], np.int64))
    below, right = (b.shape[1] - height * rows, b.shape[2] - width * columns)
    shape = [-1, height * rows, width * columns, channels]
    if not (below or right):
        b.reshape(x, shape, last=True)
        return
    pads = b.constant([0, 0, 0, 0, 0, below, right, 0], np.int64)
    b.op("Pad", b.reshape(x, shape), pads, last=True)


def _strided_slice(context, node, name, arguments):
    """Zeros around what was cut out."""
    del name, arguments
    begins = node.inputs[1].get_tensor_value(as_list=True)
    strides = node.inputs[3].get_tensor_value(as_list=True)
    if set(strides) != {1} or any(
        node.get_attr(mask).i for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    ):
        raise ValueError("the gradient of a slice that is not a plain cut")
    from_start = node.get_attr("begin_mask").i
    b = _Builder(context, node)
    before, after = [], []
    for axis, (size, cut) in enumerate(zip(b.shape, b.input_shapes[4])):
        begin = begins[axis] if axis < len(begins) and not from_start >> axis & 1 else 0
        begin = begin % size if size > 0 else begin
        before.append(begin)
        after.append(size - cut - begin if size > 0 else 0)  # the batch is open and whole
    pads = b.constant([*before, *after], np.int64)
    b.op("Pad", b.inputs[4], pads, last=True)


def _nearest(context, node, name, arguments):
    """Of a pixel repeated n times: the sum of its copies' gradients."""
    del name, arguments
    b = _Builder(context, node)
    dy = b.inputs[0]
    _, height, width, channels = b.shape
    rows, columns = (big // small for big, small in zip(b.input_shapes[0][1:3], (height, width)))
    x = b.reshape(dy, [-1, height, rows, width, columns, channels])
    b.op("ReduceSum", x, b.constant([2, 4], np.int64), last=True, keepdims=0)


def _bilinear(context, node, name, arguments):
    """The transposed interpolation: one matrix for rows, one for columns."""
    del name, arguments
    if not node.get_attr("align_corners").i:
        raise ValueError("bilinear resizing without aligned corners")
    b = _Builder(context, node)
    dy = b.inputs[0]
    (tall, wide), (height, width) = b.input_shapes[0][1:3], b.shape[1:3]
    channels = b.shape[3]
    # [B, H, W C] with rows combined, then [B H, W, C] with columns combined.
    x = b.reshape(dy, [-1, tall, wide * channels])
    x = b.op("MatMul", b.constant(_interpolation(height, tall).T), x)
    x = b.reshape(x, [-1, wide, channels])
    x = b.op("MatMul", b.constant(_interpolation(width, wide).T), x)
    b.reshape(x, [-1, height, width, channels], last=True)


def _interpolation(size: int, target: int) -> np.ndarray:
    """`[target, size]`: linear interpolation with aligned corners."""
    places = np.linspace(0.0, size - 1.0, target)
    distances = np.abs(places[:, None] - np.arange(size)[None])
    return np.maximum(0.0, 1.0 - distances)
