"""Scores of out-of-distribution images against reference values and formulas in float64."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.export import export_all
from tfgen.ood.scores import (
    ASH,
    KNN,
    ODIN,
    DirichletNormality,
    Energy,
    Entropy,
    Head,
    KLToUniform,
    Mahalanobis,
    MaxLogit,
    MaxSoftmax,
    ReAct,
    TransformationDistance,
    ViM,
)
from tfgen.ood.scores.transformed import dirichlet_of


@pytest.fixture(scope="module")
def values(reference_values):
    file = reference_values("ood_scores")
    return {name: file[name] for name in file.files if not name.startswith("metrics/")}


@pytest.fixture(scope="module")
def test_outputs(values):
    return {"features": values["test_features"], "logits": values["logits"]}


@pytest.fixture(scope="module")
def fitting(values):
    """`fit`'s arguments: outputs, labels and head."""
    head = Head(values["head_weight"].T, values["head_bias"])
    features = values["train_features"]
    return {"features": features, "logits": features @ head.kernel + head.bias}, (
        values["train_labels"],
        head,
    )


def close(found, wanted):
    """To 1e-5 of the largest value."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.max(np.abs(wanted)))


CASES = {
    "msp": (MaxSoftmax(), lambda v: v["msp"] + 1.0),
    "max_logit": (MaxLogit(), lambda v: v["max_logit"]),
    "energy_T1": (Energy(), lambda v: v["energy_T1"]),
    "energy_T2": (Energy(2.0), lambda v: v["energy_T2"]),
    "entropy": (Entropy(), lambda v: v["entropy"]),
    "kl": (KLToUniform(), lambda v: -v["kl_uniform_to_p_inlier_positive"]),
    "mahalanobis": (Mahalanobis(), lambda v: v["mahalanobis"]),
    "ssd": (Mahalanobis(1, normalised=True), lambda v: v["mahalanobis_normalised_one_cluster"]),
    "knn_1": (KNN(1), lambda v: v["knn_1"]),
    "knn_5": (KNN(5), lambda v: v["knn_5"]),
    "vim_6": (ViM(6), lambda v: v["vim_6"]),
    "vim_10": (ViM(10), lambda v: v["vim_10"]),
}


@pytest.mark.parametrize("name", CASES)
def test_reference_values(name, values, test_outputs, fitting):
    score, wanted = CASES[name]
    score.fit(fitting[0], *fitting[1])
    close(score(test_outputs), wanted(values))


def test_statistics_of_references(values, fitting):
    vim = ViM(6).fit(fitting[0], *fitting[1])
    np.testing.assert_allclose(vim.statistic("scale"), values["vim_6_alpha"], rtol=1e-5)
    score = Mahalanobis().fit(fitting[0], *fitting[1])
    whitening = score.statistic("whitening").numpy().astype(np.float64)
    np.testing.assert_allclose(
        np.linalg.inv(whitening @ whitening.T), values["tied_covariance"], rtol=1e-4, atol=1e-5
    )


def test_kl_has_the_direction_from_the_uniform():
    # KL(U || p) of (0.7, 0.1, 0.1, 0.1) is 0.429813 nats; the other direction is 0.445846.
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.25] * 4], np.float32)
    found = KLToUniform()({"logits": np.log(p)})
    np.testing.assert_allclose(found, [-0.429813, 0.0], atol=1e-6)


def test_confident_softmax_keeps_its_order():
    logits = np.array([[30.0, 0.0, 1.0], [40.0, 0.0, 1.0], [60.0, 0.0, 1.0]], np.float32)
    found = MaxSoftmax()({"logits": logits}).numpy()
    exact = 1.0 / (1.0 + np.exp([30.0, 40.0, 60.0]) / (1.0 + np.e))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert found[0] > found[1] > found[2] > 0.0  # 1 - max softmax would be 0 for all


def test_mahalanobis_of_a_normal_is_chi_squared():
    # For N(0, I) in d dimensions the mean is d, its standard error sqrt(2 d / N): 4 of them.
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((20_000, 8)), rng.standard_normal((20_000, 8))
    score = Mahalanobis(1).fit({"features": train})
    assert abs(np.mean(score({"features": test})) - 8.0) < 4 * np.sqrt(2 * 8 / 20_000) * np.sqrt(2)
    far = score({"features": test[:100] + 5.0})
    assert np.min(far) > 8.0 + 5.0  # larger is further


def test_mahalanobis_does_not_cancel_far_from_the_origin(fitting):
    features = fitting[0]["features"].astype(np.float64)
    labels = fitting[1][0]
    near = Mahalanobis().fit({"features": features}, labels)({"features": features})
    moved = features + 1000.0
    far = Mahalanobis().fit({"features": moved}, labels)({"features": moved})
    np.testing.assert_allclose(far, near, rtol=1e-2)  # the inputs are rounded to 6e-5 themselves


def test_mahalanobis_ignores_what_does_not_vary(fitting):
    features, labels = fitting[0]["features"], fitting[1][0]
    wide = np.concatenate([features, np.full((len(features), 2), 3.0, np.float32)], axis=1)
    found = Mahalanobis().fit({"features": wide}, labels)({"features": wide})
    close(found, Mahalanobis().fit({"features": features}, labels)({"features": features}).numpy())


def test_k_means_finds_classes_that_lie_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.standard_normal((90, 4)) + 50.0 * np.eye(4)[labels]
    by_class = Mahalanobis().fit({"features": features}, labels)
    by_cluster = Mahalanobis(3).fit({"features": features})
    np.testing.assert_allclose(
        by_cluster({"features": features}), by_class({"features": features}), rtol=1e-4
    )


def test_vim_of_a_last_layer_whose_classes_sum_to_nothing():
    rng = np.random.default_rng(5)
    features = rng.standard_normal((80, 6)).astype(np.float32)
    kernel, bias = rng.standard_normal((6, 3)), rng.standard_normal(3)
    kernel -= kernel.mean(axis=1, keepdims=True)  # as softmax and weight decay leave it
    head = Head(kernel.astype(np.float32), bias.astype(np.float32))
    outputs = {"features": features, "logits": features @ head.kernel + head.bias}
    origin = ViM(2).fit(outputs, head=head).statistic("origin").numpy()
    # The smallest point whose logits are as near to 0 as they can be: alike.
    exact = -np.linalg.lstsq(kernel.T, bias - bias.mean(), rcond=1e-9)[0]
    np.testing.assert_allclose(origin, exact, atol=1e-4)


def test_knn_tells_small_distances():
    angles = np.array([0.0, 1e-4, 2e-4, 1.0])
    bank = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = KNN(1).fit({"features": bank[:1].repeat(2, axis=0)})({"features": bank})
    np.testing.assert_allclose(found, 2 * np.sin(angles / 2), rtol=1e-4, atol=1e-9)


def test_knn_keeps_no_more_than_it_may(fitting):
    score = KNN(3, most=50).fit(fitting[0])
    assert score.statistic("bank").shape == (50, 12)
    again = KNN(3, most=50).fit(fitting[0])
    np.testing.assert_array_equal(score.statistic("bank"), again.statistic("bank"))


def energy(features, head):
    logits = np.asarray(features, np.float64) @ head.kernel + head.bias
    return -scipy.special.logsumexp(logits, axis=1)


def test_react_is_the_energy_of_cut_features(fitting, test_outputs):
    most = np.percentile(fitting[0]["features"], 80.0)
    score = ReAct(80.0).fit(fitting[0], *fitting[1])
    cut = np.minimum(test_outputs["features"], most)
    close(score(test_outputs), energy(cut, fitting[1][1]))


def shaped(features, kind, kept):
    """ASH, image by image."""
    rows = []
    for row in np.asarray(features, np.float64):
        order = np.argsort(-row, stable=True)[:kept]  # of equal ones the first
        new = np.zeros_like(row)
        new[order] = row[order] if kind != "binarize" else row.sum() / kept
        rows.append(new * np.exp(row.sum() / row[order].sum()) if kind == "scale" else new)
    return np.stack(rows)


@pytest.mark.parametrize("kind", ASH.KINDS)
def test_ash_is_the_energy_of_pruned_features(kind, fitting, test_outputs):
    outputs = {"features": np.abs(test_outputs["features"])}
    train = {"features": np.abs(fitting[0]["features"])}
    score = ASH(65.0, kind).fit(train, *fitting[1])
    close(score(outputs), energy(shaped(outputs["features"], kind, 12 - 8), fitting[1][1]))


@pytest.fixture(scope="module")
def tiny_network(values):
    """The reference's: conv 3x3, softplus, 2x2 mean pool, flatten (channels first), linear."""
    kernel = tf.constant(values["odin/weights/0.weight"].transpose(2, 3, 1, 0))
    bias = tf.constant(values["odin/weights/0.bias"])
    dense = tf.constant(values["odin/weights/4.weight"].T)

    def logits_of(images):
        x = tf.nn.softplus(tf.nn.conv2d(images, kernel, 1, "SAME") + bias)
        x = tf.transpose(tf.nn.avg_pool2d(x, 2, 2, "VALID"), [0, 3, 1, 2])
        return tf.reshape(x, [tf.shape(x)[0], -1]) @ dense + values["odin/weights/4.bias"]

    return logits_of, tf.constant(values["odin/images"].transpose(0, 2, 3, 1))


