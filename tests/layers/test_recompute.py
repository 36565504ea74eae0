"""Recomputation changes memory, not numbers; data-dependent initialisation standardises outputs."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.generative.nvae import NVAE
from tfgen.layers import DataDependentWeights, LiveWeights, ParameterBank

TINY = dict(
    image_shape=(8, 8, 1),
    padding=0,
    num_channels=4,
    num_scales=1,
    num_groups=2,
    latent_channels=3,
    encoder_cells=1,
    decoder_cells=1,
    preprocess_blocks=1,
    preprocess_cells=1,
    postprocess_blocks=1,
    postprocess_cells=1,
)


def _loss_gradients_statistics(model, images):
    @tf.function(autograph=False)
    def run(images):
        with tf.GradientTape() as tape:
            loss, _, updates, _ = model.training_loss(images)
        return (
            loss,
            tape.gradient(loss, [v.value for v in model.trainable_variables]),
            [value for _, value in updates],
        )

    return tf.nest.map_structure(lambda t: t.numpy(), run(images))


@pytest.mark.parametrize(
    "architecture", [pytest.param("res_mbconv", marks=pytest.mark.slow), "res_elu"]
)
def test_recomputed_cells_give_the_same_loss_gradients_and_statistics(architecture):
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    results = []
    for recompute in (False, True):
        model = NVAE(**TINY, architecture=architecture, recompute=recompute, seed=1)
        model.build()
        results.append(_loss_gradients_statistics(model, images))
    kept, again = (tf.nest.flatten(result) for result in results)
    for a, b in zip(kept, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_data_dependent_initialisation_gives_mean_zero_and_deviation_a_fifth():
    bank = ParameterBank()
    convs = [bank.conv(3, 6, 3), bank.conv(6, 6, 3)]
    other = bank.conv(6, 6, 3)
    bank.build()
    before = bank.log_gains[other.stack].numpy()[other.row]
    x = 4 + 3 * np.random.default_rng(0).standard_normal((64, 8, 8, 3)).astype(np.float32)
    view = DataDependentWeights(bank, convs)
    view.conv(other, tf.nn.elu(view.conv(convs[1], tf.nn.elu(view.conv(convs[0], x)))))
    live = LiveWeights(bank)
    hidden = live.conv(convs[0], x)
    for y in (hidden, live.conv(convs[1], tf.nn.elu(hidden))):
        mean, variance = tf.nn.moments(y, [0, 1, 2])
        np.testing.assert_allclose(mean, np.zeros(6), atol=1e-4)
        np.testing.assert_allclose(tf.sqrt(variance), np.full(6, 0.2), rtol=1e-3)
    np.testing.assert_array_equal(bank.log_gains[other.stack].numpy()[other.row], before)


def test_only_architectures_without_batch_norm_are_initialised_from_data():
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    for architecture, changes in (("res_elu", True), ("res_bnswish", False)):
        model = NVAE(**TINY, architecture=architecture)
        model.build()
        before = [v.numpy() for v in model.trainable_variables]
        model.initialize_from_data(images)
        equal = [np.array_equal(a, v.numpy()) for a, v in zip(before, model.trainable_variables)]
        assert all(equal) is not changes
