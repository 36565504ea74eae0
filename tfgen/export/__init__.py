"""Models as artefacts: SavedModel, LiteRT and ONNX, each compared with its Keras model."""

from tfgen.export.check import ExportReport
from tfgen.export.everything import FORMATS, artefact_path, export_all, formats_of
from tfgen.export.litert import export_litert
from tfgen.export.onnx import export_onnx
from tfgen.export.saved_model import export_saved_model
from tfgen.export.subject import Subject

__all__ = [
    "FORMATS",
    "ExportReport",
    "Subject",
    "artefact_path",
    "export_all",
    "export_litert",
    "export_onnx",
    "export_saved_model",
    "formats_of",
]
