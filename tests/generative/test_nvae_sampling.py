"""What an NVAE takes, its decoder's statistics and its samples, however they are computed."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import draw_images, shaken_nvae

from tfgen.errors import DataError
from tfgen.generative.nvae import NVAE
from tfgen.layers import LiveWeights
from tfgen.training import strategy_from_name

SEEDS = tf.constant([3, 1, 4], tf.int32)


class TestPadding:
    def test_blank_head_scores_all_pixels_of_the_centre(self):
        decoder = NVAE().image_decoder
        images = np.random.default_rng(0).integers(0, 2, (2, 28, 28, 1)).astype(np.float32)
        log_px = decoder.log_prob(tf.zeros((2, 32, 32, 1)), images)
        np.testing.assert_allclose(-log_px, 543.4274, atol=1e-3)

    def test_what_the_head_says_about_padding_does_not_matter(self):
        decoder = NVAE().image_decoder
        head = np.random.default_rng(0).standard_normal((1, 32, 32, 1)).astype(np.float32)
        images = np.ones((1, 28, 28, 1), np.float32)
        expected = decoder.log_prob(tf.constant(head), images)
        head[:, :2], head[:, -2:], head[:, :, :2], head[:, :, -2:] = 1e4, -1e4, np.nan, 7.0
        np.testing.assert_array_equal(decoder.log_prob(tf.constant(head), images), expected)

    def test_images_may_come_padded(self):
        model = shaken_nvae(image_shape=(8, 8, 1), padding=2, num_scales=1)
        images = tf.constant(draw_images(model, 3))
        padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]])
        first, second = (model.negative_elbo(x, SEEDS)["nelbo"] for x in (images, padded))
        np.testing.assert_array_equal(first, second)
        assert model.reconstruct(padded).shape == images.shape


@pytest.mark.parametrize("shape", [(2, 9, 8, 1), (2, 8, 8, 3), (8, 8, 1), (2, 16, 16, 1)])
def test_images_of_another_shape_are_refused(shape):
    model = shaken_nvae(num_scales=1, num_groups=1)
    with pytest.raises(DataError, match=r"this model takes \[batch, 8, 8, 1\] with values in"):
        model.negative_elbo(np.zeros(shape, np.float32), [1, 2])


def test_an_empty_batch_is_refused():
    model = shaken_nvae(num_scales=1, num_groups=1)
    for use in (
        lambda: model.generate(model.draw_noise(np.zeros([0], np.int32))),
        lambda: model.reconstruct(np.zeros((0, 8, 8, 1), np.float32)),
        lambda: model.negative_elbo(np.zeros((0, 8, 8, 1), np.float32), []),
        lambda: model.training_loss({"images": tf.zeros((0, 8, 8, 1))}),
    ):
        with pytest.raises(DataError, match="the batch is empty; give at least one image"):
            use()


class TestRecalibration:
    @pytest.fixture(scope="class")
    def norms(self):
        """A model; (channels, row) of the norms of its decoder and of its encoder."""
        from tfgen.generative.nvae.official import named_parts
        from tfgen.layers import BatchNorm

        model = shaken_nvae(num_scales=1)
        rows = {True: [], False: []}
        for name, part in named_parts(model.network):
            if isinstance(part, BatchNorm):
                rows[name.startswith(("dec_tower", "post_process"))].append(part)
        assert len(rows[True]) + len(rows[False]) == model.bank.num_batch_norms
        return model, rows[True], rows[False]

    def test_decoder_statistics_converge_and_the_encoders_stay(self, norms):
        model, decoder, encoder = norms

        def statistics(parts):
            kinds = (model.bank.means, model.bank.variances)
            return [kind[p.channels].numpy()[p.row] for p in parts for kind in kinds]

        old, kept = statistics(decoder), statistics(encoder)
        # At temperature zero every pass has the same statistics m: old + (1 - .95^n)(m - old).
        model.recalibrate_batch_norm(temperature=0.0, num_passes=1, batch_size=3)
        once = statistics(decoder)
        model.recalibrate_batch_norm(temperature=0.0, num_passes=2, batch_size=3)
        thrice = statistics(decoder)
        for a, b, c in zip(old, once, thrice):
            m = a + (b - a) / 0.05
            expected = a + (1 - 0.95**3) * (m - a)
            np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-4 * np.abs(m).max())
        for a, b in zip(kept, statistics(encoder)):
            np.testing.assert_array_equal(a, b)

    def test_it_is_seeded_and_changes_samples(self, norms):
        model, *_ = norms
        before, weights = model.sample(2), model.get_weights()
        results = []
        for seed in (1, 1, 2):
            model.set_weights(weights)
            model.recalibrate_batch_norm(0.7, num_passes=2, batch_size=4, seed=seed)
            results.append(model.sample(2))
        np.testing.assert_array_equal(results[0], results[1])
        assert np.any(results[0] != results[2])
        assert np.any(results[0] != before)


class TestSampling:
    """Image k of a seed is the same however and wherever it is computed, to 1e-5."""

    @pytest.fixture(scope="class")
    def sampled(self):
        model = shaken_nvae()
        return model, model.sample(64, seed=11)

    def test_batching(self, sampled):
        model, images = sampled
        for count, batch_size in ((64, 17), (5, 1), (30, 30)):
            again = model.sample(count, seed=11, batch_size=batch_size)
            np.testing.assert_allclose(again, images[:count], atol=1e-5)
        assert np.abs(model.sample(5, seed=12) - images[:5]).max() > 1e-2

    def test_replayed_noise(self, sampled):
        model, images = sampled
        noise = model.draw_noise(model.seeds_for(5, 11))
        for generator in (model, model.frozen()):
            np.testing.assert_allclose(generator.generate(noise), images[:5], atol=1e-5)

    def test_two_devices(self, sampled):
        model, images = sampled
        strategy = strategy_from_name("mirrored")
        seeds = model.seeds_for(8, 11)
        frozen = model.frozen()
        halves = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(seeds[4 * c.replica_id_in_sync_group :][:4])
        )
        run = tf.function(frozen.generate_from_seeds, autograph=False)
        parts = strategy.experimental_local_results(strategy.run(run, (halves,)))
        assert len(parts) == 2
        np.testing.assert_allclose(np.concatenate(parts), images[:8], atol=1e-5)

    def test_temperatures(self, sampled):
        model, images = sampled
        cold = model.sample(4, temperature=0.5, seed=11)
        assert np.abs(cold - images[:4]).max() > 1e-2
        same = model.sample(4, temperature=[0.5] * 3, seed=11)
        np.testing.assert_allclose(same, cold, atol=1e-6)

    def test_sampling_sees_todays_weights(self, sampled):
        model, images = sampled
        bias = model.bank.biases[1]
        bias.assign_add(tf.ones(bias.shape))
        assert np.all(model.sample(2, seed=11) > images[:2])
        bias.assign_sub(tf.ones(bias.shape))
        np.testing.assert_allclose(model.sample(2, seed=11), images[:2], atol=1e-5)


def test_weights_of_a_pass_are_inference_mode_unless_asked():
    model = shaken_nvae(num_scales=1, num_groups=1)
    assert isinstance(model.weights_for_inference(), LiveWeights)
    assert not model.weights_for_inference().training
    images = tf.constant(draw_images(model, 2))
    np.testing.assert_array_equal(model(images), model.reconstruct(images))
    assert np.any(model(images, training=True) != model.reconstruct(images))
