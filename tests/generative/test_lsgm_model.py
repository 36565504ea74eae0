"""LSGM as a model: what it is where nothing is learned, what it learns, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from dense_vae import DenseVAE
from tiny_nvae import draw_images, normals, shaken_nvae
from toy_vae import ToyVAE, ring_images

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.generative.lsgm import LSGM, ScoreUNet
from tfgen.generative.lsgm.inference import normal_cross_entropy
from tfgen.generative.lsgm.latents import JoinedLatents, whitened
from tfgen.samplers.diffusion import flow_log_prob
from tfgen.training import CheckpointManager, JointOptimizer
from tfgen.training.averages import averaged_weights, moving_averages

MLP = dict(width=32, num_blocks=2, embedding_dims=16)
UNET = dict(num_channels=8, multipliers=(1,), num_blocks=1, embedding_dims=8)
RK45 = {"name": "rk45"}
DPM = {"name": "dpm_solver", "num_steps": 4}
SEEDS = tf.range(4)


def toy(dims=2, **options):
    return LSGM(ToyVAE(dims=dims), MLP, sampler=options.pop("sampler", DPM), **options)


def over_nvae(**options):
    """Over two grids, of which the smaller has the diffusion."""
    vae = shaken_nvae(num_scales=2, num_groups=2, ada_groups=False)
    return LSGM(vae, UNET, **{"sampler": DPM, **options})


def disturbed(model, logit=0.0):
    """With a prior that is no Normal."""
    model.build()
    rng = np.random.default_rng(3)
    for variable in model.network.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    model.mixing_logit.assign(tf.fill(model.mixing_logit.shape, logit))
    return model


@pytest.fixture(scope="module")
def nvae_model():
    return disturbed(over_nvae())


class TestWithoutNetworkItIsTheVAE:
    """Where alpha is nought, the ODE is the identity and the prior a Normal."""

    def test_samples(self):
        model = toy(mixing_logit=-60.0, sampler=RK45)
        noise = normals(model, 5)
        np.testing.assert_allclose(model.generate(noise), model.vae.generate(noise), atol=1e-4)

    def test_noise_of_images(self):
        model = over_nvae(mixing_logit=-60.0, sampler={"name": "ddim", "num_steps": 1})
        images = draw_images(model.vae, 2)
        noise, known = model.encode_noise(images), model.vae.whiten(model.vae.encode(images))
        assert noise.keys() == known.keys()
        for name in ("z_2", "z_3"):  # of the larger grid, which has no diffusion
            np.testing.assert_allclose(noise[name], known[name], atol=1e-3)
        again = model.generate(noise)
        np.testing.assert_allclose(again, model.reconstruct(images), atol=1e-3)

    def test_importance_weights(self):
        """The ODE leaves a Normal a Normal, so that they are those of the VAE."""
        model, images = toy(mixing_logit=-60.0), ring_images(5)
        seeds = tf.range(5)
        walk = model.vae.walk_posterior(images, model.vae.draw_noise(seeds))
        own = walk.log_px + walk.log_p - walk.log_q
        found = tf.function(model.log_weights, autograph=False)(images, seeds)
        np.testing.assert_allclose(found, own, atol=2e-3)

    def test_bound(self):
        """Image by image: nothing is left to draw, the cut-off costs 2.2e-5 nat a latent."""
        model = toy(mixing_logit=-60.0)
        images, seeds = ring_images(50), tf.range(50)
        ours, own = (m.negative_elbo(images, seeds)["nelbo"] for m in (model, model.vae))
        walk = model.vae.walk_posterior(images, model.vae.draw_noise(seeds))
        squares = tf.reduce_sum(tf.square(model.joined.join(whitened(walk))), 1)
        # sigma^2 at the cut-off where the bound starts, and what is no Normal yet at t = 1.
        cost = 0.5 * 0.00199301 * (2.0 - squares) + 2 * 2.2e-5
        np.testing.assert_allclose(ours - own, cost, atol=2e-4)


class TestNoiseOfDensities:
    def test_is_what_probes_leave(self):
        """One degree of freedom a state: over 64 a deviation of 18 %, of which 5 are allowed."""
        model = disturbed(toy(20))
        images = tf.random.stateless_normal([64, 1, 20, 1], (1, 2))
        z = tf.reshape(images, [64, 20])
        density = flow_log_prob(
            model.sde, model.ready().predict, z, seeds=tf.range(64), num_probes=32
        )
        known = 32 * np.mean(np.square(density.standard_error))
        found = tf.function(model.density_variance, autograph=False)(images, tf.range(100, 164))
        assert found.shape == (64,)
        assert known > 1e-4
        assert abs(np.mean(found) / known - 1) < 5 * 0.18

    def test_falls_with_probes_and_is_nought_where_nothing_is_drawn(self):
        one, four = (disturbed(toy(20, num_density_probes=count)) for count in (1, 4))
        images = tf.random.stateless_normal([64, 1, 20, 1], (1, 2))
        first, second = (
            float(tf.reduce_mean(model.frozen().density_variance(images, tf.range(64))))
            for model in (one, four)
        )
        assert 2 < first / second < 8  # 4 but for chance
        few = disturbed(toy(2))
        np.testing.assert_array_equal(few.density_variance(ring_images(3), tf.range(3)), 0.0)


class TestInference:
    def test_frozen_form_says_the_same(self, nvae_model):
        frozen, noise = nvae_model.frozen(), normals(nvae_model, 2)
        images = draw_images(nvae_model.vae, 2)
        np.testing.assert_allclose(frozen.generate(noise), nvae_model.generate(noise), atol=2e-4)
        for name, value in nvae_model.negative_elbo(images, SEEDS[:2]).items():
            other = frozen.negative_elbo(images, SEEDS[:2])[name]
            np.testing.assert_allclose(other, value, rtol=1e-3)

    def test_groups_add_up(self, nvae_model):
        images = draw_images(nvae_model.vae, 2)
        kl = nvae_model.kl_per_group(images, SEEDS[:2])
        whole = nvae_model.negative_elbo(images, SEEDS[:2])["kl"]
        assert kl.shape == (2, 4)
        np.testing.assert_allclose(tf.reduce_sum(kl, 1), whole, rtol=1e-5)
        # The groups of the larger grid keep the VAE's prior.
        own = nvae_model.vae.kl_per_group(images, SEEDS[:2])
        np.testing.assert_allclose(kl[:, 2:], own[:, 2:], rtol=1e-5)
        assert np.abs(kl[:, :2] - own[:, :2]).min() > 0

    def test_there_and_back(self):
        sampler = {"name": "dpm_solver", "num_steps": 200, "end": 0.01}
        model, images = disturbed(toy(sampler=sampler), -2.0), ring_images(5)

        @tf.function(autograph=False)
        def there_and_back():
            noise = model.encode_noise(images)
            return noise["z_0"], model.generate(noise)

        noise, again = there_and_back()
        assert np.abs(noise - images[:, 0, :, 0]).max() > 0.02
        np.testing.assert_allclose(again, images, atol=0.01)

    def test_counts_evaluations(self, nvae_model):
        noise = normals(nvae_model, 2)
        assert nvae_model.generate_with_count(noise)[1].numpy().tolist() == [4, 4]

    def test_a_solver_that_draws_has_noise_of_its_own(self, nvae_model):
        nvae_model.set_sampler({"name": "ancestral", "num_steps": 3})
        assert nvae_model.noise_spec(5)["solver"].shape == (5, 3, 2, 2, 6)
        one, many = (nvae_model.sample(2, seed=1, batch_size=size) for size in (1, 2))
        np.testing.assert_allclose(one, many, atol=1e-5)
        with pytest.raises(UserError, match="draws noise"):
            nvae_model.encode_noise(draw_images(nvae_model.vae, 1))
        nvae_model.set_sampler(DPM)


ROWS = np.random.default_rng(2).standard_normal((8, 1, 4, 1)).astype(np.float32)


def own(**options):
    """Over a VAE of one's own."""
    return LSGM(DenseVAE(), MLP, sampler=DPM, **options)


