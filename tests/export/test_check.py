"""The comparison itself: what counts as a difference, and what is refused."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from tfgen.errors import ExportError, UserError
from tfgen.export import ExportReport, Subject, check

REPORT = ExportReport(
    target="onnx",
    path="out/digits.onnx",
    max_difference=2.5e-6,
    tolerance=1e-3,
    mean_difference=1e-7,
    mean_tolerance=2e-5,
    latency_ms=1.25,
    keras_latency_ms=3.5,
    num_examples=4,
    size_bytes=3 * 2**19,
)


def run_against(answers, subject, tolerance=1e-3, **options):
    return check.verify(
        answers,
        subject,
        ["generate"],
        tolerance,
        target="fake",
        path="out/fake",
        size_bytes=1,
        **options,
    )


def test_the_report_is_one_line():
    assert str(REPORT) == (
        "onnx: out/digits.onnx (1.50 MiB), largest difference 2.5e-06 (tolerance 1e-03), "
        "mean 1.0e-07 (tolerance 2e-05), 4 examples in 1.2 ms (Keras 3.5 ms)"
    )


def test_the_report_goes_through_json():
    assert ExportReport(**json.loads(json.dumps(REPORT.to_dict()))) == REPORT


def test_small_values_compare_absolutely_and_large_ones_relatively():
    expected = {"x": np.array([0.0, 0.5, -200.0], np.float32)}
    actual = {"x": np.array([0.25, 0.25, -100.0], np.float32)}
    found = check.differences(expected, actual, "here")["x"]
    np.testing.assert_allclose(found, [0.25, 0.25, 0.5])


def test_names_and_shapes_must_match():
    one = {"x": np.zeros((2, 3))}
    with pytest.raises(ExportError, match=r"here: expected outputs \['x'\], got \['y'\]"):
        check.differences(one, {"y": one["x"]}, "here")
    with pytest.raises(ExportError, match=r"shape \(2, 3\), got \(3, 2\)"):
        check.differences(one, {"x": one["x"].T}, "here")


def test_equal_answers_pass(subject):
    report = run_against(subject.keras.run, subject)
    assert report.max_difference <= 1e-6
    assert report.num_examples == 3


def test_nan_is_refused(subject):
    def broken(name, inputs):
        return {"images": np.full_like(subject.keras.run(name, inputs)["images"], np.nan)}

    with pytest.raises(ExportError, match="differs from the Keras model by nan"):
        run_against(broken, subject)


def test_the_mean_has_a_bound_of_its_own(subject):
    def darker(name, inputs):
        return {k: v - 0.1 for k, v in subject.keras.run(name, inputs).items()}

    report = run_against(darker, subject, 0.2)
    assert report.mean_difference == pytest.approx(0.1, abs=1e-6)
    with pytest.raises(ExportError, match=r"differs on average from the Keras model by 0\.1"):
        run_against(darker, subject, 0.2, mean_tolerance=0.05)


def test_a_batch_frozen_into_the_artefact_is_refused(subject):
    def stuck(name, inputs):
        return subject.answer(name)

    with pytest.raises(ExportError, match=r"expected 'images' of shape \(1, 8, 8, 1\)"):
        run_against(stuck, subject)
    assert run_against(stuck, subject, dynamic_batch=False).max_difference == 0


def test_a_crash_of_the_runtime_is_one_sentence(subject):
    def crash(name, inputs):
        raise RuntimeError("no kernel\nand a long trace")

    with pytest.raises(ExportError, match=r"does not run 'generate' \(no kernel\); nothing was"):
        run_against(crash, subject)


def test_a_model_that_is_not_finite_is_not_exported(tiny):
    class Diverged(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return super().generate(noise, temperature) * np.nan

    with pytest.raises(ExportError, match="non-finite 'images'"):
        Subject(Diverged()).answer("generate")


def test_a_missing_runtime_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match=r"pip install 'tfgen\[onnx\]'"):
        check.require("tf2onnx", "onnx")


def test_reports_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        REPORT.tolerance = 1.0