@pytest.mark.parametrize("temperature", [1, 10, 1000])
@pytest.mark.parametrize("epsilon", [0.0014, 0.02])
def test_odin_reference(temperature, epsilon, values, tiny_network):
    logits_of, images = tiny_network
    close(logits_of(images), values["odin/logits"])
    name = f"odin/T{temperature}_eps{epsilon}"
    score = ODIN(temperature, epsilon).bind(logits_of)
    close(score({"images": images}), values[name] + 1.0)
    if f"{name}/perturbed" in values:
        wanted = values[f"{name}/perturbed"].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(score.perturbed(images), wanted, atol=1e-6)


def test_odin_with_standard_deviations(values, tiny_network):
    logits_of, images = tiny_network
    score = ODIN(10, 0.02, std=values["odin/std"]).bind(logits_of)
    close(score({"images": images}), values["odin/T10_eps0.02_std"] + 1.0)


def test_the_dirichlet_is_the_most_likely_one():
    rng = np.random.default_rng(0)
    exact = np.array([[0.4, 2.0, 7.0], [30.0, 1.0, 0.2]])
    log_p = np.log(np.stack([rng.dirichlet(row, 20_000) for row in exact], axis=1))
    found = dirichlet_of(log_p)
    np.testing.assert_allclose(found, exact, rtol=0.06)  # about 4 standard errors
    # The gradient of the likelihood vanishes there.
    total = scipy.special.digamma(found.sum(axis=1, keepdims=True))
    gradient = total - scipy.special.digamma(found) + log_p.mean(axis=0)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)


