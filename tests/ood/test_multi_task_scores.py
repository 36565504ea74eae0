"""Scores of a model by closed forms, its threshold, and the file that holds both."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from surprises import surprise
from tiny_detector import DATA, IMAGES, LABELS, fitted, make

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.metrics import fit_temperature
from tfgen.ood import Evaluator, scores
from tfgen.ood.multi_task import model as multi_task_model
from tfgen.ood.multi_task.scores import own_scores
from tfgen.ood.transformations import FunctionTransformation
from tfgen.training import CheckpointManager, load_weights_only


@pytest.fixture(scope="module")
def model():
    return fitted()


# -- scores ----------------------------------------------------------------------------------------


def test_scores_match_float64(model):
    outputs = {name: np.float64(value) for name, value in model.outputs(DATA["images"]).items()}

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def main(p):  # minus KL(U || p)
        return np.log(p.shape[-1]) + np.log(p).mean(-1)

    p = softmax(outputs["logits"])
    np.testing.assert_allclose(model.ood_score(IMAGES, "main"), main(p), rtol=1e-4, atol=1e-6)
    heads = [softmax(outputs[f"supervised_{n}"]).mean(1) for n in ("rotation", "cutout", "blur")]
    ensemble = main((p + sum(heads)) / 4)
    np.testing.assert_allclose(model.ood_score(IMAGES, "ensemble"), ensemble, rtol=1e-4, atol=1e-6)
    ssl = sum(
        -np.log(np.diagonal(softmax(outputs[f"ssl_{n}"]), axis1=1, axis2=2)).mean(1)
        for n in ("rotation", "cutout", "blur")
    )
    np.testing.assert_allclose(model.ood_score(IMAGES, "ssl"), ssl, rtol=1e-5)

    for name, part in (("combined", main(p)), ("combined_ensemble", ensemble)):
        wanted = surprise(part, part) + surprise(ssl, ssl)
        np.testing.assert_allclose(model.ood_score(IMAGES, name), wanted, rtol=1e-3, atol=1e-3)


def test_heads_that_agree_with_the_classifier_change_nothing():
    def same(images, index):
        return images

    keras.saving.register_keras_serializable(package="test")(same)
    model = make([FunctionTransformation(same, 3, name="same")], head_width=16)
    kernel, bias = model.main_head.get_weights()
    head = model.network.supervised["same"]
    first = np.zeros((8, 16), np.float32)
    first[:, :8], first[:, 8:] = np.eye(8), -np.eye(8)  # ReLU of x and of -x: nothing is lost
    head.set_weights([first, np.zeros(16, np.float32), np.r_[kernel, -kernel], bias])
    np.testing.assert_allclose(
        model.ood_score(IMAGES, "ensemble"), model.ood_score(IMAGES, "main"), atol=1e-6
    )


def test_order_changes_no_score(model):
    order = [3, 1, 7, 0, 2, 6, 4, 5]
    other = make(("blur", "rotation", "cutout"))
    for mine, its in (
        (model.backbone, other.backbone),
        (model.main_head, other.main_head),
        *((model.network.ssl[n], other.network.ssl[n]) for n in model.network.ssl),
        *((model.network.supervised[n], other.network.supervised[n]) for n in model.network.ssl),
    ):
        its.set_weights(mine.get_weights())
    other.fit_scores(IMAGES, LABELS)
    for name in model.scores:
        wanted = model.ood_score(IMAGES, name)
        np.testing.assert_allclose(other.ood_score(IMAGES, name), wanted, atol=1e-5)
        np.testing.assert_allclose(model.ood_score(IMAGES[order], name), wanted[order], atol=1e-5)
        one_by_one = model.ood_score(IMAGES, name, batch_size=3)
        # Batches of other sizes are multiplied in another order.
        np.testing.assert_allclose(one_by_one, wanted, rtol=1e-4, atol=1e-4)


def test_weights_of_tasks_in_the_score():
    weighted = make(ssl_weights=[2.0, 1.0, 0.5], task_score_weights="weights")
    outputs = weighted.outputs_of(IMAGES)
    wanted = outputs["task_losses"] @ [2.0, 1.0, 0.5]
    np.testing.assert_allclose(weighted.ood_score(IMAGES, "ssl"), wanted, rtol=1e-5)
    normalised = make(task_score_weights="normalised")
    with pytest.raises(UserError, match="'ssl' is not fitted; call fit_scores"):
        normalised.ood_score(IMAGES, "ssl")
    normalised.fit_scores(IMAGES)
    found = normalised.ood_score(IMAGES, "ssl")
    np.testing.assert_allclose(found.mean(), 3.0, rtol=1e-5)


def test_which_scores_there_are_and_what_they_cost():
    further = ["distance", "combined_distance"]
    own = ["main", "ensemble", "ssl", "combined", "combined_ensemble"]
    assert list(make().scores) == own + further
    assert list(make(()).scores) == ["main"]
    assert list(make(num_classes=None).scores) == ["ssl", *further]
    assert list(make(supervised_weights=0.0).scores) == ["main", "ssl", "combined", *further]
    assert list(make(ssl_weights=0.0).scores) == ["main", "ensemble"]
    served = [make(()), make(), make(num_classes=None)]
    assert [m.served_score for m in served] == ["main", "combined_distance", "ssl"]
    model = make(other_scores=[scores.Mahalanobis(), scores.ODIN()])
    costs = {name: model.passes(name) for name in model.scores}
    assert costs["main"] == costs["mahalanobis"] == costs["distance"] == 1
    assert costs["ssl"] == costs["combined"] == costs["combined_distance"] == 10
    assert costs["odin"] == 3
    assert model.ood_score(IMAGES, "odin").shape == (8,)
    with pytest.raises(ConfigError, match="score is 'best'; expected one of main"):
        model.ood_score(IMAGES, "best")


# -- thresholds and files --------------------------------------------------------------------------


def test_the_threshold_is_the_stated_rank(model):
    values = np.sort(model.ood_score(IMAGES))
    assert (
        model.calibrate(IMAGES, acceptance=2 / 3) == values[5]
    )  # of 8: the guarantee of tfgen.metrics
    with pytest.raises(DataError, match="at least 19"):
        model.calibrate(IMAGES)
    with pytest.raises(ConfigError, match=r"acceptance is 1\.0"):
        model.calibrate(IMAGES, acceptance=1.0)
    with pytest.raises(DataError, match="1 images cannot fit"):
        model.fit_scores(IMAGES[:1])


def test_words_of_which_some_are_missing_have_no_number(model):
    images, words = np.tile(IMAGES, (3, 1, 1, 1)), np.array(list("abcd") * 6)
    assert np.isfinite(model.calibrate(images, words))
    with pytest.raises(DataError, match=r"calibrate has 2 words as labels \('a', 'c'\) for 4"):
        model.calibrate(images, np.array(list("acac") * 6))
    with pytest.raises(DataError, match="the set 'in' has 2 words as labels"):
        Evaluator(model, (images, np.array(list("ac") * 12)), {"out": images}).evaluate()


def test_a_file_holds_the_whole_detector(tmp_path):
    model = make(other_scores=[scores.Mahalanobis()])
    with pytest.raises(UserError, match="has no threshold yet"):
        model.accepts(IMAGES)
    model.fit_scores(IMAGES, LABELS)
    model.calibrate(IMAGES, LABELS, acceptance=0.75, score="mahalanobis")
    assert np.sum(model.accepts(IMAGES)) == 7
    logits, temperature = model.outputs_of(IMAGES)["logits"], float(model.temperature)
    assert temperature == pytest.approx(fit_temperature(logits, LABELS), rel=1e-5)
    served = model.signatures()["predict"].function(tf.constant(IMAGES))["probabilities"]
    np.testing.assert_allclose(served, tf.nn.softmax(logits / temperature), atol=1e-5)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    assert again.served_score == "mahalanobis"
    np.testing.assert_array_equal(again.accepts(IMAGES), model.accepts(IMAGES))
    for name in model.scores:
        np.testing.assert_array_equal(again.ood_score(IMAGES, name), model.ood_score(IMAGES, name))
    wanted = model.outputs_of(IMAGES)
    for name, value in again.predict(IMAGES, verbose=0).items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-5)


def test_a_file_older_than_a_score_serves_what_it_did(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:  # as the model was before these scores were added
        patch.setattr(multi_task_model, "own_scores", lambda *a: own_scores(*a)[:-2])
        old = make()
        old.fit_scores(IMAGES, LABELS)
        old.calibrate(IMAGES, acceptance=0.75)
        old.save(tmp_path / "old.keras")
        CheckpointManager(tmp_path).save(old)
    model = make()
    load_weights_only(model, tmp_path)
    for found in (model, keras.models.load_model(tmp_path / "old.keras")):
        assert found.served_score == "combined"
        np.testing.assert_array_equal(found.accepts(IMAGES), old.accepts(IMAGES))
        with pytest.raises(UserError, match="'combined_distance' is not fitted; call fit_scores"):
            found.ood_score(IMAGES, "combined_distance")
    evaluation = Evaluator(model, IMAGES, {"noise": IMAGES}, num_resamples=10).evaluate()
    assert "distance and combined_distance are left out" in str(evaluation)
    model.fit_scores(IMAGES)
    assert model.served_score == "combined_distance"
    with pytest.raises(UserError, match="has no threshold yet"):  # it was of other statistics
        model.accepts(IMAGES)
    model.calibrate(IMAGES, acceptance=0.75)
    assert np.sum(model.accepts(IMAGES)) == 7


def test_what_cannot_be_scored(model):
    with pytest.raises(DataError, match="no images to score"):
        model.ood_score(IMAGES[:0])
    with pytest.raises(DataError, match=r"needs images\[None\]"):
        model.ood_score(IMAGES[0])
    with pytest.raises(DataError, match="NaN"):
        model.ood_score(IMAGES * np.nan)
    broken = make(("flip",))
    broken.main_head.bias.assign([np.nan] * 4)
    with pytest.raises(DataError, match="the score 'main' of image 0 is nan"):
        broken.ood_score(IMAGES, "main")
    assert model.ood_score(IMAGES[:1]).shape == (1,)
