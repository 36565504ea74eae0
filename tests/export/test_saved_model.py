"""SavedModel: layout, parity, what is refused, and that plain TensorFlow serves it."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import export_saved_model, saved_model

SIGNATURES = ("generate", "sample", "encode", "reconstruct", "log_likelihood")


@pytest.fixture(scope="module")
def exported(tiny, subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "tiny"
    return path, export_saved_model(tiny, str(path), 3, subject=subject)


def files_below(path):
    return sorted(
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    )


def test_the_layout_is_tf_servings(exported):
    path, _ = exported
    assert os.listdir(path) == ["3"]
    names = files_below(path / "3")
    assert "saved_model.pb" in names
    assert os.path.join("assets.extra", "tf_serving_warmup_requests") in names


def test_the_warm_up_asks_every_signature_for_one_image(exported):
    path, _ = exported
    records = tf.data.TFRecordDataset(
        str(path / "3" / "assets.extra" / "tf_serving_warmup_requests")
    )
    records = [record.numpy() for record in records]
    assert len(records) == len(SIGNATURES)
    for name, record in zip(SIGNATURES, records):
        assert name.encode() in record
        assert b"tiny" in record


@pytest.mark.parametrize("made_in_order", [range(40), range(39, -1, -1)])
def test_variables_come_as_they_are_met(made_in_order):
    """So that two exports of one model, made by two processes, have the same bytes."""
    made = {number: tf.Variable(float(number)) for number in made_in_order}
    trace = tf.function(lambda: tf.add_n([made[n] for n in range(40)])).get_concrete_function()
    assert [int(variable) for variable in saved_model.variables_of(trace)] == list(range(40))


def test_the_report(exported):
    path, report = exported
    assert report.target == "saved_model"
    assert report.path == str(path / "3")
    assert report.max_difference <= 1e-5
    assert report.size_bytes == sum(
        os.path.getsize(path / "3" / name) for name in files_below(path / "3")
    )
    assert min(report.latency_ms, report.keras_latency_ms) > 0


def test_no_object_of_tfgen_enters_the_file(exported):
    path, _ = exported
    assert b"tfgen" not in (path / "3" / "saved_model.pb").read_bytes()


PLAIN = '''
    import importlib.machinery, json, sys

    HIDDEN = ("tfgen", "keras", "tf_keras", "tensorflow_probability")

    class Hidden:
        """TensorFlow asks where keras is, and copes if it cannot be loaded."""

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in HIDDEN:
                return importlib.machinery.ModuleSpec(name, self)

        def create_module(self, spec):
            raise ImportError(spec.name)

        def exec_module(self, module):
            raise ImportError(module.__name__)

    sys.meta_path.insert(0, Hidden())
    import tensorflow as tf

    with open(sys.argv[2]) as file:
        questions = json.load(file)
    signatures = tf.saved_model.load(sys.argv[1]).signatures
    assert sorted(signatures) == sorted([*questions, "serving_default"]), sorted(signatures)
    assert sorted(signatures["serving_default"].structured_outputs) == ["images"]
    for name, (inputs, expected) in questions.items():
        specs = signatures[name].structured_input_signature[1]
        inputs = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
        outputs = signatures[name](**inputs)
        assert sorted(outputs) == sorted(expected), sorted(outputs)
        for key, value in expected.items():
            tf.debugging.assert_near(outputs[key], tf.constant(value), 1e-4, 1e-4)
    loaded = [m for m in sys.modules if m.partition(".")[0] in HIDDEN]
    assert not loaded, loaded
    print("served")
'''


def test_plain_tensorflow_serves_every_signature(exported, subject, tmp_path):
    path, _ = exported
    questions = {
        name: [
            {key: value.tolist() for key, value in values(name).items()}
            for values in (subject.question, subject.answer)
        ]
        for name in SIGNATURES
    }
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    # -I: no PYTHONPATH, no current directory, no user site.
    arguments = ["-I", "-c", textwrap.dedent(PLAIN), str(path / "3"), "questions.json"]
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "served"


def test_an_existing_version_is_left_alone(exported, tiny):
    path, _ = exported
    before = (path / "3" / "saved_model.pb").read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        export_saved_model(tiny, str(path), 3)
    assert (path / "3" / "saved_model.pb").read_bytes() == before


def test_another_version_goes_beside(tiny, subject, tmp_path):
    for version in (1, 2):
        export_saved_model(tiny, str(tmp_path / "m"), version, names=["sample"], subject=subject)
    assert sorted(os.listdir(tmp_path / "m")) == ["1", "2"]
    assert set(tf.saved_model.load(str(tmp_path / "m" / "2")).signatures) == {
        "sample",
        "serving_default",
    }


def test_overwrite_replaces_the_version(tiny, subject, tmp_path):
    target = tmp_path / "m" / "1"
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    export_saved_model(tiny, str(tmp_path / "m"), names=["encode"], overwrite=True, subject=subject)
    assert os.listdir(tmp_path / "m") == ["1"]
    assert "old" not in os.listdir(target)


def test_a_disagreeing_artefact_leaves_nothing(wrongly_folded, tmp_path):
    path = tmp_path / "m"
    with pytest.raises(ExportError, match=r"'images' of 'generate' differs.*tolerance"):
        export_saved_model(wrongly_folded, str(path), names=["generate"])
    assert os.listdir(tmp_path) == []


def test_a_disagreeing_artefact_does_not_replace_a_good_one(wrongly_folded, tmp_path):
    target = tmp_path / "m" / "1"
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    with pytest.raises(ExportError, match="differs"):
        export_saved_model(wrongly_folded, str(tmp_path / "m"), names=["generate"], overwrite=True)
    assert os.listdir(tmp_path / "m") == ["1"]
    assert (target / "old").read_text() == "old"


def test_a_larger_tolerance_lets_it_pass(wrongly_folded, tmp_path):
    report = export_saved_model(
        wrongly_folded, str(tmp_path / "m"), names=["generate"], tolerance=1.0
    )
    assert 1e-3 < report.max_difference <= report.tolerance == 1.0


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(tiny, subject, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExportError, match="Cannot write"):
        export_saved_model(tiny, str(tmp_path / "file"), subject=subject)
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("kind", ["PermissionDeniedError", "ResourceExhaustedError"])
def test_a_full_or_locked_disk_is_said_in_one_sentence(tiny, subject, tmp_path, monkeypatch, kind):
    def fail(*args, **kwargs):
        raise getattr(tf.errors, kind)(None, None, "{{node x}} the disk said no [Op:SaveV2]\nso")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(ExportError, match=r"Cannot write .*\(the disk said no\)"):
        export_saved_model(tiny, str(tmp_path / "m"), subject=subject)
    assert os.listdir(tmp_path) == []


def test_versions_are_positive(tiny, tmp_path):
    with pytest.raises(ExportError, match="positive version, got 0"):
        export_saved_model(tiny, str(tmp_path / "m"), 0)


def test_a_variable_made_outside_the_generator_is_carried_along(tiny, tmp_path):
    outside = tf.Variable(0.25)

    class Brighter(type(tiny)):
        def generate(self, noise, temperature=1.0):
            return super().generate(noise, temperature) * outside

    export_saved_model(Brighter(), str(tmp_path / "m"), names=["sample", "generate"])
    loaded = tf.saved_model.load(str(tmp_path / "m" / "1"))
    images = loaded.signatures["sample"](seeds=tf.constant([0, 1]), temperature=tf.constant(1.0))[
        "images"
    ]
    assert np.max(images) <= 0.25
