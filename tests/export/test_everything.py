"""All formats in one call."""

import os
import sys

import pytest

from tfgen.errors import ExportError
from tfgen.export import FORMATS, artefact_path, export_all

pytest.importorskip("ai_edge_litert")
pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")


def test_every_format_and_a_report_each(tiny, tmp_path):
    seen = []
    options = dict(num_examples=2, on_start=seen.append, on_report=seen.append)
    reports = export_all(tiny, str(tmp_path), "digits", 7, **options)
    assert seen == [part for pair in zip(FORMATS, reports) for part in pair]
    assert [r.path for r in reports] == [
        artefact_path(str(tmp_path), "digits", f, 7) for f in FORMATS
    ]
    assert sorted(os.listdir(tmp_path)) == [
        "digits",
        "digits.onnx",
        "digits_float16.tflite",
        "digits_float32.tflite",
        "digits_int8.tflite",
    ]
    assert all(r.max_difference <= r.tolerance and r.num_examples == 2 for r in reports)


def test_any_existing_target_stops_everything_before_it_starts(tiny, tmp_path):
    (tmp_path / "digits.onnx").write_text("old")
    with pytest.raises(ExportError, match=r"digits\.onnx exists already"):
        export_all(tiny, str(tmp_path), "digits")
    assert os.listdir(tmp_path) == ["digits.onnx"]


def test_a_missing_runtime_stops_everything_before_it_starts(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"tfgen\[onnx\]"):
        export_all(tiny, str(tmp_path), "digits")
    assert os.listdir(tmp_path) == []


def test_unknown_formats_are_named(tiny, tmp_path):
    with pytest.raises(ExportError, match=r"'coreml'.*saved_model"):
        export_all(tiny, str(tmp_path), "digits", formats=["coreml"])