def test_normality_by_its_formula():
    rng = np.random.default_rng(0)
    train, test = (
        3.0 * np.eye(4) + scale * rng.standard_normal((90, 4, 4)) for scale in (0.5, 2.0)
    )
    score = DirichletNormality("rotation").fit({"ssl_rotation": train})
    assert score.name == "dirichlet_rotation"
    alpha = dirichlet_of(scipy.special.log_softmax(train, axis=-1))
    log_p = scipy.special.log_softmax(test, axis=-1)
    wanted = -np.mean([((alpha[k] - 1) * log_p[:, k]).sum(axis=1) for k in range(4)], axis=0)
    close(score({"ssl_rotation": test}), wanted)
    assert np.mean(score({"ssl_rotation": test})) > np.mean(score({"ssl_rotation": train}))


def test_distances_of_levels_by_their_formula():
    rng = np.random.default_rng(1)
    train, test = (rng.standard_normal((60, 3, 3)) + np.eye(3) for _ in range(2))
    score = TransformationDistance("blur").fit({"ssl_blur": train})
    centres = train.mean(axis=0)
    wanted = np.zeros(60)
    for k in range(3):
        squared = ((test[:, k, None] - centres) ** 2).sum(axis=2)
        wanted -= scipy.special.log_softmax(-squared, axis=1)[:, k]
    close(score({"ssl_blur": test}), wanted)


def fitted(fitting):
    scores = [Mahalanobis(), Mahalanobis(2, True, name="ssd"), KNN(4), ViM(6), ReAct(), Energy(3.0)]
    return [score.fit(fitting[0], *fitting[1]) for score in scores]


