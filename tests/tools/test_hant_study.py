"""The study of what else one would do than HANT, on a network of known numbers."""

import types

import numpy as np
import pytest
from scripts import script

from tfgen.data import Source
from tfgen.runs.transforming import Transforming
from tfgen.runs.workdir import Workdir
from tfgen.search.hant import InfeasibleError, mobile_network


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "hant.py") as module:
        yield module


@pytest.fixture(scope="module")
def controls(root):
    with script(root / "tools" / "studies" / "hant_controls.py") as module:
        yield module


class Known:
    """Three layers of 4 ms, two operations that replace them, 3 ms of stem and head."""

    operations = ("teacher", "identity", "cheap")
    library = types.SimpleNamespace(operations={name: {"family": name} for name in operations})
    latency_ms = 15.0

    def tables(self):
        scores = [np.array([0.0, lost, 0.1]) for lost in (1.0, 2.0, np.inf)]
        return scores, [np.array([4.0, 0.0, 1.0])] * 3

    def predicted_ms(self, plan):
        return plan.latency_ms + 3.0


def test_a_random_plan_nearly_takes_its_budget(controls):
    plan = controls.random_plan(Known(), 9.0)
    assert 8.1 <= plan.latency_ms + 3.0 <= 9.0
    assert plan.choices[2] != 1  # which cannot be left out
    with pytest.raises(InfeasibleError, match=r"no random plan takes 3.5 ms or less"):
        controls.random_plan(Known(), 3.5)


def test_layers_are_left_out_and_none_replaced(controls):
    plan = controls.skipping_plan(Known(), 11.0)
    assert (plan.choices, plan.score, plan.latency_ms) == ((1, 0, 0), 1.0, 8.0)
    with pytest.raises(InfeasibleError):
        controls.skipping_plan(Known(), 6.0)


def test_the_narrower_network_is_the_widest_that_is_fast_enough(controls, monkeypatch):
    monkeypatch.setattr(controls, "WIDTHS", (0.25, 0.5, 0.75))
    stages = [(1, 20, 1, 2, 3)]
    config = {"model": dict(source="mobile", image_shape=(8, 8, 1), stages=stages, head=8)}

    def measure(models):
        return {name: 8.0 * float(name) for name in models}

    half = controls.narrower(config, 5.0, measure)
    assert half.get_layer("block0_project_conv").filters == 10
    assert controls.narrower(config, 1.0, measure).get_layer("block0_project_conv").filters == 5


def test_table(study):
    row = dict(parameters=1234, latency_ms=0.5, speed_up=2.0, accuracies=[0.9])
    assert study.table({"rows": {"HANT": row}})[-1] == "| HANT | 1,234 | 0.5000 | 2.00x | 90.00% |"


def test_table_of_both_precisions(study):
    """What is faster is so beside the network as it came, in float32."""
    row = dict(parameters=1234, latency_ms=0.8, speed_up=1.0, accuracies=[0.9])
    int8 = dict(int8_latency_ms=0.5, int8_accuracies=[0.89])
    other = dict(
        row, latency_ms=0.4, speed_up=2.0, int8_latency_ms=0.2, int8_accuracies=[0.86, 0.9]
    )
    first, rule, teacher, fast = study.table({"rows": {"teacher": row | int8, "HANT": other}})
    assert first.count("|") == rule.count("|") == teacher.count("|") == fast.count("|") == 9
    assert teacher.endswith("| 90.00% | 0.5000 | 1.60x | 89.00% |")
    assert fast.endswith("| 2.00x | 90.00% | 0.2000 | 4.00x | 88.00% ± 2.83% |")


@pytest.mark.slow
def test_three_quarters_of_the_weights_are_pruned(controls):
    """Of convolutions and dense layers; depthwise ones stay whole."""
    pytest.importorskip("tensorflow_model_optimization")
    images = np.random.default_rng(0).integers(256, size=(64, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(64, dtype=np.int64) % 10
    source = Source("noise", "train", {"images": images, "labels": labels})
    sizes = dict(image_shape=(8, 8, 1), stages=[(2, 8, 1, 2, 3)], head=16, stem=8)
    teacher = mobile_network(**sizes)
    config = {
        "data": dict(batch_size=16, flip=False, crop_padding=None),
        "fine_tuning": dict(
            epochs=2,
            steps_per_epoch=10,
            learning_rate=1e-3,
            temperature=2.0,
            student_loss_weight=0.5,
        ),
    }
    found = controls.pruned(config, source, teacher)
    zeros = {v.path: np.mean(np.asarray(v) == 0.0) for v in found.trainable_variables}
    kernels = [share for path, share in zeros.items() if path.endswith("_conv/kernel")]
    assert len(kernels) == 4
    np.testing.assert_allclose([*kernels, zeros["logits/kernel"]], 0.75, atol=0.02)
    assert zeros["block0_depthwise_depthwise/kernel"] == 0.0
    assert found.count_params() == teacher.count_params()


@pytest.mark.slow
def test_a_whole_study(study, root, tmp_path, monkeypatch):
    """Of what is named, each trained as often as asked; again, nothing is trained anew."""
    recipe = f"{root / 'configs' / 'hant' / 'digits.py'}:runlocal"
    config, workdir = study.read_recipe(recipe), Workdir(tmp_path / "fast")
    Transforming(config, workdir, say=print).run()
    only = ["layers left out", "random plan"]
    rows = study.Study(config, workdir, trainings=2, only=only).run()["rows"]
    assert set(rows) == {"teacher", "HANT", *only}
    for name, row in rows.items():
        assert (
            len(row["accuracies"]) == len(row["int8_accuracies"]) == (1 if name == "teacher" else 2)
        )
        assert row["int8_latency_ms"] > 0.0
    monkeypatch.setattr("tfgen.training.keras_methods.KerasMethods.fit", None)
    again = study.Study(config, workdir, trainings=2, only=only[:1]).run()["rows"]
    assert set(again) == {"teacher", "HANT", only[0]}
    assert again["HANT"]["accuracies"] == rows["HANT"]["accuracies"]
