"""LiteRT: variants, builtin ops only, and the interpreter's own view of the file."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import export_litert
from tfgen.export.litert import TOLERANCES, VARIANTS

interpreter = pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture(scope="module")
def wide(tiny):
    """Wide enough for int8: kernels below 1024 elements stay float."""
    return type(tiny)(width=64)


@pytest.fixture(scope="module")
def exported(wide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("litert")
    return {v: export_litert(wide, str(folder / f"{v}.tflite"), v) for v in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_keeps_its_tolerance(exported, variant):
    report = exported[variant]
    assert report.mean_difference <= TOLERANCES[variant][1]
    assert report.target == f"litert {variant}"
    assert report.tolerance == TOLERANCES[variant][0]
    assert report.max_difference <= {"float32": 1e-5, "float16": 2e-3, "int8": 5e-2}[variant]


def test_narrow_weights_make_smaller_files_and_larger_differences(exported):
    sizes = [exported[v].size_bytes for v in VARIANTS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.65 * sizes[0]
    assert sizes[2] < 0.45 * sizes[0]
    found = [exported[v].max_difference for v in VARIANTS]
    assert found == sorted(found)
    assert found[1] > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_runtime_batch_by_name(exported, wide, variant):
    model = interpreter.Interpreter(model_path=exported[variant].path)
    runner = model.get_signature_runner("generate")
    for num_images in (1, 5, 2):
        noise = {k: v.numpy() for k, v in wide.draw_noise(tf.range(num_images)).items()}
        images = runner(temperature=np.float32(0.8), **noise)["images"]
        np.testing.assert_allclose(
            images, wide.generate(noise, 0.8), atol=exported[variant].tolerance
        )


def test_builtin_ops_only(exported):
    for report in exported.values():
        with open(report.path, "rb") as file:
            assert b"Flex" not in file.read()


def test_a_fixed_batch(tiny, tmp_path):
    path = str(tmp_path / "fixed.tflite")
    report = export_litert(tiny, path, batch_size=2)
    assert report.num_examples == 2
    model = interpreter.Interpreter(model_path=path)
    shapes = {d["name"]: d["shape_signature"].tolist() for d in model.get_input_details()}
    assert sorted(shapes.values()) == [[], [2, 2, 2, 4], [2, 4, 4, 4]]


def test_an_op_without_builtin_kernel_is_refused_by_name(tiny, tmp_path):
    class Probit(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return tf.math.erfinv(0.5 * super().generate(noise, temperature))

    with pytest.raises(ExportError, match="no builtin kernel for Erfinv"):
        export_litert(Probit(), str(tmp_path / "m.tflite"))
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_left_alone_or_replaced(tiny, subject, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_text("old")
    with pytest.raises(ExportError, match="exists already"):
        export_litert(tiny, str(path), subject=subject)
    assert path.read_text() == "old"
    export_litert(tiny, str(path), overwrite=True, subject=subject)
    assert path.stat().st_size > 1000


def test_a_disagreeing_artefact_leaves_what_was_there(wrongly_folded, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_text("old")
    with pytest.raises(ExportError, match="differs"):
        export_litert(wrongly_folded, str(path), overwrite=True)
    assert os.listdir(tmp_path) == ["m.tflite"]
    assert path.read_text() == "old"


def test_variants_are_named(tiny, tmp_path):
    with pytest.raises(ExportError, match=r"'int4'.*float32, float16, int8"):
        export_litert(tiny, str(tmp_path / "m.tflite"), "int4")
