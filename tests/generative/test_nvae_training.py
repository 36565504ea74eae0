"""Training an NVAE: the objective, the guard, resumption, precision, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets
from tiny_nvae import KINDS, draw_images, shaken_nvae, tiny_nvae

from tfgen.optimizers import Adamax
from tfgen.training import CheckpointManager, schedules, strategy_from_name


def expected_loss(model, images, noise, step):
    """The objective, term by term in float64, from one training-mode pass."""
    options = model._options
    view = model.weights_view(training=True)
    result = model.posterior_pass(view, images, noise)
    log_px = model.image_decoder.log_prob(result.head, images).numpy().astype(np.float64)
    kl = result.kl.numpy().astype(np.float64)
    total = options["total_steps"]
    beta = 1.0 if total is None else max(min((step - 1e-4 * total) / (0.3 * total), 1.0), 1e-4)
    gamma = np.ones(kl.shape[1])
    if beta < 1 and options["kl_balance"]:
        share = (np.abs(kl).mean(0) + 0.01) / model.alpha
        gamma = share * len(gamma) / share.sum()
    final, first = options["spectral_coefficient"], options["spectral_initial"]
    penalty = final if first is None else np.exp((1 - beta) * np.log(first) + beta * np.log(final))
    on_scales = options["batch_norm_coefficient"]
    on_scales = penalty if on_scales is None else on_scales
    bank = model.bank
    sigma = 0.0
    for name in bank.left:
        for matrix, right in zip(view.effective(name).numpy(), bank.right[name].numpy()):
            for _ in range(4):
                left = matrix @ right / np.linalg.norm(matrix @ right)
                right = left @ matrix / np.linalg.norm(left @ matrix)
            sigma += left @ matrix @ right
    scales = sum(np.abs(s.numpy()).max(1).sum() for s in bank.scales.values())
    return {
        "loss": np.mean(beta * kl @ gamma - log_px) + penalty * sigma + on_scales * scales,
        "nelbo": np.mean(kl.sum(1) - log_px),
        "reconstruction": -np.mean(log_px),
        "kl": np.mean(kl.sum(1)),
        "kl_coefficient": beta,
        "regularization": penalty * sigma + on_scales * scales,
        "kl_per_group": kl.mean(0),
    }


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({}, 0),
        ({"total_steps": 100}, 0),
        ({"total_steps": 100, "spectral_initial": 1.0}, 10),
        ({"total_steps": 100, "batch_norm_coefficient": 0.5, "kl_balance": None}, 10),
        ({"total_steps": 100, "kl_balance": "linear"}, 50),
        ({"spectral_coefficient": 0.0}, 7),
        (KINDS["mixture with flow"], 0),
    ],
)
def test_objective(options, step):
    model = shaken_nvae(**options)
    model.train_steps.assign(step)
    images = draw_images(model, 4)
    noise = model._training_noise(4)
    expected = expected_loss(model, images, noise, step)
    loss, logs, *_ = model.training_loss({"images": tf.constant(images)})
    assert logs.keys() == expected.keys() - {"loss"}
    for name, value in {**logs, "loss": loss}.items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-4, atol=1e-5, err_msg=name)


def test_noise_is_a_function_of_seed_and_step():
    model, twin, other = tiny_nvae(), tiny_nvae(), tiny_nvae(seed=1)
    first = model._training_noise(3)
    assert [n.shape for n in first] == [(3, *s) for s in model.network.latent_shapes]
    for a, b, c in zip(first, twin._training_noise(3), other._training_noise(3)):
        np.testing.assert_array_equal(a, b)
        assert np.all(a != c)
    assert np.all(first[1] != first[2])  # of one shape
    model.train_steps.assign(1)
    assert np.all(first[0] != model._training_noise(3)[0])


def test_annealing_ends_at_the_final_coefficient():
    model = tiny_nvae(spectral_initial=1.0, spectral_coefficient=0.01, total_steps=100)
    for beta, expected in ((0.25, 0.3162278), (0.5, 0.1), (1.0, 0.01)):
        np.testing.assert_allclose(
            model.regularization_coefficient(tf.constant(beta)), expected, rtol=1e-5
        )
    np.testing.assert_allclose(model.alpha, schedules.group_weights([1, 2]))


def test_scale_penalty_counts_the_batch_norms_at_the_start():
    model = tiny_nvae()
    model.build()
    assert float(model.bank.scale_penalty()) == model.bank.num_batch_norms


def weights_and_optimizer(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [(v.path, np.array(v.numpy())) for v in variables]


class Trained:
    """A vanilla model with its traced step, warm-up, annealing and loss scale."""

    def __init__(self, shift=0.0, **options):
        options = {
            "total_steps": 20,
            "spectral_initial": 1.0,
            "spectral_coefficient": 0.1,
        } | options
        self.model = tiny_nvae(num_scales=1, num_groups=1, **options)
        self.model.compile(Adamax(1e-2))
        self.model.make_train_function()
        for variable in self.model.bank.weights:
            variable.assign_add(tf.fill(variable.shape, shift))
        self.step = tf.function(self.model.train_step, autograph=False)

    def run(self, *batches):
        self.model.reset_metrics()
        for images in batches:
            logs = self.step({"images": tf.constant(images)})
        return {name: float(value) for name, value in logs.items()}


@pytest.fixture(scope="module")
def batches():
    model = tiny_nvae()
    return [draw_images(model, 4, seed) for seed in range(4)]


@pytest.fixture(
    scope="module",
    params=["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)],
)
def pair(request):
    """Two models that start from different weights."""
    return Trained(dtype=request.param), Trained(shift=0.5, dtype=request.param)


class TestResume:
    def test_two_and_two_steps_are_four(self, pair, batches, tmp_path):
        straight, resumed = pair
        bad = np.full_like(batches[0], np.nan)
        straight.run(batches[0], bad, batches[1])
        manager = CheckpointManager(tmp_path)
        manager.save(straight.model, {"epoch": 1})
        logs = straight.run(batches[2], batches[3])

        assert manager.restore(resumed.model) == {"epoch": 1}
        assert resumed.model.counters()["skipped_steps"] == 1
        assert resumed.run(batches[2], batches[3]) == logs
        expected = weights_and_optimizer(straight.model)
        actual = weights_and_optimizer(resumed.model)
        for (name, value), (_, other) in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(other, value, err_msg=name)
        # Among them singular vectors and statistics, all away from where they began.
        assert sum("singular" in name for name, _ in expected) > 10
        fresh = tiny_nvae(num_scales=1, num_groups=1)
        fresh.build()
        for mine, start in zip(straight.model.bank.weights, fresh.bank.weights):
            if mine.shape[-1] > 1:  # a unit vector of one element has nowhere to go
                assert np.any(mine.numpy() != start.numpy()), mine.path


class TestGuard:
    def test_a_bad_batch_changes_only_the_counters(self, pair, batches):
        trained, _ = pair
        logs = trained.run(batches[0])
        assert np.isfinite(logs["loss"])
        first = trained.model.counters()
        before = weights_and_optimizer(trained.model)
        for bad in (np.nan, np.inf):
            images = batches[1].copy()
            images[0, 0, 0, 0] = bad
            trained.run(images)
        after = weights_and_optimizer(trained.model)
        counters = ("train_steps", "skip", "dynamic_scale", "step_counter")
        for (name, value), (_, other) in zip(before, after, strict=True):
            if not any(word in name for word in counters):
                np.testing.assert_array_equal(other, value, err_msg=name)
        start = first["train_steps"]
        assert trained.model.counters() == {
            "train_steps": start + 2,
            "skipped_steps": first["skipped_steps"] + 2,
            "consecutive_skips": 2,
            "first_skipped_step": start,
            "last_skipped_step": start + 1,
        }
        assert np.isfinite(trained.run(batches[2])["loss"])
        assert trained.model.counters()["consecutive_skips"] == 0


class TestPrecision:
    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_half_precision_computes_about_the_same(self, policy):
        options = {"num_groups": 1}
        plain, half = shaken_nvae(**options), shaken_nvae(dtype=policy, **options)
        assert half.compute_dtype == policy.removeprefix("mixed_")
        assert {v.dtype for v in half.trainable_variables} == {"float32"}
        images = tf.constant(draw_images(plain, 8))
        for model in (plain, half):
            for variable, value in zip(model.bank.weights, plain.bank.weights, strict=True):
                np.testing.assert_array_equal(variable.numpy(), value.numpy())
        with tf.GradientTape() as tape:
            loss, logs, updates, _ = half.training_loss({"images": images})
        assert loss.dtype == tf.float32
        expected, expected_logs, *_ = plain.training_loss({"images": images})
        np.testing.assert_allclose(loss, expected, rtol=0.02)
        np.testing.assert_allclose(
            logs["kl_per_group"], expected_logs["kl_per_group"], rtol=0.05, atol=0.05
        )
        gradients = tape.gradient(loss, half.trainable_variables)
        assert all(g.dtype == tf.float32 and np.all(np.isfinite(g)) for g in gradients)
        assert all(np.all(np.isfinite(value)) for _, value in updates)

    @pytest.mark.parametrize("kind", ["mixture with flow", "vanilla in five bits"])
    def test_folded_copy_is_as_good_as_the_model(self, kind):
        plain, half = (shaken_nvae(**KINDS[kind], dtype=d) for d in ("float32", "mixed_bfloat16"))
        images = tf.constant(draw_images(plain, 2))
        expected = plain.negative_elbo(images, [1, 2])["nelbo"]
        for generator, tolerance in ((half, 0.03), (half.frozen(), 1e-5)):
            actual = generator.negative_elbo(images, [1, 2])["nelbo"]
            assert actual.dtype == tf.float32
            np.testing.assert_allclose(actual, expected, rtol=tolerance)
        # Sampling folds in float32 and computes in half.
        sampled = half.generate_from_seeds(tf.constant([1, 2]))
        assert sampled.dtype == tf.float32
        np.testing.assert_allclose(
            sampled, plain.generate_from_seeds(tf.constant([1, 2])), atol=0.05
        )


def binary_digits():
    images = datasets.load_digits().images[:16, :, :, None] / 16.0
    return np.round(images).astype(np.float32)


def test_overfits_sixteen_digits_but_not_beyond_their_entropy():
    images = binary_digits()
    assert len(np.unique(images.reshape(16, -1), axis=0)) == 16
    mean = images.mean(0)[(images.min(0) < 1) & (images.max(0) > 0)]
    independent_pixels = -np.sum(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    model = tiny_nvae(
        num_scales=1,
        num_groups=1,
        num_channels=8,
        architecture="res_bnswish",
        spectral_coefficient=0.0,
        total_steps=500,
    )
    model.compile(Adamax(0.03))
    data = tf.data.Dataset.from_tensors({"images": images}).repeat()
    history = model.fit(data, steps_per_epoch=100, epochs=5, verbose=0, shuffle=False).history
    assert history["reconstruction"][-1] < history["reconstruction"][0]
    logs = model.evaluate({"images": images}, batch_size=6, return_dict=True, verbose=0)
    for nelbo in (history["nelbo"][-1], logs["nelbo"]):
        # Beyond what knowing each pixel's mean would reach; but sixteen images that are equally
        # likely cannot be described in less than log 16 nats.
        assert np.log(16) <= nelbo < independent_pixels - 2


def test_evaluation_averages_over_images():
    model = shaken_nvae(num_scales=1, num_groups=1)
    model.compile()
    images = draw_images(model, 5)
    logs = model.evaluate({"images": images}, batch_size=5, return_dict=True, verbose=0)
    direct = model.evaluation_logs({"images": tf.constant(images)})
    for name in ("nelbo", "reconstruction", "kl"):
        np.testing.assert_allclose(logs[name], np.mean(direct[name]), rtol=1e-5)
    np.testing.assert_allclose(
        model.vector_logs(training=False)["kl_per_group"],
        np.mean(direct["kl_per_group"], 0),
        rtol=1e-5,
    )


def train_without_noise(model, images):
    """Two steps; replicas and XLA would draw other noise."""
    model._training_noise = lambda n: [tf.zeros((n, *s)) for s in model.network.latent_shapes]
    data = tf.data.Dataset.from_tensors({"images": images}).repeat()
    return model.fit(data, steps_per_epoch=2, epochs=1, verbose=0, shuffle=False).history


def assert_same_training(first, second):
    (model, history), (other, others) = first, second
    for name, values in history.items():
        # With replicas, the reported norm is the mean of their own.
        rtol = 2e-2 if name == "gradient_norm" else 1e-3
        np.testing.assert_allclose(others[name], values, rtol=rtol, err_msg=name)
    for a, b in zip(other.weights, model.weights, strict=True):
        scale = max(1e-3, np.abs(b.numpy()).max())
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.slow
class TestOtherWaysOfTraining:
    """Replicas, XLA and recomputation take the same steps."""

    def trained(self, strategy="default", jit_compile=False, **options):
        with strategy_from_name(strategy).scope():
            model = tiny_nvae(num_scales=1, **options)
            model.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
            model.build()
        return model, train_without_noise(model, draw_images(model, 8))

    @pytest.fixture(scope="class")
    def plain(self):
        return self.trained()

    @pytest.mark.parametrize(
        "way", [{"strategy": "mirrored"}, {"jit_compile": True}, {"recompute": True}]
    )
    def test_same_steps(self, plain, way):
        assert_same_training(plain, self.trained(**way))


@pytest.mark.slow
class TestMNIST:
    """The published model as it is made."""

    @pytest.fixture(scope="class")
    def model(self):
        from tfgen.generative.nvae import NVAE

        model = NVAE()
        model.build()
        return model

    def test_built_as_declared(self, model):
        assert model.count_params() >= model.bank.num_parameters
        total = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        assert total == model.bank.num_parameters == 33_363_134
        assert float(model.bank.scale_penalty()) == 214.0

    def test_starts_near_a_fair_coin(self, model):
        images = np.random.default_rng(0).integers(0, 2, (16, 28, 28, 1)).astype(np.float32)
        noise = [tf.random.stateless_normal((16, *s), (0, 1)) for s in model.network.latent_shapes]
        result = model.posterior_pass(model.weights_view(training=True), images, noise)
        loss = -tf.reduce_mean(model.image_decoder.log_prob(result.head, images))
        np.testing.assert_allclose(loss, 784 * np.log(2), rtol=0.02)
        kl = float(tf.reduce_mean(tf.reduce_sum(result.kl, 1)))
        assert 30 < kl < 3000  # "of order 100 nats"

    def test_spectral_sum_is_nearly_exact_after_forty_iterations(self, model):
        view = model.weights_view()
        exact = {
            name: np.linalg.svd(view.effective(name).numpy(), compute_uv=False)[:, 0].sum()
            for name in model.bank.left
        }
        before, _ = view.spectral_sum(4)
        model.initialize_singular_vectors()
        after, _ = model.weights_view().spectral_sum(4)
        total = sum(exact.values())
        assert before <= after <= total * (1 + 1e-5)
        assert after >= 0.99 * total
