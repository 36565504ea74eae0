"""`tfgen-transform`: configurations, whole runs, what they leave behind, what stops them."""

import json
import shutil
import typing

import keras
import numpy as np
import pytest
import small_networks
from timers import KnownBackend

from tfgen import stopping
from tfgen.data import load
from tfgen.errors import ConfigError
from tfgen.runs.transforming import Transforming, complete, networks
from tfgen.runs.transforming.report import lines
from tfgen.runs.workdir import Workdir
from tfgen.search import latency
from tfgen.search.hant import Int8Model, mobile_network
from tfgen.systems.presets import from_preset


class Known(KnownBackend):
    """Milliseconds by what is timed; knows how often it was asked."""

    timers_made = 0
    precisions: typing.ClassVar[list[str]] = []

    def __init__(self, threads, batch_size, precision):
        type(self).precisions.append(precision)
        super().__init__(_milliseconds, precision=precision, batch_size=batch_size)
        self._metadata["threads"] = threads

    def require(self):
        pass

    def timer(self, warm_up):
        type(self).timers_made += 1
        return super().timer(warm_up)


def _milliseconds(key, timer, run):
    del timer, run
    if key.startswith("mobile/block"):
        return 4.0
    whole = {"teacher": 30.0, "student": 12.0, "teacher int8": 20.0, "student int8": 5.0}
    return whole.get(key, 15.0 if key.startswith("mobile/") else 1.0)


MOBILE = dict(
    source="mobile",
    image_shape=[16, 16, 1],
    stages=[[1, 4, 1, 1, 3], [2, 4, 2, 2, 3]],
    stem=4,
    stem_stride=2,
    head=8,
)


def config(model=MOBILE, **changes):
    steps = dict(epochs=1, steps_per_epoch=3, warmup_epochs=0)
    found = {
        "model": model,
        "data": dict(name="digits", batch_size=16),
        "teacher": steps,
        "pool": dict(operations=[{"family": "identity"}, {"family": "cb_res", "kernel": 1}]),
        "distillation": dict(epochs=1, steps_per_epoch=2, batch_size=16),
        "scores": dict(num_images=32),
        "plan": dict(budget=0.6, num_plans=2, num_images=32),
        "fine_tuning": steps,
        "quantization": dict(method=None),
    }
    for section, fields in changes.items():
        found[section] = {**found.get(section, {}), **fields}
    return complete(found)


def silent(line):
    pass


