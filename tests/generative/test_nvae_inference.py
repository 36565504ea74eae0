"""What a trained NVAE is asked: draw, encode, reconstruct, score, edit; live and folded."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import KINDS, draw_images, normals, shaken_nvae

from tfgen.generative.nvae import FrozenNVAE

SEEDS = tf.constant([3, 1, 4], tf.int32)


class Subject:
    """A model, its folded copy, and some images."""

    def __init__(self, kind):
        self.model = shaken_nvae(**KINDS[kind])
        self.frozen = self.model.frozen()
        self.images = tf.constant(draw_images(self.model, 3))
        self.noise = normals(self.model, 3)


@pytest.fixture(scope="module", params=KINDS)
def subject(request):
    return Subject(request.param)


@pytest.fixture(scope="module", params=["live", "folded"])
def generator(request, subject):
    return subject.model if request.param == "live" else subject.frozen


def assert_close(actual, expected, rtol=1e-4):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


class TestShapes:
    def test_noise(self, generator):
        spec = generator.noise_spec(5)
        assert list(spec) == generator.groups
        assert {s.distribution for s in spec.values()} == {"normal"}
        assert sum(np.prod(s.shape[1:]) for s in spec.values()) == generator.latent_dims
        assert all(s.shape[0] == 5 for s in spec.values())
        assert all(s.shape[0] is None for s in generator.noise_spec().values())
        noise = generator.draw_noise(SEEDS)
        assert {k: v.shape[1:] for k, v in noise.items()} == generator.latent_shapes

    def test_images(self, subject, generator):
        for images in (
            generator.generate(subject.noise),
            generator.reconstruct(subject.images),
            generator.decode(generator.encode(subject.images)),
        ):
            assert images.shape == subject.images.shape
            assert images.dtype == tf.float32
            assert np.all((images.numpy() >= 0) & (images.numpy() <= 1))

    def test_scores(self, subject, generator):
        scores = generator.negative_elbo(subject.images, SEEDS)
        assert {k: v.shape for k, v in scores.items()} == {"nelbo": (3,), "kl": (3,)}
        groups = generator.kl_per_group(subject.images, SEEDS)
        assert_close(tf.reduce_sum(groups, 1), scores["kl"])
        channels = generator.kl_per_channel(subject.images, SEEDS)
        assert_close(tf.reduce_sum(channels, 1), tf.reduce_mean(groups, 0))
        assert generator.log_weights(subject.images, SEEDS).shape == (3,)


class TestFolding:
    """The folded copy computes what the model computes."""

    def test_prior(self, subject):
        expected = subject.model.generate_head(subject.model.weights_view(), subject.noise)
        view = subject.frozen.weights_for_inference()
        assert_close(subject.frozen.generate_head(view, subject.noise), expected)

    def test_posterior(self, subject):
        noise = list(subject.noise.values())
        live, folded = (
            generator.posterior_pass(generator.weights_for_inference(), subject.images, noise)
            for generator in (subject.model, subject.frozen)
        )
        for name in ("latents", "kl", "log_q", "log_p", "kl_per_channel", "head"):
            for a, b in zip(*map(tf.nest.flatten, (getattr(folded, name), getattr(live, name)))):
                assert_close(a, b)

    def test_is_smaller_and_keeps_its_weights(self, subject):
        assert isinstance(subject.frozen, FrozenNVAE)
        expected = subject.frozen.generate(subject.noise)
        norms = subject.model.bank.scales.values()
        for scales in norms:
            scales.assign(scales * 1.5)
        changed = subject.model.generate(subject.noise)
        again = subject.frozen.generate(subject.noise)
        for scales in norms:
            scales.assign(scales / 1.5)
        np.testing.assert_array_equal(again, expected)
        assert np.any(np.abs(changed - expected) > 1e-3)


class TestReplay:
    def test_encoding_and_decoding_is_reconstructing(self, subject, generator):
        for seeds in (None, SEEDS):
            latents = generator.encode(subject.images, seeds)
            assert_close(
                generator.decode(latents), generator.reconstruct(subject.images, seeds), 1e-6
            )

    def test_posterior_latents_in_the_sampling_path_give_the_same_head(self, subject, generator):
        w = generator.weights_for_inference()
        result = generator.posterior_pass(w, subject.images, list(subject.noise.values()))
        head = generator.network.top_down(w, 3, lambda group, *_: result.latents[group])
        np.testing.assert_array_equal(head, result.head)

    def test_whitened_latents_are_the_noise_that_makes_them(self, subject, generator):
        latents = generator.encode(subject.images, SEEDS)
        noise = generator.whiten(latents)
        assert_close(generator.generate(noise), generator.decode(latents))

    def test_features_can_be_reused(self, subject, generator):
        features = generator.encoder_features(subject.images)
        np.testing.assert_array_equal(
            generator.log_weights(subject.images, SEEDS, features),
            generator.log_weights(subject.images, SEEDS),
        )

    def test_scores_replay(self, subject, generator):
        first, again = (generator.negative_elbo(subject.images, SEEDS) for _ in range(2))
        other = generator.negative_elbo(subject.images, SEEDS + 1)
        np.testing.assert_array_equal(first["nelbo"], again["nelbo"])
        assert np.all(first["nelbo"] != other["nelbo"])

    def test_each_image_is_scored_by_itself(self, subject, generator):
        together = generator.log_weights(subject.images, SEEDS)
        alone = generator.log_weights(subject.images[1:2], SEEDS[1:2])
        assert_close(alone[0], together[1], 1e-5)


class TestTemperature:
    def test_scales_the_noise(self, subject, generator):
        # sigma, the 0.01 in it included, is multiplied, and so the noise might have been.
        colder = {name: 0.6 * value for name, value in subject.noise.items()}
        images = generator.generate(subject.noise, 0.6)
        assert_close(images, generator.generate(colder), 1e-5)

    def test_per_group(self, subject, generator):
        factors = np.linspace(0.3, 0.9, len(generator.groups)).astype(np.float32)
        scaled = {n: f * v for f, (n, v) in zip(factors, subject.noise.items())}
        images = generator.generate(subject.noise, factors)
        assert_close(images, generator.generate(scaled), 1e-5)

    def test_zero_is_deterministic(self, subject, generator):
        other = normals(subject.model, 3, seed=1)
        first = generator.generate(subject.noise, 0.0)
        np.testing.assert_array_equal(first, generator.generate(other, 0.0))


class TestPixels:
    def test_drawing_the_image_too(self, subject, generator):
        spec = generator.noise_spec(2000, pixels=True)
        extra = {n: s for n, s in spec.items() if n not in generator.groups}
        assert {s.distribution for s in extra.values()} == {"uniform"}
        rng = np.random.default_rng(0)
        pixels = {n: tf.constant(rng.random(s.shape), tf.float32) for n, s in extra.items()}
        latents = {n: tf.repeat(v[:1], 2000, axis=0) for n, v in subject.noise.items()}
        w = generator.weights_for_inference()
        one = generator.generate_head(w, {n: v[:1] for n, v in subject.noise.items()})
        decoder = generator.image_decoder
        distribution = decoder.distribution(tf.repeat(one, 2000, axis=0))
        images = decoder.draw(distribution, pixels)
        few = generator.generate(
            {**{n: v[:3] for n, v in latents.items()}, **{n: v[:3] for n, v in pixels.items()}}
        )
        assert_close(few, images[:3])
        assert np.all((images.numpy() >= 0) & (images.numpy() <= 1))
        if decoder.kind == "bernoulli":
            mean = distribution.mean()[0].numpy()
            error = np.sqrt(mean * (1 - mean) / 2000)
            assert set(np.unique(images)) == {0.0, 1.0}
            # 96 pixels at six sigma: a false alarm in ten million seeds.
            assert np.all(np.abs(images.numpy().mean(0) - mean) <= 6 * error + 1e-6)


class TestEditing:
    def test_keeping_all_groups_is_reconstructing(self, subject, generator):
        images = generator.resample(subject.images, SEEDS, len(generator.groups))
        assert_close(images, generator.reconstruct(subject.images, SEEDS), 1e-6)

    def test_keeping_none_is_sampling(self, subject, generator):
        images = generator.resample(subject.images, SEEDS, 0)
        assert_close(images, generator.generate(generator.draw_noise(SEEDS)), 1e-5)

    def test_top_and_bottom_are_complements(self, subject, generator):
        count = len(generator.groups)
        everything = generator.resample(subject.images, SEEDS, count, which="top")
        assert_close(everything, generator.generate(generator.draw_noise(SEEDS)), 1e-5)
        nothing = generator.resample(subject.images, SEEDS, 0, which="top")
        assert_close(nothing, generator.reconstruct(subject.images, SEEDS), 1e-6)
        if count > 1:
            top = generator.resample(subject.images, SEEDS, 1, which="top")
            bottom = generator.resample(subject.images, SEEDS, 1, which="bottom")
            assert np.any(top != bottom)
        with pytest.raises(ValueError, match="'middle'; expected 'bottom' or 'top'"):
            generator.resample(subject.images, SEEDS, 1, which="middle")

    def test_interpolation_starts_and_ends_at_the_reconstructions(self, subject, generator):
        first, second = subject.images[:2], subject.images[1:]
        path = generator.interpolate(first, second, num_steps=3)
        assert path.shape == (2, 3, *generator.image_shape)
        assert_close(path[:, 0], generator.reconstruct(first), 1e-3)
        assert_close(path[:, -1], generator.reconstruct(second), 1e-3)

    def test_the_way_to_oneself_is_short(self, subject, generator):
        path = generator.interpolate(subject.images, subject.images, num_steps=3)
        assert_close(path[:, 1], generator.reconstruct(subject.images), 1e-3)


class TestTopDown:
    """The prior of a group knows what was drawn before it, and nothing else."""

    def walk(self, model, latents):
        """Raw prior parameters of every group, and the head."""
        priors = []

        def choose(group, loc_raw, log_scale_raw, _):
            priors.append((loc_raw.numpy(), log_scale_raw.numpy()))
            return latents[group]

        head = model.network.top_down(model.weights_view(), 3, choose)
        return priors, head.numpy()

    def test_later_latents_do_not_reach_earlier_priors(self, subject):
        latents = list(subject.noise.values())
        priors, head = self.walk(subject.model, latents)
        for group in range(len(latents)):
            changed = [z if k < group else z + 1.0 for k, z in enumerate(latents)]
            others, other_head = self.walk(subject.model, changed)
            for k in range(len(latents)):
                same = all(np.array_equal(a, b) for a, b in zip(priors[k], others[k]))
                # Everything from the second perturbed group on moves.
                assert same == (k <= group), (group, k)
            assert np.any(other_head != head)

    def test_images_reach_the_decoder_through_latents_only(self, subject):
        model = subject.model
        noise = list(subject.noise.values())
        drawn = [
            model.posterior_pass(model.weights_view(), images, noise).latents
            for images in (subject.images, 1.0 - subject.images)
        ]
        assert np.any(drawn[0][-1] != drawn[1][-1])
        first, second = (self.walk(model, drawn[0]) for _ in range(2))
        np.testing.assert_array_equal(first[1], second[1])

    def test_top_prior_is_slightly_wider_than_standard(self, subject):
        # Raw zeros through the clamp: N(0, 1.01^2).
        noise = subject.model.whiten({n: 1.01 * v for n, v in subject.noise.items()})
        assert_close(noise["z_0"], subject.noise["z_0"], 1e-6)


class TestLikelihood:
    def test_importance_weights_average_to_the_bound(self, subject):
        # log q - log p has mean KL; the flow leaves only the sample itself.
        model, count = subject.model, 400
        images = tf.repeat(subject.images[:1], count, axis=0)
        noise = list(normals(model, count, seed=2).values())

        @tf.function(autograph=False)
        def run():
            result = model.posterior_pass(model.weights_view(), images, noise)
            return result.log_q, result.log_p, result.kl

        log_q, log_p, kl = run()
        difference = (log_q - log_p - tf.reduce_sum(kl, 1)).numpy()
        scale = np.abs(log_q.numpy()).max()
        if model._options["num_flows"]:
            np.testing.assert_allclose(difference, 0.0, atol=1e-5 * scale)
        else:
            error = difference.std() / np.sqrt(count)
            assert abs(difference.mean()) < 5 * error  # fails by chance once in 2 million seeds
            assert np.all(kl.numpy() >= 0)

    def test_weights_and_bound_share_the_reconstruction(self, subject, generator):
        scores = generator.negative_elbo(subject.images, SEEDS)
        noise = list(generator.draw_noise(SEEDS).values())
        result = generator.posterior_pass(generator.weights_for_inference(), subject.images, noise)
        log_px = generator.image_decoder.log_prob(result.head, subject.images)
        assert_close(scores["nelbo"], tf.reduce_sum(result.kl, 1) - log_px)
        weights = generator.log_weights(subject.images, SEEDS)
        assert_close(weights, log_px + result.log_p - result.log_q)
