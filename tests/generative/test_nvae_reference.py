"""NVAE against the authors' own program: same weights, same images, same noise, same numbers.

The reference values were computed in float64 (README beside them). Here a tensor agrees when its
largest deviation is below 1e-4 of its largest magnitude, and a gradient norm when it is within
1e-3; parameters whose true gradient is zero (biases before a batch norm) may show 1e-5.
"""

import ast

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import CheckpointError, ConfigError
from tfgen.generative.nvae import NVAE, official
from tfgen.training.schedules import balance_coefficients


class Reference:
    """A model with the authors' weights, and what their program makes of it."""

    def __init__(self, values):
        self.values = values
        self.config = ast.literal_eval(str(self.values["config"]))
        options = official.options_from_official(self.config)
        self.model = NVAE(**options, edge="nvae2020")
        official.load_official(self.model, self.state())
        # The Bernoulli images come padded, with noise in the padding.
        self.images = self.nhwc("x")
        self.noise = [self.nhwc(f"eps/{i}") for i in range(self.model.network.num_groups)]
        self.views = {"live": self.model.weights_view(), "folded": None}
        self.views["folded"] = self.model.frozen().weights_for_inference()

    def state(self):
        keys = [key for key in self.values.files if key.startswith("weights/")]
        return {key.removeprefix("weights/"): self.values[key] for key in keys}

    def nhwc(self, name):
        return tf.constant(self.values[name].transpose(0, 2, 3, 1), tf.float32)

    def assert_same(self, actual, name, tolerance=1e-4):
        expected = self.values[name]
        actual = np.asarray(actual)
        if expected.ndim == 4:  # some are stored of the first images only
            expected = expected.transpose(0, 2, 3, 1)
            actual = actual[: len(expected)]
        assert actual.shape == expected.shape
        deviation = np.abs(actual - expected).max()
        assert deviation <= tolerance * np.abs(expected).max(), name


@pytest.fixture(scope="module", params=["nvae_bernoulli", "nvae_logistic_flow"])
def reference(request, reference_values):
    return Reference(reference_values(request.param))


@pytest.fixture(scope="module", params=["live", "folded"])
def view(request, reference):
    return reference.views[request.param]


def test_structure(reference):
    bank = reference.model.bank
    assert bank.num_parameters == reference.values["parameters"]
    assert bank.num_convs == reference.values["num_convs"]
    assert reference.model.network.groups == reference.values["groups_per_scale"].tolist()


def test_posterior(reference, view):
    result = reference.model.posterior_pass(view, reference.images, reference.noise)
    reference.assert_same(result.head, "logits")
    reference.assert_same(result.kl, "kl")
    reference.assert_same(result.log_q, "log_q")
    reference.assert_same(result.log_p, "log_p")
    log_px = reference.model.image_decoder.log_prob(result.head, reference.images)
    reference.assert_same(-log_px, "reconstruction_loss")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_prior_samples(reference, view, temperature):
    noise = dict(zip(reference.model.groups, reference.noise))
    head = reference.model.generate_head(view, noise, temperature)
    reference.assert_same(head, f"sample_logits_temperature_{temperature}")


def test_balancing(reference):
    kl = tf.constant(reference.values["kl"], tf.float32)
    reference.assert_same(reference.model.alpha, "alpha")
    gamma = balance_coefficients(tf.reduce_mean(tf.abs(kl), 0), reference.model.alpha, 0.37)
    reference.assert_same(gamma, "balance_coefficients")
    reference.assert_same(0.37 * tf.linalg.matvec(kl, gamma), "balanced_kl_at_0.37")


def test_regularisers(reference):
    bank, view = reference.model.bank, reference.views["live"]
    exact = sum(
        np.linalg.norm(matrix, 2) for name in bank.left for matrix in view.effective(name).numpy()
    )
    reference.assert_same(exact, "spectral_sum_exact")
    reference.assert_same(bank.scale_penalty(), "bn_loss")
    estimate, _ = view.spectral_sum(10)
    assert 0.9 * exact <= estimate <= exact * (1 + 1e-5)


def test_training_mode(reference):
    model, variables = reference.model, reference.model.trainable_variables
    with tf.GradientTape() as tape:
        view = model.weights_view(training=True)
        result = model.posterior_pass(view, reference.images, reference.noise)
        log_px = model.image_decoder.log_prob(result.head, reference.images)
        loss = tf.reduce_mean(tf.reduce_sum(result.kl, axis=1) - log_px)
    reference.assert_same(result.head, "train_mode/logits")
    reference.assert_same(result.kl, "train_mode/kl")
    reference.assert_same(loss, "train_mode/loss")

    gradients = dict(zip(map(id, variables), tape.gradient(loss, variables)))
    slots = official.slots(model)
    names = reference.values["train_mode/grad_norms_names"].tolist()
    trainable = {n for n, (variable, _, _) in slots.items() if id(variable) in gradients}
    assert trainable == set(names)
    norms = []
    for name in names:
        variable, row, _ = slots[name]
        gradient = gradients[id(variable)]
        norms.append(np.linalg.norm(gradient if row is None else gradient[row]))
    expected = reference.values["train_mode/grad_norms"]
    np.testing.assert_allclose(norms, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("reference", ["nvae_bernoulli"], indirect=True)
def test_padding_does_not_count(reference):
    # Padded images score as their centres do, given what the decoder puts out.
    decoder, p = reference.model.image_decoder, reference.model.image_decoder.padding
    head = reference.nhwc("logits")
    centre = reference.images[:, p:-p, p:-p]
    expected = decoder.log_prob(head, reference.images)
    np.testing.assert_array_equal(decoder.log_prob(head, centre), expected)
    other = tf.pad(centre, [[0, 0], [p, p], [p, p], [0, 0]])
    np.testing.assert_array_equal(decoder.log_prob(head, other), expected)


class TestLoading:
    def test_what_is_loaded_is_what_was_saved(self, reference):
        state = reference.state()
        for name, (variable, row, order) in official.slots(reference.model).items():
            value = variable.numpy() if row is None else variable.numpy()[row]
            back = value.reshape(state[name].shape) if order is None else value
            if order is not None:
                back = value.transpose(np.argsort(order))
            np.testing.assert_array_equal(back, state[name], err_msg=name)

    def test_every_variable_is_covered_once(self, reference):
        covered = {}
        for variable, row, _ in official.slots(reference.model).values():
            covered.setdefault(id(variable), []).append(row)
        bank = reference.model.bank
        wanted = [*bank.trainable_weights, *bank.means.values(), *bank.variances.values()]
        for variable in wanted:
            rows = covered.pop(id(variable))
            assert sorted(rows) == list(range(variable.shape[0])) or rows == [None]
        assert not covered

    @pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
    def test_misfits_change_nothing(self, reference, damage):
        state = reference.state()
        if damage == "missing":
            del state["stem.bias"]
        elif damage == "unknown":
            state["stem.speed"] = np.ones(3)
        else:
            state["stem.bias"] = np.ones(3)
        before = reference.model.get_weights()
        with pytest.raises(CheckpointError, match="stem"):
            official.load_official(reference.model, state)
        for a, b in zip(before, reference.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_options(self, reference):
        with pytest.raises(ConfigError, match="image_shape"):
            official.options_from_official({**reference.config, "dataset": "galaxies"})
        with pytest.raises(ConfigError, match="widths"):
            official.options_from_official({**reference.config, "num_channels_dec": 9})
        options = official.options_from_official(reference.config, image_shape=(64, 64, 3))
        assert options["image_shape"] == (64, 64, 3)
