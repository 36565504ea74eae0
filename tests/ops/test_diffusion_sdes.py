"""Diffusions against closed forms, their own differential equations, and the authors' tables."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.diffusion import (
    VESDE,
    VPSDE,
    GeometricVPSDE,
    SubVPSDE,
    sde_from_config,
)

KINDS = {
    "vp": VPSDE(),
    "vp with initial variance": VPSDE(initial_variance=0.01),
    "vp of constant beta": VPSDE(beta_min=7.0, beta_max=7.0),
    "sub-vp": SubVPSDE(),
    "sub-vp with initial variance": SubVPSDE(initial_variance=1e-3),
    "ve": VESDE(),
    "geometric": GeometricVPSDE(),
    "geometric with other initial variance": GeometricVPSDE(1e-4, 0.99, 1e-5),
}
every_kind = pytest.mark.parametrize("sde", KINDS.values(), ids=KINDS)
T = np.concatenate([np.geomspace(1e-6, 1e-2, 9), np.linspace(0.02, 1.0, 25)])


def at(t):
    return tf.constant(t, tf.float64)


class TestClosedForms:
    def test_of_the_vp_kind(self):
        sde = VPSDE()
        expected = [0.00199301, 0.10371784, 0.92093619, 0.99995681]
        np.testing.assert_allclose(sde.variance(at([0.01, 0.1, 0.5, 1.0])), expected, atol=5e-9)
        np.testing.assert_allclose(sde.mean(at(1.0)), 0.00657159, atol=5e-9)

    def test_of_the_sub_vp_kind(self):
        sde = SubVPSDE()
        np.testing.assert_allclose(sde.variance(at(0.5)), 0.84812346, atol=5e-9)
        np.testing.assert_allclose(sde.squared_diffusion(at(0.1)), 0.41105761, atol=5e-9)

    def test_of_the_geometric_kind(self):
        sde = GeometricVPSDE()
        np.testing.assert_allclose(sde.variance(at(0.5)), 0.00547449, atol=5e-9)
        betas = sde.squared_diffusion(at([0.5, 1.0]))
        np.testing.assert_allclose(betas, [0.0573213, 10402.90], rtol=1e-6)
        np.testing.assert_allclose(sde.mean(at(1.0)), 0.0316233, atol=5e-8)
        np.testing.assert_allclose(sde.log_ratio, 10.4133127, atol=5e-8)
        # int beta = -2 log m
        np.testing.assert_allclose(-2 * sde.log_mean(at(1.0)), 6.9077253, atol=5e-8)

    def test_of_the_ve_kind(self):
        sde = VESDE(0.01, 100.0)
        np.testing.assert_allclose(sde.variance(at([0.0, 0.5, 1.0])), [0.01, 1.0, 100.0])
        assert sde.final_variance == 100.0
        np.testing.assert_array_equal(sde.mean(at(T)), 1.0)


@every_kind
class TestEveryKind:
    def test_variance_and_mean_solve_their_equations(self, sde):
        h = 1e-5
        t = np.linspace(0.01, 0.98, 50)
        slope = (sde.variance(at(t + h)) - sde.variance(at(t - h))) / (2 * h)
        np.testing.assert_allclose(slope, sde.variance_rate(at(t)), rtol=1e-6, atol=1e-9)
        slope = (sde.log_mean(at(t + h)) - sde.log_mean(at(t - h))) / (2 * h)
        np.testing.assert_allclose(slope, sde.drift(at(t)), rtol=1e-6, atol=1e-12)
        assert float(sde.log_mean(at(0.0))) == 0.0
        np.testing.assert_allclose(sde.variance(at(0.0)), sde.initial_variance, rtol=1e-12)

    def test_inverses_come_back(self, sde):
        t = T[T > 1e-3] if sde.initial_variance else T
        back = sde.time_of_log_snr(sde.log_snr(at(t)))
        np.testing.assert_allclose(back, t, rtol=1e-9, atol=1e-10)
        if isinstance(sde, SubVPSDE) and sde.initial_variance:
            t = t[t > 0.1]  # its variance falls at first
        np.testing.assert_allclose(
            sde.time_of_variance(sde.variance(at(t))), t, rtol=1e-9, atol=1e-10
        )

    def test_noise_share_and_normal_prediction(self, sde):
        variance, normal = sde.variance(at(T)), sde.normal_variance(at(T))
        share = np.log(variance / normal)
        np.testing.assert_allclose(sde.log_noise_share(at(T)), share, rtol=1e-8, atol=1e-14)
        np.testing.assert_allclose(
            sde.normal_coefficient(at(T)), np.sqrt(variance) / normal, rtol=1e-12
        )
        if isinstance(sde, VPSDE | GeometricVPSDE):  # which preserve a variance of one
            np.testing.assert_allclose(normal, 1.0, rtol=1e-9)

    def test_small_times_keep_their_digits(self, sde):
        t = at([1e-12])
        from_rate = sde.variance_rate(t) * t + sde.initial_variance
        if not isinstance(sde, SubVPSDE):  # whose variance grows as t^2
            np.testing.assert_allclose(sde.variance(t), from_rate, rtol=1e-8)
        assert np.all(np.isfinite(sde.log_snr(t)))

    def test_config_comes_back(self, sde):
        assert sde_from_config(sde.get_config()) == sde

    def test_diffuse(self, sde):
        rng = np.random.default_rng(0)
        z, eps = rng.standard_normal((2, 3, 2, 2)).astype(np.float32)
        t = at([0.1, 0.5, 1.0])
        expected = z * np.reshape(sde.mean(t), [3, 1, 1]) + eps * np.reshape(sde.std(t), [3, 1, 1])
        z_t = sde.diffuse(tf.constant(z), tf.constant(eps), t)
        assert z_t.dtype == tf.float32
        np.testing.assert_allclose(z_t, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["vpsde", "sub_vpsde", "geometric_sde"])
def test_equal_to_the_authors_tables(reference_values, name):
    tables = reference_values("lsgm_sde_tables")
    sde, t = sde_from_config(name), at(tables[f"{name}/t"])
    for key, function in {
        "variance": sde.variance,
        "mean_coefficient": sde.mean,
        "drift_f": sde.drift,
        "diffusion_g2": sde.squared_diffusion,
    }.items():
        np.testing.assert_allclose(function(t), tables[f"{name}/{key}"], rtol=1e-9, err_msg=key)


def test_impossible_numbers_are_refused():
    with pytest.raises(ConfigError, match="expected 0 < beta_min <= beta_max"):
        VPSDE(2.0, 1.0)
    with pytest.raises(ConfigError, match=r"initial variance is 1\.5"):
        VPSDE(initial_variance=1.5)
    with pytest.raises(ConfigError, match="min_variance < max_variance"):
        VESDE(1.0, 0.5)
    with pytest.raises(ConfigError, match="variance below 1 at t = 1"):
        GeometricVPSDE(max_variance=1.5)
    with pytest.raises(ConfigError, match="sde 'vp' is unknown; choose one of vpsde"):
        sde_from_config("vp")
    with pytest.raises(ConfigError, match="has no beta; it has beta_min"):
        sde_from_config({"name": "vpsde", "beta": 1.0})