class TestTraining:
    @pytest.mark.parametrize("options", [{}, dict(algorithm=2, weighting="un")])
    @pytest.mark.parametrize("make", [own, over_nvae])
    def test_the_vae_does_not_move_the_prior(self, make, options):
        """The prior follows its own loss alone, the VAE the rest of the bound as well."""
        model = disturbed(make(**options))
        images = ROWS[:3] if make is own else draw_images(model.vae, 3)
        with tf.GradientTape(persistent=True) as tape:
            output = model.training_loss({"images": images})
        prior = [v.value for v in model.variable_groups()["prior"]]
        whole, of_prior = (
            tape.gradient(loss, prior) for loss in (output.loss, output.logs["prior_loss"])
        )
        for a, b in zip(whole, of_prior):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        of_vae = tape.gradient(output.loss, [v.value for v in model.vae.trainable_variables])
        assert all(np.isfinite(g).all() for g in of_vae)

    def test_warms_up(self):
        model = own(kl_initial=0.7, total_steps=100, kl_warmup_fraction=0.1)
        found = [float(model.kl_coefficient(step)) for step in (0, 5, 10, 100)]
        np.testing.assert_allclose(found, [0.7, 0.85, 1.0, 1.0])
        assert float(own(kl_initial=0.7).kl_coefficient(0)) == 1.0

    def test_parts_have_optimizers_of_their_own_and_the_prior_averages(self):
        model = own()
        prior = keras.optimizers.AdamW(1e-3, use_ema=True, weight_decay=0.5)
        model.compile(JointOptimizer({"prior": prior, "vae": keras.optimizers.Adam(0.0)}))
        model.build()
        before = [v.numpy() for v in model.vae.trainable_variables]
        model.fit(ROWS, batch_size=4, epochs=1, verbose=0)
        for a, b in zip(before, model.vae.trainable_variables):
            np.testing.assert_array_equal(a, b.numpy())
        averaged = {id(weight) for weight, _ in moving_averages(model)}
        assert averaged == {id(v) for v in model.variable_groups()["prior"]}
        # Weight decay would have moved it by a thousandth of itself.
        assert np.abs(model.mixing_logit.numpy() + 6.0).max() < 2.5e-3

    def test_the_vae_may_see_the_average_of_the_prior(self):
        options = dict(algorithm=2, weighting="un", mixing_logit=0.0)
        model = own(vae_sees_average=True, **options)
        ema = dict(use_ema=True, ema_momentum=0.5)
        parts = {"prior": keras.optimizers.Adam(0.1, **ema), "vae": keras.optimizers.Adam(0.0)}
        model.compile(JointOptimizer(parts))
        model.build()
        for rows in np.split(ROWS, 2):
            model.train_on_batch(rows)

        def losses(model):
            logs = model.training_loss({"images": ROWS}).logs
            return [float(logs[name]) for name in ("cross_entropy", "prior_loss")]

        averaged, prior = losses(model)
        with tf.GradientTape() as tape:
            loss = model.training_loss({"images": ROWS}).loss
        logit = tape.gradient(loss, model.mixing_logit.value)  # of the weights, not the average
        model._options["vae_sees_average"] = False
        plain, same = losses(model)
        assert prior == same
        assert abs(averaged - plain) > 1e-3
        with tf.GradientTape() as tape:
            loss = model.training_loss({"images": ROWS}).loss
        np.testing.assert_allclose(logit, tape.gradient(loss, model.mixing_logit.value), rtol=1e-5)
        with averaged_weights(model):
            np.testing.assert_allclose(losses(model)[0], averaged, rtol=1e-5)

    def test_without_an_average_the_vae_cannot_see_it(self):
        model = own(vae_sees_average=True, algorithm=2, weighting="un")
        model.compile("adam")
        with pytest.raises(ConfigError, match="keeps averages"):
            model.fit(ROWS, verbose=0)

    def test_a_frozen_vae_stays(self):
        model = own(train_vae=False, spectral_coefficient=0.1)
        model.compile(keras.optimizers.Adam(1e-3))
        model.build()
        before = [w.numpy() for w in model.vae.weights]
        logs = model.fit(ROWS, batch_size=4, verbose=0).history
        for a, b in zip(before, model.vae.weights, strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        assert model.num_parameters == model.num_score_parameters
        assert logs["regularization"][0] > 0

    def test_runs_begun_before_channels_were_chosen_go_on(self, tmp_path):
        model, again = toy(), toy()
        for one in (model, again):
            one.build()
            one.compile(keras.optimizers.Adam(1e-3))
        model.fit(ring_images(8), batch_size=8, epochs=1, verbose=0)
        manager = CheckpointManager(tmp_path)
        path = manager.save(model)
        tensors, note = read_tensors(path)
        del tensors["training/channels_chosen"]
        write_tensors(path, tensors, note)
        manager.restore(again)
        assert int(again.train_steps.numpy()) == int(model.train_steps.numpy()) > 0

    def test_resumes_exactly(self, tmp_path):
        def fresh():
            model = own()
            parts = {"prior": keras.optimizers.AdamW(1e-2, use_ema=True), "vae": "adam"}
            model.compile(JointOptimizer(parts))
            model.build()
            model.build_optimizer()
            return model

        def train(model, batches):
            for rows in batches:
                model.train_on_batch(rows)

        batches = np.split(ROWS, 4)
        whole, second = fresh(), fresh()
        train(whole, batches[:2])
        CheckpointManager(tmp_path).save(whole)
        train(whole, batches[2:])
        CheckpointManager(tmp_path).restore(second)
        train(second, batches[2:])
        states = [[*m.weights, *m.optimizer.variables] for m in (whole, second)]
        for a, b in zip(*states, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)

    @pytest.mark.slow
    def test_learns_a_ring(self):
        """Latents on a ring, which no Normal fits: the bound gains, and samples lie on the ring."""
        model = toy(train_vae=False, mixing_logit=0.0, sampler={"name": "heun", "num_steps": 20})
        latents = model.encode_latents([ring_images(4000)])
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, 1000)))
        fitted = model.fit({"latents": latents}, batch_size=200, epochs=50, verbose=0)
        assert np.isfinite(fitted.history["loss"]).all()
        held_out = ring_images(1000, seed=1).reshape(-1, 2)
        found = model.evaluate({"latents": held_out}, batch_size=500, verbose=0, return_dict=True)
        normal = float(tf.reduce_mean(normal_cross_entropy(tf.constant(held_out))))
        truth = np.log(2 * np.pi * 1.5 * 0.2) + 0.5 * np.log(2 * np.pi * np.e)
        assert truth - 0.15 < found["cross_entropy"] < normal - 0.3
        images = model.sample(1000, batch_size=500)
        radius = np.sort(np.linalg.norm(images.reshape(-1, 2), axis=1))
        # Of a Normal it would be 1.18, and the middle four fifths reach from 0.46 to 2.15.
        assert abs(radius[500] - 1.5) < 0.1
        assert radius[100] > 1.0
        assert radius[900] < 2.0


