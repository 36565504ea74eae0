"""LiteRT (formerly TensorFlow Lite): the portable signatures, with builtin ops only.

float32   the weights as they are
float16   weights stored in half precision, arithmetic in float32: half the size
int8      dynamic range: large kernels stored as int8 with a scale per output channel,
          activations quantised on the fly: about a quarter of the size
"""

import os
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import check
from tfgen.export.saved_model import FLOAT32_TOLERANCE, write_saved_model
from tfgen.export.subject import Subject
from tfgen.export.traces import Traces
from tfgen.files import replace_file

VARIANTS = ("float32", "float16", "int8")

# Largest and mean difference of a pixel in [0, 1] from the Keras model. Rounding a weight to
# float16 (by up to 2^-11 of it) or int8 (2^-8 of its channel's largest) moves the edges of what is
# drawn, and there a pixel swings from 0 to 1: in int8 one pixel says little, the mean decides. A
# trained 5-group model of digits differed by 8e-3 at most and 1e-4 on average in float16, by 0.26
# and 3e-3 in int8; deeper models add up more of it.
TOLERANCES = {
    "float32": (FLOAT32_TOLERANCE, FLOAT32_TOLERANCE),
    "float16": (0.1, 0.002),
    "int8": (0.9, 0.03),
}


def export_litert(
    model: Any,
    path: str,
    variant: str = "float32",
    *,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    tolerance: float | None = None,
    mean_tolerance: float | None = None,
    subject: Subject | None = None,
) -> check.ExportReport:
    """Writes a `.tflite` file with a model's portable signatures, such as `generate`.

    Args:
        model: a `tfgen.serving.Servable`, or a Keras model with known inputs.
        path: path of the file to write.
        variant: `"float32"`, `"float16"` or `"int8"` (weights). Defaults to `"float32"`.
        names: sequence of the portable signatures to include; None takes all.
        batch_size: integer that fixes the batch, which some delegates need; `None` leaves it open.
        overwrite: whether to replace an existing file, once the new one is verified. Defaults to
            `False`.
        tolerance: float, largest difference allowed; None is that of the variant in `TOLERANCES`.
        mean_tolerance: float, mean difference allowed; None likewise.
        subject: the model's `Subject`, when several exports share it; None makes one.

    Returns:
        The report of the comparison, run with `ai_edge_litert`.

    Raises:
        ExportError: the file exists, an op has no builtin kernel, `ai_edge_litert` is missing, or
            the file differs from the Keras model above tolerance (then nothing is left there).
    """
    if variant not in VARIANTS:
        raise ExportError(f"Unknown LiteRT variant {variant!r}; expected {', '.join(VARIANTS)}.")
    path = os.path.abspath(path)
    check.refuse_existing(path, overwrite)
    check.require("ai_edge_litert.interpreter", "litert")
    largest, mean = TOLERANCES[variant]
    subject = subject or Subject(model)
    names = check.portable_names(subject.keras.signatures, "litert", names)
    traces = subject.frozen
    if batch_size is not None:
        traces = Traces(traces.servable, batch_size)
        subject = Subject(subject.model, batch_size)
    with check.written_beside(path, replace_file) as beside:
        with open(beside, "wb") as file:
            file.write(convert(traces, variant, names))
        return check.verify(
            _runner(beside),
            subject,
            names,
            largest if tolerance is None else tolerance,
            mean_tolerance=mean if mean_tolerance is None else mean_tolerance,
            target=f"litert {variant}",
            path=path,
            size_bytes=check.size_on_disk(beside),
            dynamic_batch=batch_size is None,
        )


def convert(traces: Traces, variant: str, names: Sequence[str]) -> bytes:
    """The flatbuffer of some of a frozen model's signatures, unchecked.

    Raises:
        ExportError: an op has no builtin kernel (Flex and custom ops are refused).
    """
    with tempfile.TemporaryDirectory() as directory:
        write_saved_model(traces, directory, names)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:  # the converter's errors have no common type
            ops = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
            reason = f"no builtin kernel for {', '.join(ops)}" if ops else str(error).strip()[:200]
            raise ExportError(f"LiteRT cannot hold this model: {reason}.") from error


def _runner(path: str) -> check.Runner:
    module = check.require("ai_edge_litert.interpreter", "litert")
    interpreter = module.Interpreter(model_path=path, num_threads=os.cpu_count())
    runners = {}

    def run(name, inputs):
        if name not in runners:
            runners[name] = interpreter.get_signature_runner(name)
        known = runners[name].get_input_details()
        return runners[name](**{k: v for k, v in inputs.items() if k in known})

    return run
