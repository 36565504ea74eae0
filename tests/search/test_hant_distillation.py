"""Phase 1: candidates learn their layers, alone; the library; scores by swap."""

import os

import keras
import numpy as np
import pytest
import small_networks
import tensorflow as tf
from keras import layers

from tfgen.errors import CheckpointError, ConfigError, DataError, UserError
from tfgen.search.hant import distillation
from tfgen.search.hant.batch_norm import reestimate
from tfgen.search.hant.distillation import distil, relative_error
from tfgen.search.hant.library import Library
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.pool import make_operation
from tfgen.search.hant.scores import score_swaps

POOL = [
    {"family": "teacher"},
    {"family": "identity"},
    {"family": "cb_res", "kernel": 1},
    {"family": "separable", "kernel": 3},
]
RNG = np.random.default_rng(0)
IMAGES = RNG.random((48, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 5, 48)


@pytest.fixture(scope="module")
def network():
    """A layer that can be left out, and one that changes the shape."""
    return CutNetwork(small_networks.mobile(widths=(4, 6), squeeze=False))


@pytest.fixture(scope="module")
def trained(network, tmp_path_factory):
    """A library of all candidates, and the network's weights before it was made."""
    before = [v.numpy().copy() for v in network.network.variables]
    library, told = Library(tmp_path_factory.mktemp("library"), network, POOL), []
    distil(
        library,
        IMAGES,
        epochs=8,
        batch_size=16,
        learning_rate=0.02,
        report=lambda *counts: told.append(counts),
    )
    assert told == [(4, 4)]
    return library, before


class TestError:
    def test_zeros_and_itself(self):
        wanted = tf.constant(RNG.standard_normal((3, 4)), tf.float32)
        assert relative_error(wanted, wanted) == 0.0
        assert relative_error(wanted, tf.zeros_like(wanted)) == 1.0
        np.testing.assert_allclose(relative_error(wanted, 3 * wanted), 4.0, rtol=1e-6)

    def test_identity_misses_by_what_the_block_adds(self, network):
        features = network.features()(IMAGES, training=False)
        added = features[1] - features[0]
        expected = np.sum(np.square(added)) / np.sum(np.square(features[1]))
        np.testing.assert_allclose(relative_error(features[1], features[0]), expected, rtol=1e-5)


class TestTraining:
    @pytest.mark.parametrize("family", ["separable", "repvgg"])
    def test_the_start_has_the_scale_of_the_layer(self, network, family):
        """Of a layer that changes the shape; others start as their input."""
        features = network.features()(IMAGES, training=False)
        made = [
            make_operation({"family": family, "kernel": 3}, network.segments[k]) for k in (0, 1)
        ]
        for number, model in enumerate(made):
            distillation.match_scale(model, features[number + 1].numpy())
        start = made[1](features[1], training=True).numpy()
        wanted = features[2].numpy()
        np.testing.assert_allclose(start.mean((0, 1, 2)), wanted.mean((0, 1, 2)), atol=1e-2)
        ratio = start.std((0, 1, 2)) / wanted.std((0, 1, 2))
        assert np.all((ratio > 0.4) & (ratio < 2.0))
        if family == "separable":
            np.testing.assert_allclose(made[0](features[0], training=True), features[0], atol=1e-6)

    def test_the_network_stays_as_it_was(self, trained):
        library, before = trained
        for variable, value in zip(library.network.network.variables, before):
            np.testing.assert_array_equal(variable, value)

    def test_candidates_learn(self, trained):
        library, _ = trained
        features = library.network.features()(IMAGES, training=False)
        for number in range(2):
            fresh = library.fresh(number, "separable_k3")
            start = relative_error(features[number + 1], fresh(features[number]))
            assert library.error(number, "separable_k3") < 0.8 * float(start)

    def test_no_gradient_crosses_layers(self, network):
        """Nor reaches the network."""
        a, b = (network.layer(k) for k in (0, 1))
        models = [keras.models.clone_model(model) for model in (a, b)]
        features = distillation._compiled(network.features())
        with tf.GradientTape(persistent=True) as tape:
            found = features(tf.constant(IMAGES[:4]))
            error = relative_error(found[1], models[0](found[0], training=True))
        own = [v.value for v in models[0].trainable_variables]
        assert all(g is not None for g in tape.gradient(error, own))
        others = [*models[1].trainable_variables, *network.network.trainable_variables]
        assert all(g is None for g in tape.gradient(error, [v.value for v in others]))

    def test_groups_and_order_change_nothing_but_rounding(self, trained, network, tmp_path):
        library, _ = trained
        alone = Library(tmp_path, network, POOL[:3])
        distil(alone, IMAGES, epochs=8, batch_size=16, learning_rate=0.02, at_once=3)
        for number in range(2):
            for x, y in zip(
                alone.candidate(number, "cb_res_k1").get_weights(),
                library.candidate(number, "cb_res_k1").get_weights(),
            ):
                np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)

    @pytest.mark.slow
    def test_a_linear_layer_is_recovered(self, tmp_path):
        """A pointwise convolution by one as wide."""
        x = images = keras.Input((4, 4, 3), name="images")
        for k in range(3):
            x = layers.Conv2D(3, 1, name=f"c{k}")(x)
        y = layers.GlobalAveragePooling2D()(x)
        network = CutNetwork(keras.Model(images, layers.Dense(2)(y)), ["c0", "c1"])
        model = keras.Sequential([layers.Input((4, 4, 3)), layers.Conv2D(3, 1)])
        group = distillation._Group(
            distillation._compiled(network.features()),
            [0],
            [model],
            distillation._schedule(0.1, 1000),
        )
        x = tf.constant(RNG.standard_normal((64, 4, 4, 3)), tf.float32)
        assert group.train(lambda epoch: [x], 1000) < 1e-4

    def test_datasets_and_too_few_images(self, network, tmp_path):
        library = Library(tmp_path / "a", network, POOL[2:3])
        distil(library, tf.data.Dataset.from_tensor_slices((IMAGES[:8], LABELS[:8])).batch(4))
        assert len(library.entries) == 2
        distil(Library(tmp_path / "b", network, POOL[:2]), IMAGES[:1])
        for nothing in (IMAGES[:0], tf.data.Dataset.from_tensor_slices(IMAGES[:0]).batch(4)):
            with pytest.raises(DataError, match="there are no images"):
                distil(library, nothing)