class TestEncoding:
    def test_latents_are_those_of_the_smallest_grid_whitened(self, nvae_model):
        images = draw_images(nvae_model.vae, 3)
        latents = nvae_model.encode_latents([images[:2], {"images": images[2:]}], 2)
        assert latents.shape == (6, 2, 2, 6)
        assert np.isfinite(latents).all()
        assert np.abs(latents[:2] - latents[2:4]).max() > 0  # two draws of the same images

    def test_refuses_latents_far_from_a_normal(self):
        model = toy(train_vae=False)
        with pytest.raises(DataError, match="mean square 100"):
            model.encode_latents([10.0 * np.ones((4, 1, 2, 1), np.float32)])
        with pytest.raises(DataError, match="is empty"):
            model.encode_latents([])
        model.compile("adam")
        with pytest.raises(DataError, match="hold NaN"):
            model.fit({"latents": np.full((4, 2), np.nan, np.float32)})

    def test_channels_that_carry_nothing_are_left_to_the_normal(self):
        model = disturbed(over_nvae())
        images = draw_images(model.vae, 4)
        seeds = model.seeds_for(4)
        kl = model.vae.kl_per_channel(images, seeds).numpy()[:2].ravel()
        middle = float(np.median(kl))
        assert model.deactivate_channels(images, threshold=middle) == int(np.sum(kl <= middle))
        np.testing.assert_array_equal(model.active.numpy(), kl > middle)
        alpha = model.alpha().numpy()
        assert alpha[kl <= middle].max() < 1e-6 < 0.4 < alpha[kl > middle].min()

    def test_training_begins_by_leaving_them(self):
        """Once: what goes on later keeps to it."""
        data = {"images": draw_images(shaken_nvae(num_scales=2, ada_groups=False), 8)}

        def begun(model, threshold):
            model._options["inactive_below"] = threshold
            model.before_fit(data)
            return model.active.numpy()

        model = over_nvae()
        np.testing.assert_array_equal(begun(model, None), 1.0)
        active = begun(model, 1e-3)
        np.testing.assert_array_equal(active, 1.0)
        np.testing.assert_array_equal(begun(model, 1e9), active)
        with pytest.raises(DataError, match="train the VAE first"):
            begun(untrained := over_nvae(), 1e9)
        np.testing.assert_array_equal(untrained.active, 1.0)  # nothing is changed
        kl = over_nvae().vae.kl_per_channel(data["images"], tf.range(8)).numpy()[:2]
        some = begun(over_nvae(), float(np.median(kl)))
        assert 0 < some.sum() < some.size


