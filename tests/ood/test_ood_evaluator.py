"""The evaluator: any classifier and any object with a score in one table."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from pattern_classifiers import LABELS, NOISE, SHAPE, TEST, TRAIN, classifier

from tfgen import metrics
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.ood import Evaluator, scores
from tfgen.ood.evaluation import Classifier


@pytest.fixture(scope="module")
def model():
    return classifier("sequential")


class Brightness:
    """Not a Keras model at all: further from 0.5 is further out."""

    name = "brightness"
    image_shape = SHAPE

    def ood_score(self, images):
        return np.abs(np.asarray(images).mean(axis=(1, 2, 3)) - 0.5)


class Drawn:
    """As generators score images, with a seed for each."""

    def ood_score(self, images, seeds):
        return tf.reduce_mean(images, [1, 2, 3]) + 1e-9 * tf.cast(seeds, tf.float32)


@pytest.fixture(scope="module")
def evaluation(model):
    evaluator = Evaluator(
        {"plain": model, "brightness": Brightness(), "drawn": Drawn()},
        (TEST, LABELS[:90]),
        {"noise": NOISE, "inverse": 1.0 - TEST, "dark": 0.2 * TEST[:40]},
        fit_data=(TRAIN, LABELS),
        near=["inverse"],
        num_resamples=30,
        batch_size=32,
    )
    return evaluator.evaluate()


def test_every_score_is_a_row(evaluation):
    plain = ("msp", "max_logit", "energy", "kl_to_uniform", "odin")
    fitted = ("mahalanobis", "ssd", "knn", "vim")
    wanted = [("plain", name) for name in (*plain, *fitted)]
    wanted += [("brightness", "ood_score"), ("drawn", "ood_score")]
    assert [(row.model, row.score) for row in evaluation.rows] == wanted
    assert evaluation.num_images == {"in": 90, "noise": 60, "inverse": 90, "dark": 40}
    assert {row.score: row.passes for row in evaluation.rows if row.model == "plain"} == {
        name: 3 if name == "odin" else 1 for name in (*plain, *fitted)
    }
    assert all(row.milliseconds > 0.0 for row in evaluation.rows)
    assert evaluation.classification["plain"]["accuracy"] > 0.95
    assert set(evaluation.classification) == {"plain"}


def test_numbers_are_those_of_scores_computed_alone(model, evaluation):
    network = Classifier(model, SHAPE)
    score = scores.Mahalanobis().fit(network.outputs(TRAIN), LABELS)
    inside, outside = (score(network.outputs(x)).numpy() for x in (TEST, NOISE))
    row = evaluation.row("mahalanobis")
    np.testing.assert_allclose(row.separation["noise"], metrics.measure_separation(inside, outside))
    assert row.separation["noise"].auroc > 0.9
    odin = scores.ODIN().bind(lambda x: network.outputs(x)["logits"])
    found = evaluation.scores["plain"]["odin"]["noise"]
    np.testing.assert_allclose(found, odin({"images": tf.constant(NOISE)}), rtol=1e-4)
    bright = evaluation.row("ood_score", "brightness").separation["dark"]
    dark = Brightness().ood_score(0.2 * TEST[:40])
    assert bright == metrics.measure_separation(Brightness().ood_score(TEST), dark)


def test_intervals_hold_the_numbers(evaluation):
    for row in evaluation.rows:
        for name, found in row.separation.items():
            low, high = row.intervals[name].auroc
            assert low <= found.auroc <= high
            assert 0.0 <= low < high <= 1.0


def test_near_and_far_are_means(evaluation):
    row = evaluation.row("energy")
    assert set(row.means) == {"near", "far", "all"}
    assert row.means["near"] == row.separation["inverse"]
    far = [row.separation[name].auroc for name in ("noise", "dark")]
    assert abs(row.means["far"].auroc - np.mean(far)) < 1e-12


def test_rows_are_compared(evaluation):
    first, second = evaluation.row("mahalanobis"), evaluation.row("msp")
    found = evaluation.compare(first, second, "noise")
    wanted = first.separation["noise"].auroc - second.separation["noise"].auroc
    assert abs(found.difference - wanted) < 1e-12
    with pytest.raises(UserError, match="2 rows are of the score 'ood_score'"):
        evaluation.row("ood_score")
    with pytest.raises(UserError, match="no rows are of the score 'nothing'"):
        evaluation.row("nothing")


def test_what_is_saved(model, tmp_path):
    evaluator = Evaluator(
        {"plain": model},
        TEST,
        {"noise": NOISE, "dark": 0.2 * TEST[:40]},
        fit_data=TRAIN,
        scores=[scores.KNN(3), scores.MaxSoftmax()],
        num_resamples=10,
    )
    evaluation = evaluator.evaluate()
    folder = evaluation.save(tmp_path / "found")
    assert {p.name for p in folder.iterdir()} == {
        *("evaluation.json", "scores.npz", "roc.png", "histograms.png")
    }
    read = json.loads((folder / "evaluation.json").read_text())
    row = next(r for r in read["rows"] if r["score"] == "knn")
    assert row["sets"]["noise"]["auroc"] == evaluation.row("knn").separation["noise"].auroc
    assert len(row["sets"]["noise"]["intervals"]["fpr95_id_positive"]) == 2
    with np.load(folder / "scores.npz") as stored:
        np.testing.assert_array_equal(
            stored["plain/msp/dark"], evaluation.scores["plain"]["msp"]["dark"]
        )
    for name in ("roc.png", "histograms.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_what_is_printed(evaluation):
    text = str(evaluation)
    area = evaluation.row("knn").separation["noise"].auroc
    assert f"{100 * area:.2f}" in text
    assert "plain: accuracy" in text
    assert "mean of near" in text


def test_without_data_to_fit_to_a_half_is_spared(model):
    evaluator = Evaluator(model, TEST, {"noise": NOISE}, num_resamples=10)
    result = evaluator.evaluate()
    assert result.num_images["in"] == 45
    assert any("45 images of 'in'" in note for note in result.notes)
    assert any("no labels" in note for note in result.notes)
    assert "mahalanobis" not in [row.score for row in result.rows]
    both = np.concatenate([evaluator.fit_set.images, evaluator.in_set.images])
    np.testing.assert_array_equal(np.sort(both.ravel()), np.sort(TEST.ravel()))


class Broken:
    def ood_score(self, images):
        return np.where(np.arange(len(images)) == 2, np.nan, 0.0)


def test_mistakes_are_one_sentence(model):
    noise = {"noise": NOISE}
    for make, error, words in (
        (lambda: Evaluator(model, TEST, {}), ConfigError, "no set of outliers"),
        (lambda: Evaluator(model, TEST, {"in": NOISE}), ConfigError, "two sets are called 'in'"),
        (lambda: Evaluator(model, TEST, noise, near=["x"]), ConfigError, "near is"),
        (lambda: Evaluator(model, TEST, noise, scores=[]), ConfigError, "there are no scores"),
        (
            lambda: Evaluator(model, TEST, noise, scores=[scores.KNN(1), scores.KNN(2)]),
            ConfigError,
            "two scores are called 'knn'",
        ),
        (lambda: Evaluator(model, TEST, noise, scores="msp"), ConfigError, "'msp' came as a score"),
        (lambda: Evaluator(model, TEST, noise, scores=[scores.KNN]), ConfigError, "KNN came as a"),
        (lambda: Evaluator(object(), TEST, noise), UserError, "is a object; expected a keras"),
        (lambda: Evaluator(keras.Sequential(), TEST, noise), UserError, "is not built"),
        (
            lambda: Evaluator(model, NOISE[:, :5], {"noise": NOISE[:, :5]}),
            UserError,
            r"takes images of shape \(6, 6, 1\)",
        ),
        (
            lambda: Evaluator(Broken(), TEST, noise).evaluate(),
            DataError,
            "'ood_score' of 'model' on the set 'in' has 1 scores that are NaN, first of image 2",
        ),
        (
            lambda: Evaluator(
                model, TEST, noise, fit_data=(TRAIN[::3], LABELS[::3]), num_resamples=10
            ).evaluate(),
            DataError,
            "are of class 0, and the network tells 3",
        ),
        (
            lambda: Evaluator(
                model, (TEST, LABELS[:90] + 5), noise, scores=[scores.MaxSoftmax()]
            ).evaluate(),
            DataError,
            "labels from 5 to 7",
        ),
        (
            lambda: Evaluator(model, TEST, noise, scores=[scores.Mahalanobis()]).evaluate(),
            DataError,
            "needs the classes",
        ),
        (lambda: Evaluator(model, TEST[:3], noise), DataError, "give fit_data"),
    ):
        with pytest.raises(error, match=words):
            make()


class Extreme:
    def ood_score(self, images):
        scores = np.zeros(len(images))
        scores[0] = np.inf
        return scores


def test_constant_and_infinite_scores_are_drawn(tmp_path):
    result = Evaluator({"x": Extreme()}, TEST, {"noise": NOISE}, num_resamples=10).evaluate()
    assert abs(result.rows[0].separation["noise"].auroc - 0.5) < 0.02
    assert (result.save(tmp_path) / "histograms.png").exists()


def test_one_image_a_set_is_enough_for_scores_without_statistics(model):
    result = Evaluator(
        model, TEST[:1], {"noise": NOISE[:1]}, scores=[scores.MaxSoftmax()]
    ).evaluate()
    assert result.rows[0].separation["noise"].auroc in (0.0, 1.0)
    low, high = result.rows[0].intervals["noise"].auroc
    assert high - low > 0.97  # of one pair nothing is known
    assert [note[:22] for note in result.notes] == [
        "'in' has 1 image: inte",
        "'noise' has 1 image: i",
    ]
    with pytest.raises(UserError, match="no set of outliers 'svhn'; there are 'noise'"):
        result.compare(result.rows[0], result.rows[0], "svhn")


def test_scores_that_cannot_be_had_are_notes():
    dead = classifier("functional")
    kernel, bias = dead.get_layer("hidden").get_weights()
    kernel[:, 2:], bias[2:] = 0.0, -1.0  # two features are left, four dimensions are kept
    dead.get_layer("hidden").set_weights([kernel, np.r_[9.0, 9.0, bias[2:]]])
    known = dict(fit_data=(TRAIN, LABELS), num_resamples=10)
    result = Evaluator(dead, TEST, {"noise": NOISE}, **known).evaluate()
    assert "vim" not in [row.score for row in result.rows]
    assert any("vim is left out: the features have no residual" in x for x in result.notes)
    with pytest.raises(DataError, match="no residual outside 4 dimensions"):
        Evaluator(dead, TEST, {"noise": NOISE}, scores=[scores.ViM()], **known).evaluate()


def test_a_weight_that_is_nan_is_found_behind_a_rectifier():
    broken = classifier("functional")
    kernel, bias = broken.get_layer("hidden").get_weights()
    kernel[0, 0] = np.nan
    broken.get_layer("hidden").set_weights([kernel, bias])
    with pytest.raises(UserError, match=r"the weight 'hidden/kernel' of .* holds NaN"):
        Evaluator(broken, TEST, {"noise": NOISE})
