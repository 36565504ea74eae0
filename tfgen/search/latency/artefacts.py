"""Keras models as the files that runtimes read, of one batch size and as fast as they come."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import reason_of
from tfgen.search.latency.blocks import BlockError

_CALIBRATION_BATCHES = 4  # ranges of int8 tensors; they change no latency
_OPSET = 17


def write_saved_model(model: keras.Model, path: str | os.PathLike, batch_size: int) -> None:
    """A SavedModel of one function, which TensorFlow has compiled as Keras would.

    Args:
        model: a `keras.Model`.
        path: path of the folder to write.
        batch_size: integer, examples in a batch.
    """
    function, holder = _traced(model, batch_size)
    tf.saved_model.save(holder, str(path), signatures=function)


def write_litert(
    model: keras.Model, path: str | os.PathLike, batch_size: int, precision: str
) -> None:
    """A LiteRT file; in int8 its inputs and outputs are integers as well.

    Args:
        model: a `keras.Model`.
        path: path of the file to write.
        batch_size: integer, examples in a batch.
        precision: string, "float32" or "int8".
    """
    content = litert_content(
        model,
        batch_size,
        precision,
        calibration=lambda: _calibration(model, batch_size),
        integer_ends=precision == "int8",
    )
    Path(path).write_bytes(content)


def litert_content(
    model: keras.Model,
    batch_size: int,
    precision: str,
    *,
    calibration: Callable | None = None,
    integer_ends: bool = False,
) -> bytes:
    """What a LiteRT file holds.

    Args:
        model: a functional `keras.Model`, or one of `tf_keras` with one input.
        batch_size: integer, examples in a batch.
        precision: string, "float32" or "int8".
        calibration: function to an iterable of batches, lists of arrays, from which int8 takes the
            ranges of activations; None where the model says them by fake quantisation.
        integer_ends: whether inputs and outputs are int8 as well. Default: `False`.
    """
    function, holder = _traced(model, batch_size)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibration is not None:
            ops = tf.lite.OpsSet
            converter.representative_dataset = calibration
            converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, ops.TFLITE_BUILTINS]
        if integer_ends:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def write_onnx(model: keras.Model, path: str | os.PathLike, batch_size: int) -> None:
    """An ONNX file.

    Args:
        model: a `keras.Model`.
        path: path of the file to write.
        batch_size: integer, examples in a batch.
    """
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function, _ = _traced(model, batch_size)
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    ends = [[tensor.name for tensor in part] for part in (frozen.inputs, frozen.outputs)]
    graph = frozen.graph.as_graph_def()
    converted, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=ends[0], output_names=ends[1], opset=_OPSET
    )
    Path(path).write_bytes(converted.SerializeToString())


@contextlib.contextmanager
def one_sentence(key: str):
    """Turns whatever a converter raises into a `BlockError`, and keeps its small talk away."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BlockError:
        raise
    except OSError:  # a full disk is no fault of the block
        raise
    except Exception as error:  # each converter has types of its own
        raise BlockError(f"block {key!r} cannot be converted: {reason_of(error)}") from error
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _traced(model, batch_size):
    """The model in inference as a concrete function, and what holds its variables."""
    is_other = type(model).__module__.startswith("tf_keras.")
    if (not isinstance(model, keras.Model) and not is_other) or not getattr(model, "inputs", None):
        raise BlockError(
            f"a {type(model).__name__} cannot be timed; expected a functional Keras model"
        )
    specs = []
    for number, x in enumerate(model.inputs):
        shape = (batch_size, *x.shape[1:])
        if None in shape:
            raise BlockError(
                f"an input of {model.name!r} has the shape {tuple(x.shape)}; expected one that is "
                "known but for the batch"
            )
        specs.append(tf.TensorSpec(shape, x.dtype, name=f"input_{number}"))

    def run(*inputs):
        structure = inputs[0] if is_other else model._inputs_struct
        values = keras.tree.pack_sequence_as(structure, inputs)
        outputs = keras.tree.flatten(model(values, training=False))
        return {f"output_{k}": tf.convert_to_tensor(y) for k, y in enumerate(outputs)}

    holder = tf.Module()
    values = (v if isinstance(v, tf.Variable) else v.value for v in model.variables)
    holder.variables_of_model = list(values)
    return tf.function(run, autograph=False).get_concrete_function(*specs), holder


def _calibration(model, batch_size):
    rng = np.random.default_rng(0)
    for _ in range(_CALIBRATION_BATCHES):
        shapes = [(batch_size, *x.shape[1:]) for x in model.inputs]
        yield [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