class TestAllGrids:
    """scope="all": larger grids join as blocks over the smallest."""

    def test_blocks_lie_where_they_were(self):
        shapes = {"z_0": (2, 3, 4), "z_1": (4, 6, 1), "z_2": (2, 3, 1)}
        joined = JoinedLatents.of(shapes, "all")
        groups = [tf.random.stateless_normal((5, *s), (0, 1)) for s in shapes.values()]
        whole = joined.join(groups)
        assert whole.shape == (5, *joined.shape) == (5, 2, 3, 9)
        np.testing.assert_array_equal(whole[:, 1, 2, 4:8], tf.reshape(groups[1][:, 2:, 4:], (5, 4)))
        for again, group in zip(joined.split(whole), groups):
            np.testing.assert_array_equal(again, group)

    def test_channels_are_known_by_their_group(self):
        joined = JoinedLatents.of({"z_0": (2, 2, 1), "z_1": (4, 4, 2)}, "all")
        constant = [tf.fill((1, 2, 2, 1), 7.0), tf.ones((1, 4, 4, 2)) * [1.0, 2.0]]
        known = np.concatenate(joined.channels_of([np.array([7.0]), np.array([1.0, 2.0])]))
        np.testing.assert_array_equal(joined.join(constant)[0, 0, 0], known)

    def test_its_prior_moves_every_group(self):
        model = disturbed(over_nvae(scope="all"))
        images = draw_images(model.vae, 2)
        own = model.vae.kl_per_group(images, SEEDS[:2])
        kl = model.kl_per_group(images, SEEDS[:2])
        assert kl.shape == own.shape
        assert np.abs(kl - own).min() > 0
        assert model.deactivate_channels(images, threshold=1e9) == model.joined.shape[-1]
        np.testing.assert_allclose(model.kl_per_group(images, SEEDS[:2]), own, atol=0.1)

    def test_what_does_not_divide_is_refused(self):
        with pytest.raises(ConfigError, match='take scope="smallest_grid"'):
            JoinedLatents.of({"z_0": (2, 2, 1), "z_1": (3, 3, 2)}, "all")
        with pytest.raises(ConfigError, match='take scope="smallest_grid"'):
            JoinedLatents.of({"z_0": (3,), "z_1": (2, 2, 1)}, "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(scope="some"), "scope is 'some'"),
        (dict(score_network=dict(width=3)), "score_network has no width"),
        (dict(score_network=ScoreUNet((2, 2, 6))), "the diffusion are"),
        (dict(score_network="unet"), "keyword arguments by name"),
        (dict(sampler="euler"), "solver 'euler' is unknown"),
        (dict(sde="brownian"), "sde 'brownian' is unknown"),
        (dict(weighting="re"), "choose algorithm 2 or 3"),
        (dict(prediction="score"), "prediction is 'score'"),
        (dict(inactive_below=-1.0), "inactive_below is -1.0"),
        (dict(kl_initial=2.0), "kl_initial is 2.0"),
        (dict(vae_sees_average=True), "goes with algorithm 2"),
        (dict(num_evaluation_times=0), "num_evaluation_times is 0"),
    ],
)
def test_refuses(options, message):
    vae = shaken_nvae()
    with pytest.raises(ConfigError, match=message):
        LSGM(vae, **{"score_network": UNET, **options})


def test_refuses_what_is_no_vae():
    with pytest.raises(ConfigError, match="without image_shape"):
        LSGM(keras.Sequential())
