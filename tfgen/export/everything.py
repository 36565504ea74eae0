"""Every format at once, from one subject."""

import os
from collections.abc import Sequence

from tfgen.errors import ExportError
from tfgen.export import check
from tfgen.export.litert import export_litert
from tfgen.export.onnx import export_onnx
from tfgen.export.saved_model import export_saved_model
from tfgen.export.subject import Subject

FORMATS = ("saved_model", "litert_float32", "litert_float16", "litert_int8", "onnx")

_RUNTIMES = {
    "litert": (("ai_edge_litert.interpreter", "litert"),),
    "onnx": (("tf2onnx", "onnx"), ("onnxruntime", "onnx")),
}


def artefact_path(directory: str, name: str, format: str, version: int = 1) -> str:
    """Where `export_all` puts a format.

    That is `<name>/<version>/`, `<name>_<variant>.tflite` or `<name>.onnx`.
    """
    if format not in FORMATS:
        raise ExportError(f"Unknown export format {format!r}; expected {', '.join(FORMATS)}.")
    if format == "saved_model":
        return os.path.join(directory, name, str(version))
    if format == "onnx":
        return os.path.join(directory, f"{name}.onnx")
    return os.path.join(directory, f"{name}_{format.removeprefix('litert_')}.tflite")


def export_all(
    generator,
    directory: str,
    name: str,
    version: int = 1,
    *,
    formats: Sequence[str] = FORMATS,
    overwrite: bool = False,
    num_images: int = 4,
    on_start=None,
    on_report=None,
) -> list[check.ExportReport]:
    """Exports a generator to several formats below one directory, each checked in its own runtime.

    Existing targets and missing runtimes are refused before anything is computed.

    Args:
        generator: a built `tfgen.generative.Generator`.
        directory: where the artefacts go; made if need be.
        name: the model's name, the stem of every file.
        version: the SavedModel's version.
        formats: some of `FORMATS`.
        overwrite: replace what exists, each artefact once its successor is verified.
        num_images: batch size of the comparison and of the timing.
        on_start: called with each format before it is made; ONNX of a long chain takes minutes.
        on_report: called with each report as soon as it is there, for instance `print`.

    Returns:
        One report per format, in order.

    Raises:
        ExportError: see the single exporters; formats finished before the failing one stay.
    """
    for format in formats:
        check.refuse_existing(artefact_path(directory, name, format, version), overwrite)
        for runtime in _RUNTIMES.get(format.partition("_")[0], ()):
            check.require(*runtime)
    subject = Subject(generator, num_images)
    reports = []
    for format in formats:
        path = artefact_path(directory, name, format, version)
        options = {"overwrite": overwrite, "subject": subject}
        if on_start is not None:
            on_start(format)
        if format == "saved_model":
            report = export_saved_model(generator, os.path.dirname(path), version, **options)
        elif format == "onnx":
            report = export_onnx(generator, path, **options)
        else:
            report = export_litert(generator, path, format.removeprefix("litert_"), **options)
        reports.append(report)
        if on_report is not None:
            on_report(report)
    return reports