class TestLibrary:
    def test_resumed(self, trained, network, monkeypatch):
        library, _ = trained
        again = Library(library.folder, network, [*POOL, {"family": "cb_res", "kernel": 3}])
        assert again.missing() == [(k, "cb_res_k3") for k in range(2)]
        entries, trainings = dict(again.entries), []

        def stopped(group, batches, epochs):
            trainings.append(group)
            if len(trainings) == 2:
                raise KeyboardInterrupt
            return np.zeros(len(group.models))

        monkeypatch.setattr(distillation._Group, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            distil(again, IMAGES, at_once=1)
        read = Library(library.folder, network, again.operations.values())
        assert set(read.entries) - set(entries) == {"block0_add/cb_res_k3"}
        assert read.missing() == [(1, "cb_res_k3")]
        read.candidate(0, "cb_res_k3")

    def test_candidates_come_back(self, trained, network):
        library, _ = trained
        read = Library(library.folder, network, POOL)
        x = network.features()(IMAGES[:2], training=False)[1]
        for name in ("separable_k3", "cb_res_k1"):
            one, other = (each.candidate(1, name) for each in (library, read))
            np.testing.assert_array_equal(one(x), other(x))
        assert read.candidate(0, "identity") is None
        with pytest.raises(UserError, match="efn_k3 is not trained for layer 1; distil it first"):
            Library(library.folder, network, [{"family": "efn", "kernel": 3}]).candidate(
                1, "efn_k3"
            )

    def test_another_network_or_setting(self, trained, network):
        library, _ = trained
        other = small_networks.mobile(widths=(4, 6), squeeze=False)
        other = CutNetwork(small_networks.randomized(other, 1))
        with pytest.raises(UserError, match=r"holds candidates of network = .*; name another fold"):
            Library(library.folder, other, POOL)
        with pytest.raises(UserError, match="activation = 'relu', and 'swish' is asked for"):
            Library(library.folder, network, POOL, activation="swish")
        with pytest.raises(UserError, match="epochs = None, and 3 is asked for"):
            Library(library.folder, network, POOL, settings={"epochs": 3})

    def test_damage(self, trained, network, tmp_path):
        (tmp_path / "manifest.json").write_text("[]")
        with pytest.raises(UserError, match=r"manifest\.json"):
            Library(tmp_path, network, POOL)
        library = Library(tmp_path / "own", network, POOL[2:3])
        library.add(0, "cb_res_k1", library.fresh(0, "cb_res_k1"), 0.5)
        file = library._file("block0_add/cb_res_k1")
        os.truncate(file, 100)
        with pytest.raises(CheckpointError, match="truncated"):
            library.candidate(0, "cb_res_k1")

    def test_one_that_failed(self, network, tmp_path):
        library = Library(tmp_path, network, POOL[1:3])
        for number in range(2):
            error = np.nan if number == 1 else 0.1
            library.add(number, "cb_res_k1", library.fresh(number, "cb_res_k1"), error)
        read = Library(tmp_path, network, POOL[1:3])
        assert read.error(1, "cb_res_k1") == np.inf
        with pytest.raises(UserError, match="the pool lacks the layers themselves; add"):
            score_swaps(read, IMAGES)
        read = Library(tmp_path, network, POOL[:3])
        assert score_swaps(read, IMAGES)[1][2] == np.inf

    def test_the_same_seed_draws_the_same_candidate(self, trained):
        library, _ = trained
        one, other, third = (library.fresh(0, "cb_res_k1", seed) for seed in (1, 1, 2))
        for x, y in zip(one.get_weights(), other.get_weights()):
            np.testing.assert_array_equal(x, y)
        assert not np.array_equal(one.get_weights()[0], third.get_weights()[0])


class TestBatchNorm:
    def test_statistics_are_those_of_the_data(self):
        network = small_networks.residual(num_blocks=1)
        before = [v.numpy() for v in network.trainable_variables]
        norm = network.get_layer("b0a_bn")
        inside = keras.Model(network.input, norm.input)
        # Of one batch the layers before have its own statistics, as in training.
        reestimate(network, [IMAGES])
        y = inside(IMAGES, training=False).numpy()
        np.testing.assert_allclose(norm.moving_mean, y.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, y.var((0, 1, 2)), rtol=1e-3)
        assert norm.momentum == 0.99
        for variable, value in zip(network.trainable_variables, before):
            np.testing.assert_array_equal(variable, value)
        np.testing.assert_allclose(
            network(IMAGES, training=False), network(IMAGES, training=True), rtol=1e-3, atol=1e-4
        )

    def test_the_mean_of_batches(self):
        network = small_networks.residual(num_blocks=1)
        norm, found = network.get_layer("stem_bn"), []
        for batch in (IMAGES[:16], IMAGES[16:24]):
            reestimate(network, [batch])
            found.append(norm.moving_mean.numpy())
        reestimate(network, [IMAGES[:16], IMAGES[16:24]])
        np.testing.assert_allclose(norm.moving_mean, np.mean(found, axis=0), rtol=1e-6)
        with pytest.raises(DataError, match="there are no images"):
            reestimate(network, [])


class TestScores:
    def whole(self, library, number, name):
        """The network with one layer replaced, built as a whole."""
        plan = ["teacher"] * 2
        plan[number] = name
        return library.assemble(plan)(IMAGES, training=False)

    @pytest.mark.parametrize(
        ("measure", "number", "place"), [("kl", 0, 1), ("loss", 1, 3), ("accuracy", 0, 1)]
    )
    def test_against_whole_networks(self, trained, measure, number, place):
        library, _ = trained
        found = score_swaps(library, IMAGES, LABELS, measure, batch_size=20)
        assert [len(row) for row in found] == [4] * 2
        assert found[1][1] == np.inf  # which changes the shape
        teacher = tf.nn.log_softmax(library.network.network(IMAGES)).numpy()
        names = list(library.operations)
        changed = tf.nn.log_softmax(self.whole(library, number, names[place])).numpy()
        expected = {
            "kl": np.sum(np.exp(teacher) * (teacher - changed), axis=1).mean(),
            "loss": (teacher - changed)[np.arange(48), LABELS].mean(),
            "accuracy": np.mean(teacher.argmax(1) == LABELS) - np.mean(changed.argmax(1) == LABELS),
        }[measure]
        assert abs(expected) > 1e-5 or measure == "accuracy"
        assert found[number][place] == pytest.approx(expected, rel=2e-3, abs=1e-7)
        assert all(row[0] == 0.0 for row in found)
        assert measure != "kl" or all((row[np.isfinite(row)] >= -1e-7).all() for row in found)

    def test_around_another_network(self, trained):
        library, _ = trained
        found = score_swaps(library, IMAGES, LABELS, "loss", around=["cb_res_k1", "teacher"])
        names = list(library.operations)
        assert found[0][2] == 0.0
        assert found[1][0] == 0.0

        def loss(plan):
            log_p = tf.nn.log_softmax(library.assemble(plan)(IMAGES, training=False)).numpy()
            return -log_p[np.arange(48), LABELS].mean()

        here = loss(["cb_res_k1", "teacher"])
        for number, place in ((0, 0), (0, 1), (1, 3)):
            plan = ["cb_res_k1", "teacher"]
            plan[number] = names[place]
            assert found[number][place] == pytest.approx(loss(plan) - here, rel=2e-3, abs=1e-6)

    def test_kept_and_only_for_the_same_images(self, trained, monkeypatch):
        from tfgen.search.hant import scores

        library, _ = trained
        first = score_swaps(library, IMAGES)
        monkeypatch.setattr(scores._Scoring, "_score", lambda *x: pytest.fail("scored again"))
        again = score_swaps(library, IMAGES)
        for x, y in zip(first, again):
            np.testing.assert_array_equal(x, y)
        monkeypatch.setattr(scores._Scoring, "_score", lambda *x: 7.0)
        assert score_swaps(library, IMAGES[:9])[0][1] == 7.0

    def test_softmax_outputs(self, tmp_path):
        inner = small_networks.residual(num_blocks=1)
        outer = keras.Model(inner.input, layers.Activation("softmax")(inner.output))
        found = [
            score_swaps(Library(tmp_path / name, CutNetwork(model), POOL[:2]), IMAGES)[0][1]
            for name, model in (("logits", inner), ("probabilities", outer))
        ]
        assert found[1] == pytest.approx(found[0], rel=1e-3)
        assert found[0] > 1e-5

    def test_refusals(self, trained):
        library, _ = trained
        with pytest.raises(ConfigError, match="measure is 'mse'; expected one of kl, loss"):
            score_swaps(library, IMAGES, measure="mse")
        with pytest.raises(ConfigError, match="the measure 'loss' needs labels"):
            score_swaps(library, IMAGES, measure="loss")
        with pytest.raises(DataError, match="there are 3 labels of 48 images"):
            score_swaps(library, IMAGES, LABELS[:3], "loss")
        with pytest.raises(DataError, match="there are no images"):
            score_swaps(library, IMAGES[:0])
