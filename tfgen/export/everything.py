"""Every format at once, from one subject."""

import os
from collections.abc import Sequence
from typing import Any

from tfgen.errors import ExportError
from tfgen.export import check
from tfgen.export.litert import export_litert
from tfgen.export.onnx import export_onnx
from tfgen.export.saved_model import export_saved_model
from tfgen.export.subject import Subject
from tfgen.files.names import plain_name
from tfgen.serving import as_servable

FORMATS = ("saved_model", "litert_float32", "litert_float16", "litert_int8", "onnx")

_RUNTIMES = {
    "litert": (("ai_edge_litert.interpreter", "litert"),),
    "onnx": (("tf2onnx", "onnx"), ("onnxruntime", "onnx")),
}


def artefact_path(directory: str, name: str, format: str, version: int = 1) -> str:
    """Where `export_all` puts a format.

    That is `<name>/<version>/`, `<name>_<variant>.tflite` or `<name>.onnx`.

    Args:
        directory: path of the folder of all formats.
        name: string, the model's name.
        format: string, one of `FORMATS`.
        version: integer, the SavedModel's version. Defaults to `1`.

    Returns:
        The path, a string.

    Raises:
        ExportError: there is no such format.
    """
    plain_name(name, "the served model", ExportError)
    if format not in FORMATS:
        raise ExportError(f"Unknown export format {format!r}; expected {', '.join(FORMATS)}.")
    if format == "saved_model":
        return os.path.join(directory, name, str(version))
    if format == "onnx":
        return os.path.join(directory, f"{name}.onnx")
    return os.path.join(directory, f"{name}_{format.removeprefix('litert_')}.tflite")


def formats_of(model: Any) -> tuple[str, ...]:
    """The formats of `FORMATS` that a model can become, by what its signatures say.

    Args:
        model: a `tfgen.serving.Servable`, or a Keras model.
    """
    runtimes = {r for s in as_servable(model).signatures().values() for r in s.portable}
    return tuple(f for f in FORMATS if f == "saved_model" or f.partition("_")[0] in runtimes)


def export_all(
    model: Any,
    directory: str,
    name: str,
    version: int = 1,
    *,
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
    num_examples: int = 4,
    on_start=None,
    on_report=None,
) -> list[check.ExportReport]:
    """Exports a model to several formats below one directory, each checked in its own runtime.

    Existing targets and missing runtimes are refused before anything is computed.

    Args:
        model: a `tfgen.serving.Servable`, such as every generator, or a Keras model.
        directory: path of the folder where the artefacts go; made if need be.
        name: string, the model's name, the stem of every file.
        version: integer, the SavedModel's version. Defaults to `1`.
        formats: sequence of some of `FORMATS`; None takes all that the model can become
            (`formats_of`).
        overwrite: whether to replace what exists, each artefact once its successor is verified.
            Defaults to `False`.
        num_examples: integer, batch size of the comparison and of the timing. Defaults to `4`.
        on_start: function called with each format before it is made, or None; ONNX of a long chain
            takes minutes.
        on_report: function called with each report as soon as it is there, for instance `print`, or
            None.

    Returns:
        One report per format, in order.

    Raises:
        ExportError: see the single exporters; formats finished before the failing one stay.
    """
    formats = formats_of(model) if formats is None else formats
    for format in formats:
        check.refuse_existing(artefact_path(directory, name, format, version), overwrite)
        for runtime in _RUNTIMES.get(format.partition("_")[0], ()):
            check.require(*runtime)
    subject = Subject(model, num_examples)
    reports = []
    for format in formats:
        if on_start is not None:
            on_start(format)
        path = artefact_path(directory, name, format, version)
        reports.append(_export(subject, path, format, version, overwrite))
        if on_report is not None:
            on_report(reports[-1])
    return reports


def _export(subject: Subject, path: str, format: str, version: int, overwrite: bool):
    options = {"overwrite": overwrite, "subject": subject}
    if format == "saved_model":
        return export_saved_model(subject.model, os.path.dirname(path), version, **options)
    if format == "onnx":
        return export_onnx(subject.model, path, **options)
    return export_litert(subject.model, path, format.removeprefix("litert_"), **options)
