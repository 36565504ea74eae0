"""ONNX: names, dynamic batch, standard operators only."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")


@pytest.fixture(scope="module")
def exported(tiny, subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    return export_onnx(tiny, str(path), subject=subject)


def test_the_report(exported):
    assert exported.target == "onnx"
    assert exported.max_difference <= 1e-5
    assert exported.size_bytes == os.path.getsize(exported.path)


def test_ends_are_named_and_the_batch_is_open(exported):
    model = onnx.load(exported.path)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "z_0": ["batch", 2, 2, 4],
        "z_1": ["batch", 4, 4, 4],
        "temperature": [],
        "images": ["batch", 8, 8, 1],
    }


def test_only_standard_operators(exported):
    model = onnx.load(exported.path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not [n for n in model.graph.node if n.op_type.startswith("Random")]


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_any_batch(exported, tiny, num_images):
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    noise = {k: v.numpy() for k, v in tiny.draw_noise(tf.range(num_images)).items()}
    (images,) = session.run(["images"], {**noise, "temperature": np.array(0.8, np.float32)})
    np.testing.assert_allclose(images, tiny.generate(noise, 0.8), atol=1e-5)


def test_captured_constants_do_not_become_inputs(tiny, tmp_path):
    gain = tf.constant(np.linspace(0.5, 1, 8, dtype=np.float32)[:, None])

    class Shaded(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return super().generate(noise, temperature) * gain

    report = export_onnx(Shaded(), str(tmp_path / "m.onnx"))
    names = {value.name for value in onnx.load(report.path).graph.input}
    assert names == {"z_0", "z_1", "temperature"}


def test_an_op_without_onnx_form_is_refused_by_name(tiny, tmp_path):
    class Probit(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return tf.math.erfinv(0.5 * super().generate(noise, temperature))

    with pytest.raises(ExportError, match="no operator for Erfinv"):
        export_onnx(Probit(), str(tmp_path / "m.onnx"))
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_left_alone_or_replaced(tiny, subject, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("old")
    with pytest.raises(ExportError, match="exists already"):
        export_onnx(tiny, str(path), subject=subject)
    assert path.read_text() == "old"
    export_onnx(tiny, str(path), overwrite=True, subject=subject)
    onnx.checker.check_model(onnx.load(str(path)))


def test_a_disagreeing_artefact_leaves_nothing(wrongly_folded, tmp_path):
    with pytest.raises(ExportError, match="differs"):
        export_onnx(wrongly_folded, str(tmp_path / "m.onnx"))
    assert os.listdir(tmp_path) == []
