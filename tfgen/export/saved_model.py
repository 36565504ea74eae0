"""SavedModel in TF Serving's layout, served by whatever has TensorFlow and nothing else."""

import contextlib
import os
from collections.abc import Sequence

import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import check
from tfgen.export.signatures import SIGNATURES, Signatures
from tfgen.export.subject import Subject
from tfgen.export.warmup import write_warmup_requests
from tfgen.files.replacing import replace_dir

# Folding the normalisation into the kernels reorders float32 sums: about 1e-6 on the pixels of a
# shallow model, more in a deep one, where all groups below see a group's rounding.
FLOAT32_TOLERANCE = 1e-3

# What TensorFlow raises where Python would raise OSError.
_DISK_ERRORS = (
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
)


def export_saved_model(
    generator,
    path: str,
    version: int = 1,
    *,
    names: Sequence[str] = SIGNATURES,
    overwrite: bool = False,
    tolerance: float = FLOAT32_TOLERANCE,
    subject: Subject | None = None,
) -> check.ExportReport:
    """Writes `<path>/<version>/`, which TF Serving polls, with named signatures and a warm-up file.

    It is written beside, loaded with a plain `tf.saved_model.load`, compared with the Keras model,
    and only then renamed.

    Args:
        generator: a built `tfgen.generative.Generator`.
        path: the served model's directory; its last part is the model's name.
        version: the version, a positive integer.
        names: which of `SIGNATURES` to include.
        overwrite: replace an existing version, once the new one is verified.
        tolerance: largest difference allowed, see `tfgen.export.check`.
        subject: the generator's `Subject`, when several exports share it.

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
    subject = subject or Subject(generator)
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


def write_saved_model(signatures: Signatures, directory: str, names: Sequence[str]) -> None:
    """Writes some of a generator's signatures into a directory, unchecked."""
    functions = {name: signatures[name] for name in names}
    # Only the variables are attached: no object of tfgen enters the file or is needed to read it.
    variables = {id(v): v for function in functions.values() for v in function.variables}
    holder = tf.Module()
    holder.weights = list(variables.values())
    try:
        tf.saved_model.save(holder, directory, signatures=functions)
    except _DISK_ERRORS as error:
        raise OSError(error.message) from error


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
