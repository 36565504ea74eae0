"""The classifier of a genotype: its losses, what is dropped and cut, what it serves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.search.unas import SearchedClassifier
from tfgen.search.unas.classifier import cut_out, genotype_of
from tfgen.search.unas.genotypes import GENOTYPES
from tfgen.training import strategy_from_name

NODE = [[["skip", 0], ["max_pool_3x3", 1]]]
CELLS = {"normal": NODE, "reduction": NODE}


def classifier(**options):
    sizes = {"num_channels": 2, "num_cells": 3}
    options = {"image_shape": (8, 8, 3), "num_classes": 4, "network": sizes, **options}
    model = SearchedClassifier(CELLS, **options)
    model.build()
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def batch(num=6, shape=(8, 8, 3)):
    rng = np.random.default_rng(0)
    return {"images": rng.random((num, *shape)).astype(np.float32), "labels": np.arange(num) % 4}


class TestLoss:
    """By hand."""

    def test_label_smoothing_is_cross_entropy_with_smoothed_labels(self):
        model = classifier(label_smoothing=0.2)
        logits = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)
        labels = tf.constant([0, 1, 2, 3, 0])
        smoothed = 0.8 * tf.one_hot(labels, 4) + 0.05
        expected = -tf.reduce_sum(smoothed * tf.nn.log_softmax(logits), axis=1)
        np.testing.assert_allclose(model._cross_entropies(labels, logits), expected, rtol=1e-5)

    def test_auxiliary_head_counts_with_its_weight_and_is_not_served(self):
        data = {k: tf.constant(v) for k, v in batch(shape=(32, 32, 3)).items()}
        losses = []
        for weight in (0.4, 0.8):
            model = classifier(image_shape=(32, 32, 3), auxiliary_weight=weight)
            output = model.training_loss(data)
            losses.append(float(output.loss - output.logs["cross_entropy"]))
        assert losses[1] == pytest.approx(2 * losses[0], rel=1e-5)
        assert not any("auxiliary" in layer.name for layer in model.served.layers)
        assert set(model.signatures()["predict"].function(**{"images": data["images"]})) == {
            "logits",
            "probabilities",
        }

    def test_gradients_are_clipped_and_then_penalised(self):
        data = {k: tf.constant(v) for k, v in batch().items()}
        model = classifier(clip_norm=1e-3)
        _, clipped = model.compute_gradients(data)
        np.testing.assert_allclose(tf.linalg.global_norm(clipped), 1e-3, rtol=1e-4)
        model.weight_penalty = 0.5
        _, both = model.compute_gradients(data)
        for before, after, variable in zip(clipped, both, model.trainable_variables):
            np.testing.assert_allclose(after - before, 0.5 * variable.numpy(), atol=1e-6)

    def test_statistics_wait_for_a_step_that_counts(self):
        model = classifier()
        before = [v.numpy() for v in model.network.non_trainable_variables]
        data = batch()
        output = model.training_loss({k: tf.constant(v) for k, v in data.items()})
        for variable, value in zip(model.network.non_trainable_variables, before):
            np.testing.assert_array_equal(variable.numpy(), value)
        assert len(output.updates) == len(before)
        model.train_on_batch(data)
        changed = [
            not np.array_equal(v.numpy(), b)
            for v, b in zip(model.network.non_trainable_variables, before)
        ]
        assert all(changed)

    def test_drop_path_rises_to_its_share_at_the_last_step(self):
        model = classifier(drop_path=0.4, total_steps=5)
        shares = []
        for _ in range(6):
            shares.append(float(model.drops[0].share.numpy()))
            model.train_on_batch(batch())
        np.testing.assert_allclose(shares, [0.0, 0.1, 0.2, 0.3, 0.4, 0.4], atol=1e-6)

    @pytest.mark.slow
    def test_a_tiny_set_is_learned(self):
        model = classifier(clip_norm=5.0)
        model.compile(keras.optimizers.Adam(3e-2), jit_compile=False)
        data = tf.data.Dataset.from_tensors(batch()).repeat()
        model.fit(data, steps_per_epoch=60, verbose=0)
        logs = model.evaluate(**{"x": batch()["images"], "y": batch()["labels"]}, verbose=0)
        assert logs[1] == 1.0  # accuracy


class TestReplicas:
    """Batch norms see their own replica's images: of equal halves each has what the whole has."""

    def trained(self, strategy, images, steps=3):
        with strategy.scope():
            sizes = {"num_channels": 2, "num_cells": 3}
            model = SearchedClassifier(CELLS, (8, 8, 3), 4, sizes, clip_norm=1e9)
            model.build()
            model.compile(keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
        data = {"images": images, "labels": np.arange(len(images)) % 4}
        dataset = tf.data.Dataset.from_tensors(data).repeat()
        losses = model.fit(dataset, steps_per_epoch=steps, verbose=0).history["loss"]
        return losses, model.get_weights()

    @pytest.mark.slow
    def test_two_make_the_steps_of_one(self):
        images = np.tile(batch(4)["images"], (2, 1, 1, 1))  # rebatching halves it in the middle
        strategies = (tf.distribute.get_strategy(), strategy_from_name("mirrored"))
        (loss, one), (mirrored_loss, two) = (self.trained(s, images) for s in strategies)
        np.testing.assert_allclose(mirrored_loss, loss, rtol=1e-5)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class TestPrecision:
    """Kernels and statistics stay in float32, logits too; a step goes down all the same."""

    @pytest.mark.parametrize(
        "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
    )
    def test_mixed(self, policy):
        sizes = {"num_channels": 2, "num_cells": 3}
        model = SearchedClassifier(CELLS, (8, 8, 3), 4, sizes, dtype=policy)
        optimizer = keras.optimizers.SGD(0.1)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
        model.compile(optimizer, run_eagerly=True)
        losses = [float(model.train_on_batch(batch(), return_dict=True)["loss"]) for _ in range(8)]
        assert losses[-1] < losses[0]
        assert {str(v.dtype) for v in model.network.weights} == {"float32"}
        assert model(batch()["images"]).dtype == tf.float32


class TestCutOut:
    """Squares of zeros."""

    def test_squares_are_of_the_size_unless_over_the_edge(self):
        images = tf.ones((400, 8, 8, 1))
        zeros = 1.0 - cut_out(images, 4, (1, 2)).numpy()[..., 0]
        rows, columns = zeros.max(axis=2).sum(axis=1), zeros.max(axis=1).sum(axis=1)
        np.testing.assert_array_equal(zeros.sum(axis=(1, 2)), rows * columns)
        assert set(rows) == {2.0, 3.0, 4.0}
        assert set(zip(rows, columns)) == {(a, b) for a in (2, 3, 4) for b in (2, 3, 4)}
        # Every pixel is a centre alike; 400 draws of probability 1/8, five standard deviations.
        centre = zeros[:, 4].max(axis=1).mean()
        assert centre == pytest.approx(0.5, abs=5 * 0.025)


class TestGenotypes:
    """By name and by what was written."""

    def test_comes_back(self):
        for name, genotype in GENOTYPES.items():
            assert genotype_of(name) == genotype_of(genotype.to_config()) == genotype

    def test_what_is_none_is_said(self):
        with pytest.raises(ConfigError, match="genotype is 'unas'"):
            SearchedClassifier("unas")
        with pytest.raises(ConfigError, match="expected 'normal' and 'reduction' cells"):
            SearchedClassifier({"normal": NODE})
        with pytest.raises(ConfigError, match="belong to networks of cells"):
            SearchedClassifier("unas_proxyless", drop_path=0.1)
        with pytest.raises(ConfigError, match="a size of the network is 'width'"):
            SearchedClassifier(CELLS, network={"width": 1.0})
        with pytest.raises(ConfigError, match="pixel_mean has 2 numbers and images have 3"):
            SearchedClassifier(CELLS, pixel_mean=[0.1, 0.2])
        with pytest.raises(DataError, match="expected 0 to 3"):
            classifier().train_on_batch(batch() | {"labels": np.arange(6)})

    def test_weights_follow_from_the_seed(self):
        first, same, other = (classifier(seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, same))
        assert not all(np.array_equal(a, b) for a, b in zip(first, other))