def test_what_was_fitted_is_saved_with_a_model(fitting, test_outputs, tmp_path):
    features = keras.Input((12,), name="features")
    logits = keras.Input((6,), name="logits")
    inputs = {"features": features, "logits": logits}
    model = keras.Model(inputs, [score(inputs) for score in fitted(fitting)])
    model.save(tmp_path / "scores.keras")
    again = keras.models.load_model(tmp_path / "scores.keras")
    inputs = {name: tf.constant(value) for name, value in test_outputs.items()}
    for found, wanted in zip(again(inputs), model(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not again.trainable_variables


def test_a_configuration_has_the_shapes_and_no_values(fitting):
    for score in fitted(fitting):
        again = type(score).from_config(score.get_config())
        again.build()
        assert [w.shape for w in again.weights] == [w.shape for w in score.weights]
        again.set_weights(score.get_weights())


def test_fitting_again_starts_anew(fitting, test_outputs):
    score = KNN(4)
    score.build()
    score.fit({"features": fitting[0]["features"][:20]})
    first = score(test_outputs)
    score.fit(fitting[0])
    assert len(score.weights) == 1
    assert np.all(score(test_outputs) <= first)
    close(score(test_outputs), KNN(4).fit(fitting[0])(test_outputs).numpy())


def test_half_precision_outputs_are_scored_in_float32(values, fitting):
    logits = values["logits"].astype(np.float16)
    found = Energy(dtype="mixed_float16")({"logits": logits})
    assert found.dtype == tf.float32
    close(found, -scipy.special.logsumexp(logits.astype(np.float64), axis=1))


def test_mistakes_are_one_sentence(fitting):
    outputs, (labels, head) = fitting
    features = outputs["features"]
    broken = features.copy()
    broken[3, 2] = np.nan
    for score, given, rest, words in (
        (KNN(), {"logits": features}, (), "needs features; the outputs hold logits"),
        (KNN(), {"features": broken}, (), "NaN or infinity"),
        (KNN(500), {"features": features}, (), "500th neighbour among 240"),
        (KNN(1), {"features": features[:1]}, (), "at least 2 images"),
        (Mahalanobis(), {"features": features}, (), "needs the classes"),
        (Mahalanobis(), {"features": features}, (labels[:5],), "one integer an image"),
        (Mahalanobis(1), {"features": np.ones((9, 2))}, (), "do not vary"),
        (ViM(12), outputs, (labels, head), "leaves no residual"),
        (ViM(6), outputs, (labels, None), "needs the last dense layer"),
        (DirichletNormality("x"), {"ssl_x": np.zeros((9, 2, 3))}, (), "takes logits .* of 'x'"),
        (DirichletNormality("x"), {"ssl_x": np.zeros((9, 2, 2))}, (), "the same for all images"),
        (ASH(), {"features": features - 1.0}, (labels, head), "negative in part"),
    ):
        with pytest.raises(DataError, match=words):
            score.fit(given, *rest)
    with pytest.raises(UserError, match="'knn' is not fitted"):
        KNN()({"features": features})
    with pytest.raises(UserError, match="needs the network itself"):
        ODIN()({"images": np.zeros((1, 2, 2, 1), np.float32)})
    with pytest.raises(DataError, match="of 1 class"):
        MaxSoftmax()({"logits": np.zeros((3, 1), np.float32)})
    for make in (
        lambda: Energy(0.0),
        lambda: KNN(0),
        lambda: KNN(5, most=4),
        lambda: ASH(kind="x"),
        lambda: ODIN(std=[0.0]),
        lambda: ReAct(101.0),
        lambda: Mahalanobis(0),
        lambda: ViM(0),
    ):
        with pytest.raises(ConfigError):
            make()


@pytest.mark.slow
def test_every_score_of_outputs_goes_to_every_runtime(fitting, tmp_path):
    features, logits = keras.Input((12,), name="features"), keras.Input((6,), name="logits")
    inputs = {"features": features, "logits": logits}
    scores = [*fitted(fitting), MaxSoftmax(), MaxLogit(), KLToUniform(), Entropy()]
    scores += [
        ASH(kind=kind, name=f"ash_{kind}").fit(fitting[0], *fitting[1]) for kind in ASH.KINDS
    ]
    model = keras.Model(inputs, {score.name: score(inputs) for score in scores})
    formats = ("saved_model", "litert_float32", "onnx")
    reports = export_all(model, tmp_path, name="scores", formats=formats)
    assert len(reports) == 3  # each was compared with the model
