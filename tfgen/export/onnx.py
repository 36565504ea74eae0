"""ONNX: a portable signature as a graph of standard operators with a dynamic batch."""

import contextlib
import logging
import os
from typing import Any

import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import check, onnx_gradients
from tfgen.export.saved_model import FLOAT32_TOLERANCE
from tfgen.export.static_shapes import settle_shapes
from tfgen.export.subject import Subject
from tfgen.export.traces import Traces
from tfgen.files import replace_file
from tfgen.serving import default_signature

OPSET = 17


def export_onnx(
    model: Any,
    path: str,
    *,
    signature: str | None = None,
    opset: int = OPSET,
    overwrite: bool = False,
    tolerance: float = FLOAT32_TOLERANCE,
    subject: Subject | None = None,
) -> check.ExportReport:
    """Writes an `.onnx` file: one portable signature, such as a generator's `generate`.

    Inputs and outputs keep the signature's names; their batch is open.

    Args:
        model: a `tfgen.serving.Servable`, or a Keras model with known inputs.
        path: path of the file to write.
        signature: string, the signature's name; None is the model's default one, or the first, of
            those portable.
        opset: integer, version of the ONNX operator set. Defaults to `17`.
        overwrite: whether to replace an existing file, once the new one is verified. Defaults to
            `False`.
        tolerance: float, largest difference allowed, see `tfgen.export.check`. Defaults to `1e-3`.
        subject: the model's `Subject`, when several exports share it; None makes one.

    Returns:
        The report of the comparison, run with `onnxruntime`.

    Raises:
        ExportError: the file exists, an op has no ONNX form, `tf2onnx` or `onnxruntime` is missing,
            or the file differs from the Keras model above tolerance (then nothing is left there).
    """
    path = os.path.abspath(path)
    check.refuse_existing(path, overwrite)
    check.require("tf2onnx", "onnx")
    check.require("onnxruntime", "onnx")
    subject = subject or Subject(model)
    known = subject.keras.signatures
    names = check.portable_names(known, "onnx", None if signature is None else [signature])
    name = default_signature({name: known[name] for name in names})
    traces = Traces(subject.frozen.servable, without_loops=True)
    with check.written_beside(path, replace_file) as beside:
        with open(beside, "wb") as file:
            file.write(convert(traces, name, opset))
        return check.verify(
            _runner(beside),
            subject,
            [name],
            tolerance,
            target="onnx",
            path=path,
            size_bytes=check.size_on_disk(beside),
        )


def convert(traces: Traces, signature: str, opset: int = OPSET) -> bytes:
    """The serialized ONNX model of one signature, unchecked.

    Raises:
        ExportError: an op has no ONNX form.
    """
    tf2onnx = check.require("tf2onnx", "onnx")
    graph, inputs, outputs = _freeze_variables(traces[signature])
    with _quiet():
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            name=signature,
            input_names=list(inputs),
            output_names=list(outputs),
            tensors_to_rename={**inputs, **outputs},
            opset=opset,
            custom_op_handlers=onnx_gradients.handlers(),
        )
    # A TensorFlow op without a translation passes through under its own name: refuse it here.
    onnx = check.require("onnx", "onnx")
    unknown = sorted(
        {n.op_type for n in _nodes(model.graph) if not onnx.defs.has(n.op_type, n.domain)}
    )
    if unknown:
        raise ExportError(f"ONNX cannot hold this model: no operator for {', '.join(unknown)}.")
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model.SerializeToString()


def _nodes(graph):
    """All nodes of an ONNX graph, those within its loops among them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _freeze_variables(function) -> tuple[tf.compat.v1.GraphDef, dict[str, str], dict[str, str]]:
    """The graph with variables and captured constants inlined, and how to rename its ends."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    # `tf2onnx.convert.from_function` would turn captured constants into inputs of the graph.
    frozen = convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )
    inputs = {tensor.name: tensor.op.name for tensor in frozen.inputs}
    names = list(function.structured_outputs)  # flattened in sorted order, as the outputs are
    outputs = {tensor.name: name for tensor, name in zip(frozen.outputs, sorted(names))}
    return settle_shapes(frozen.graph), inputs, outputs


def _runner(path: str) -> check.Runner:
    onnxruntime = check.require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    known = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]

    def run(name, inputs):
        return dict(zip(names, session.run(names, {k: inputs[k] for k in inputs if k in known})))

    return run


@contextlib.contextmanager
def _quiet():
    """tf2onnx calls functions that TensorFlow has deprecated, and says so at length."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
