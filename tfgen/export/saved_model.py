"""SavedModel in TF Serving's layout, served by whatever has TensorFlow and nothing else."""

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfgen.errors import ExportError, reason_of
from tfgen.export import check
from tfgen.export.subject import Subject
from tfgen.export.traces import Traces
from tfgen.export.warmup import write_warmup_requests
from tfgen.files import replace_dir
from tfgen.serving import default_signature

# Folding the normalisation into the kernels reorders float32 sums: about 1e-6 on the pixels of a
# shallow model, more in a deep one, where all groups below see a group's rounding.
FLOAT32_TOLERANCE = 1e-3
DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY

# What TensorFlow raises where Python would raise OSError.
_DISK_ERRORS = (
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
)


def export_saved_model(
    model: Any,
    path: str,
    version: int = 1,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
    tolerance: float = FLOAT32_TOLERANCE,
    storage: str = "float32",
    subject: Subject | None = None,
) -> check.ExportReport:
    """Writes `<path>/<version>/`, which TF Serving polls, with named signatures and a warm-up file.

    It is written beside, loaded with a plain `tf.saved_model.load`, compared with the Keras model,
    and only then renamed. A server that is asked for no signature by name answers the model's
    default one.

    Args:
        model: a `tfgen.serving.Servable`, such as every generator, or a Keras model.
        path: path of the served model's directory; its last part is the model's name.
        version: the version, a positive integer. Defaults to `1`.
        names: sequence of the model's signatures to include; None takes all.
        overwrite: whether to replace an existing version, once the new one is verified. Defaults to
            `False`.
        tolerance: float, largest difference allowed, see `tfgen.export.check`. Defaults to `1e-3`.
        storage: dtype in which the weights are kept, "float32" or "float16". Defaults to
            `"float32"`.
        subject: the model's `Subject`, when several exports share it; it has its own storage. None
            makes one.

    Returns:
        The report of the comparison.

    Raises:
        ExportError: the version exists, or differs from the Keras model above tolerance (then
            nothing is left there).
    """
    if version < 1:
        raise ExportError(f"TF Serving needs a positive version, got {version}.")
    path = os.path.abspath(path)
    target = os.path.join(path, str(version))
    check.refuse_existing(target, overwrite)
    subject = subject or Subject(model, storage=storage)
    names = list(subject.keras) if names is None else list(names)
    with _removed_if_empty(path), check.written_beside(target, replace_dir) as beside:
        write_saved_model(subject.frozen, beside, names)
        write_warmup_requests(
            beside,
            os.path.basename(path),
            {name: check.first_example(subject.question(name)) for name in names},
        )
        return check.verify(
            _runner(beside),
            subject,
            names,
            tolerance,
            target="saved_model",
            path=target,
            size_bytes=check.size_on_disk(beside),
        )


def write_saved_model(traces: Traces, directory: str, names: Sequence[str]) -> None:
    """Writes some of a model's signatures into a directory, unchecked."""
    functions = {name: traces[name] for name in names}
    default = default_signature({name: traces.signatures[name] for name in names})
    # Only the variables are attached: no object of tfgen enters the file or is needed to read it.
    variables = {id(v): v for function in functions.values() for v in variables_of(function)}
    holder = tf.Module()
    holder.weights = list(variables.values())
    try:
        signatures = {**functions, DEFAULT: functions[default]}
        tf.saved_model.save(holder, directory, signatures=signatures)
    except _DISK_ERRORS as error:
        raise OSError(errno.EIO, reason_of(error)) from error
    _forget_custom_gradients(os.path.join(directory, "saved_model.pb"))


def variables_of(trace: tf.types.experimental.ConcreteFunction) -> list[tf.Variable]:
    """Its variables as the trace met them; `trace.variables` have another order in each process."""
    found = {id(variable.handle): variable for variable in trace.variables}
    return [found[id(tensor)] for tensor in trace.captured_inputs if id(tensor) in found]


def _forget_custom_gradients(path: str) -> None:
    """Serving takes no gradients, and a loader warns of each that is missing, in loops as well."""
    saved = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    graph = saved.meta_graphs[0].graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.attr.pop("_gradient_op_type", None)
    with open(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))


def _runner(directory: str) -> check.Runner:
    loaded = tf.saved_model.load(directory)

    def run(name, inputs):
        outputs = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    return run


@contextlib.contextmanager
def _removed_if_empty(path: str):
    """A refused first version leaves no empty model directory for TF Serving to wonder about."""
    existed = os.path.isdir(path)
    try:
        yield
    finally:
        if not existed and os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)