@pytest.fixture(scope="module")
def known():
    """Latencies without a device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latency.BACKENDS, "litert", Known)
        yield


@pytest.fixture(scope="module")
def done(known, tmp_path_factory):
    """A whole run on a network in a file: its configuration, folder, report, what was said."""
    folder, said = tmp_path_factory.mktemp("transformed"), []
    options = {key: value for key, value in MOBILE.items() if key != "source"}
    network = small_networks.randomized(mobile_network(**options))
    network.save(folder / "network.keras")
    completed = config(dict(source="file", path=str(folder / "network.keras")))
    found = Transforming(completed, Workdir(folder / "run"), say=said.append).run()
    return completed, folder / "run", found, said


def weights(folder):
    return from_preset(folder).network.get_weights()


def read(path):
    return keras.models.load_model(path, compile=False)


def same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


class TestWholeRun:
    def test_report(self, done):
        _, folder, found, said = done
        assert json.loads((folder / "student/report.json").read_text()) == found
        assert found["networks"]["student"]["speed_up"] == 2.5
        # Three layers of 4 ms and 3 ms of stem and head; 0.6 of 15 leaves 6 to the layers.
        assert found["teacher_table_ms"] == 15.0
        assert found["predicted_ms"] <= found["budget_ms"] == pytest.approx(9.0)
        assert len(found["plan"]) == 3
        assert sum(row["saved_ms"] for row in found["plan"]) == 15.0 - found["predicted_ms"]
        assert said[0] == "3 layers, 3 candidates to train"
        assert lines(found)[1].endswith(", 12 ms (2.50x)")
        page = (folder / "student/report.md").read_text()
        for row in found["plan"]:
            assert f"| {row['layer']} | {row['operation']} |" in page
        for name in ("plan.png", "front.png"):
            assert (folder / "student" / name).read_bytes().startswith(b"\x89PNG")

    def test_result_is_a_plain_model_that_is_as_good_as_said(self, done):
        _, folder, found, _ = done
        same(read(folder / "student/student.keras").get_weights(), weights(folder / "student"))
        test = load("digits", "test")
        for name, path in (("student", "student/student"), ("teacher", "teacher")):
            answers = read(folder / f"{path}.keras")(test.images / np.float32(255), training=False)
            right = np.mean(np.argmax(answers, axis=1) == test.labels)
            assert found["networks"][name]["accuracy"] == right

    def test_it_learnt_from_the_plan_that_lost_least(self, done):
        folder = done[1] / "student"
        plans = json.loads((folder / "plans.json").read_text())["found"]
        assert plans["chosen"] == plans["plans"][int(np.argmin(plans["losses"]))]
        start, end = read(folder / "start.keras").get_weights(), weights(folder)
        assert not any(np.array_equal(a, b) for a, b in zip(start, end, strict=True))

    def test_other_plans_have_other_folders(self, done):
        completed, folder, _, _ = done
        workdir = Workdir(folder)
        assert workdir.compare(completed) == []
        changed = {**completed, "plan": {**completed["plan"], "budget": 0.8}}
        assert workdir.compare(changed) == ["plan.budget: 0.6 -> 0.8"]
        with pytest.raises(ConfigError, match=r"another plan \(plan.budget: 0.6 -> 0.8\); choose"):
            Transforming(changed, workdir).run()
        data = {**completed, "data": {**completed["data"], "batch_size": 8}}
        with pytest.raises(ConfigError, match=r"another configuration .data.batch_size: 16 -> 8"):
            workdir.compare(data)


def stopped_after(calls, patch):
    """From now on work is stopped when it looks for signals for so many times."""
    left = [calls]

    def check():
        left[0] -= 1
        if left[0] == 0:
            raise stopping.Stopped(2)

    patch.setattr(stopping, "check", check)


def copied(done, tmp_path):
    """All that was found before a plan was chosen."""
    shutil.copytree(done[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/student")
    return tmp_path / "run"


@pytest.mark.slow
def test_plans_that_were_compared_stay_so(done, tmp_path, monkeypatch):
    completed, folder, made = done[0], copied(done, tmp_path), Known.timers_made
    with monkeypatch.context() as patch:
        stopped_after(4, patch)
        with pytest.raises(stopping.Stopped):
            Transforming(completed, Workdir(folder), say=silent).run()
    kept = json.loads((folder / "student/plans.json").read_text())
    assert len(kept["found"]["losses"]) == 1
    assert len(kept["found"]["plans"]) == 2

    def untrained(*arguments):
        raise stopping.Stopped(2)

    monkeypatch.setattr(networks, "trained", untrained)
    with pytest.raises(stopping.Stopped):
        Transforming(completed, Workdir(folder), say=silent).run()
    plans, start = "student/plans.json", "student/start.keras"
    assert (folder / plans).read_text() == (done[1] / plans).read_text()
    same(read(folder / start).get_weights(), read(done[1] / start).get_weights())
    assert Known.timers_made == made  # nothing was measured again


@pytest.mark.slow
def test_the_same_again_finds_everything(done):
    completed, folder, found, _ = done
    made, before = Known.timers_made, weights(folder / "student")
    assert Transforming(completed, Workdir(folder), say=silent).run() == found
    assert Known.timers_made == made
    same(before, weights(folder / "student"))


@pytest.mark.slow
@pytest.mark.parametrize("calls", [6, 12])
def test_what_was_stopped_goes_on_to_the_same_end(done, tmp_path, monkeypatch, calls):
    folder = copied(done, tmp_path)
    with monkeypatch.context() as patch:
        stopped_after(calls, patch)
        with pytest.raises(stopping.Stopped):
            Transforming(done[0], Workdir(folder), say=silent).run()
    assert not (folder / "student/report.json").exists()
    assert Transforming(done[0], Workdir(folder), say=silent).run() == done[2]
    same(weights(folder / "student"), weights(done[1] / "student"))


def test_a_folder_from_before_there_was_a_field(done, tmp_path):
    folder = copied(done, tmp_path)
    transforming = Transforming(done[0], Workdir(folder), say=silent)
    transforming._begin()
    known = folder / "student/transformation.json"
    sections = json.loads(known.read_text())
    del sections["plan"]["grouping"]
    known.write_text(json.dumps(sections))
    transforming._begin()
    grouped = {**done[0], "plan": {**done[0]["plan"], "grouping": 2}}
    with pytest.raises(ConfigError, match=r"another plan \(plan.grouping: 1 -> 2\); choose"):
        Transforming(grouped, Workdir(folder))._begin()


@pytest.mark.slow
def test_layers_in_a_row(done, tmp_path, monkeypatch):
    """The library is shared; what was stopped among the candidates of runs goes on there."""
    folder, said = copied(done, tmp_path), []
    plan = {**done[0]["plan"], "name": "grouped", "grouping": 2, "budget": 0.3, "num_plans": 12}
    completed = {**done[0], "plan": plan}
    trained = (folder / "library/manifest.json").read_text()
    with monkeypatch.context() as patch:
        stopped_after(2, patch)
        with pytest.raises(stopping.Stopped):
            Transforming(completed, Workdir(folder), say=silent).run()
    found = Transforming(completed, Workdir(folder), say=said.append).run()
    assert said[:2] == [
        "3 layers, 0 candidates to train",
        "1 run of 2 layers, 1 candidates to train",
    ]
    assert (folder / "library/manifest.json").read_text() == trained
    assert len(json.loads((folder / "library/runs_of_2/manifest.json").read_text())["entries"]) == 1
    plans = json.loads((folder / "grouped/plans.json").read_text())["found"]
    rows = [row["choices"] for row in plans["plans"]]
    assert any(row[3] is not None for row in rows)
    assert all((row[0] is None) == (row[1] is None) == (row[3] is not None) for row in rows)
    assert sum(row["num_layers"] for row in found["plan"]) == 3
    assert found["predicted_ms"] == 15.0 - sum(row["saved_ms"] for row in found["plan"]) <= 4.5
    again = Transforming(completed, Workdir(folder), say=silent).run()
    assert again == found


def test_a_plan_for_int8(done, tmp_path, known):
    """Table and budget are of int8; whole networks are timed as they are used, in both."""
    folder, said, before = copied(done, tmp_path), [], len(Known.precisions)
    quantized = dict(method="post_training", num_images=16, float_stem=True)
    completed = {
        **done[0],
        "latency": {**done[0]["latency"], "precision": "int8"},
        "quantization": {**done[0]["quantization"], **quantized},
    }
    found = Transforming(completed, Workdir(folder), say=said.append).run()
    assert Known.precisions[before:] == ["int8", "float32"]
    table = json.loads((folder / "library/latency_litert_int8_1_1.json").read_text())
    assert table["metadata"]["precision"] == found["latency"]["precision"] == "int8"
    assert {name: row["speed_up"] for name, row in found["networks"].items()} == {
        "teacher": 1.0,
        "student": 2.5,
        "teacher int8": 1.5,
        "student int8": 6.0,
    }
    assert found["speed_ups"] == {"float32": 2.5, "int8": 4.0, "int8_over_float32": 2.4}
    page = (folder / "student/report.md").read_text()
    assert "made by latencies in int8" in page
    assert "measured were 4.00x. The budget" in page
    assert "4.00x as fast as the network as it came in int8, and 2.40x as fast as itself" in page
    test = load("digits", "test")
    images = test.images[:] / np.float32(255)
    for name, path in (("student int8", "student/int8"), ("teacher int8", "teacher_int8")):
        file = Int8Model((folder / f"{path}.tflite").read_bytes(), "int8")
        assert file.float_operators["CONV_2D"] == 1
        right = np.mean(np.argmax(file.predict(images), axis=1) == test.labels)
        assert found["networks"][name]["accuracy"] == right


@pytest.mark.slow
def test_a_network_that_is_trained_first(known, tmp_path):
    transforming = Transforming(config(), Workdir(tmp_path), say=silent)
    teacher = transforming.teacher()
    same(teacher.get_weights(), weights(tmp_path / "teacher"))
    (tmp_path / "teacher.keras").unlink()
    same(transforming.teacher().get_weights(), teacher.get_weights())
    again = Transforming(
        config(dict(source="workdir", path=str(tmp_path / "teacher"))), Workdir(tmp_path / "second")
    )
    same(again.teacher().get_weights(), teacher.get_weights())


def test_the_plan_of_a_run():
    plan = Transforming(config()).plan()
    assert [row["operations"] for row in plan["layers"]] == [3, 2, 3]
    assert (plan["candidates"], plan["networks"], plan["trained_here"]) == (3, 18.0, True)
    assert plan["layers"][1]["output"] == [4, 4, 4]
    assert plan["runs_of_layers"] == 0
    grouped = Transforming(config(plan=dict(grouping=9))).plan()
    assert (grouped["runs_of_layers"], grouped["candidates"]) == (2, 5)  # of two layers, of three
    assert plan["parameters"] > sum(row["parameters"] for row in plan["layers"])


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("model", dict(MOBILE, source="cloud"), "config.model.source is 'cloud'; expected one of"),
        ("model", dict(MOBILE, widht=2.0), r"has no field 'widht'; did you mean 'width'\?"),
        ("model", dict(MOBILE, source="file"), "config.model has no field 'image_shape'"),
        ("model", dict(source="file"), "config.model.path is missing"),
        ("plan", dict(budget=0.0), "config.plan.budget is 0.0; expected above 0"),
        ("plan", dict(budget=None), "config.plan.budget is None; expected a share"),
        ("plan", dict(name="a/b"), "config.plan.name is 'a/b'; expected letters"),
        ("plan", dict(name="library"), "the name of another folder"),
        ("plan", dict(grouping=0), "config.plan.grouping is 0; expected at least 1"),
        ("plan", dict(grouping=2, refinements=1), "only plans of single layers are refined"),
        ("data", dict(held_out=0.0), r"config.data.held_out is 0.0; expected it in \(0, 0.5\]"),
        ("scores", dict(measure="luck"), "config.scores.measure is 'luck'; expected one of kl"),
        ("latency", dict(backend="abacus"), "config.latency.backend is 'abacus'; expected one of"),
        ("latency", dict(precision="int4"), "precision of litert is .int4.; expected one of"),
        ("latency", dict(backend="onnx", precision="int8"), "of onnx is .int8.; expected"),
        ("latency", dict(precision="int8"), "config.quantization.method None; a plan for int8"),
        ("quantization", dict(float_stem=True), "float_stem is True and config"),
        ("distillation", dict(epochs=0), "config.distillation.epochs is 0; expected at least 1"),
        ("quantization", dict(method="int3"), "config.quantization.method is 'int3'"),
    ],
)
def test_mistakes(section, fields, message):
    with pytest.raises(ConfigError, match=message):
        config(**{section: fields})
