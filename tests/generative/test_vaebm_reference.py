"""VAEBM against the authors' own program: same weights, same noise, same numbers.

The reference values were computed in float64. Here a tensor agrees when its largest deviation is
below 1e-4 of its largest magnitude, a gradient when it is below 1e-3.
"""

import ast

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import CheckpointError
from tfgen.generative.nvae import NVAE
from tfgen.generative.nvae import official as nvae_official
from tfgen.generative.nvae.frozen import NVAEView
from tfgen.generative.vaebm import EnergyNetwork, official
from tfgen.generative.vaebm.noise_space import NoiseSpace, noise_shapes


class Reference:
    """Models with the authors' weights, and what their program makes of them."""

    def __init__(self, values):
        self.values = values
        config = ast.literal_eval(str(self.values["config"]))
        self.vae = NVAE(**nvae_official.options_from_official(config))
        nvae_official.load_official(self.vae, self.state("vae/"))
        options = official.options_from_official(self.state("energy/"), self.vae.image_shape)
        self.energy = EnergyNetwork(**options)
        official.load_official(self.energy, self.state("energy/"))
        self.noise = {name: self.nhwc(f"eps_z/{i}") for i, name in enumerate(self.vae.groups)}
        self.noise["x"] = self.nhwc("eps_x")

    def state(self, prefix):
        keys = [key for key in self.values.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): self.values[key] for key in keys}

    def nhwc(self, name):
        return tf.constant(self.values[name].transpose(0, 2, 3, 1), tf.float32)

    def assert_same(self, actual, name, tolerance=1e-4):
        expected = self.values[name]
        expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        assert actual.shape == expected.shape
        deviation = np.abs(np.asarray(actual) - expected).max()
        assert deviation <= tolerance * np.abs(expected).max(), (name, deviation)


@pytest.fixture(scope="module")
def reference(reference_values):
    return Reference(reference_values("vaebm_small"))


@pytest.fixture(params=["live", "folded"])
def parts(request, reference):
    """Noise space and energy over live or folded weights."""
    if request.param == "live":
        space = NoiseSpace(NVAEView(reference.vae, reference.vae.weights_view()))
        return space, reference.energy
    view = reference.energy.folded()
    return NoiseSpace(reference.vae.frozen()), lambda x: reference.energy.energies(view, x)


def test_energy_and_its_gradient(reference, parts):
    x = reference.nhwc("x")
    with tf.GradientTape() as tape:
        tape.watch(x)
        energies = parts[1](x)
    reference.assert_same(energies, "energy_of_x")
    reference.assert_same(tape.gradient(energies, x), "energy_gradient", 1e-3)


def test_decoding(reference, parts):
    space, energy = parts
    distribution, _ = space.decode(reference.noise)
    reference.assert_same(distribution.params, "logits")
    images = space.images(reference.noise)
    reference.assert_same(images, "decoded")
    reference.assert_same(energy(images), "energy_of_decoded")
    assert noise_shapes(reference.vae) == {k: v.shape[1:] for k, v in reference.noise.items()}


@pytest.mark.parametrize("kind", ["exact", "official"])
def test_potential_and_every_gradient(reference, parts, kind):
    space, energy = parts
    with tf.GradientTape() as tape:
        tape.watch(reference.noise)
        values = space.potential(energy, reference.noise, kind)
    gradients = tape.gradient(values, reference.noise)
    reference.assert_same(values, f"potential_{kind}")
    for index, name in enumerate(reference.vae.groups):
        reference.assert_same(gradients[name], f"gradient_{kind}/{index}", 1e-3)
    reference.assert_same(gradients["x"], f"gradient_{kind}/x", 1e-3)


def test_spectral_sum(reference):
    energy = reference.energy
    exact = sum(
        np.linalg.norm(matrix, 2)
        for name in energy.bank.left
        for matrix in energy.weights_view().effective(name).numpy()
    )
    reference.assert_same(np.asarray(exact), "spectral_sum_exact")


class TestLoading:
    def test_architecture_is_recognised(self, reference):
        assert reference.energy.architecture == "cifar10"
        assert reference.energy.num_channels == int(reference.values["energy_channels"])

    def test_refuses_others(self, reference):
        state = reference.state("energy/")
        with pytest.raises(CheckpointError, match="no energy network"):
            official.options_from_official({}, (32, 32, 3))
        del state["blocks.4.skip.0.weight"]
        with pytest.raises(CheckpointError, match="none of cifar10"):
            official.options_from_official(state, (32, 32, 3))
        before = reference.energy.bank.get_weights()
        with pytest.raises(CheckpointError, match="1 entries are missing"):
            official.load_official(reference.energy, state)
        for a, b in zip(before, reference.energy.bank.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
