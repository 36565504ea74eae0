"""Times of a diffusion's loss: densities, draws, unbiased and without variance where promised."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.diffusion import (
    VESDE,
    VPSDE,
    GeometricVPSDE,
    SubVPSDE,
    TimeSampler,
    loss_weight,
    sde_from_config,
    uniforms,
)

VP = VPSDE()
SAMPLERS = {
    "vp uniform": TimeSampler(VP, "ll", importance=False),
    "vp ll": TimeSampler(VP, "ll"),
    "vp un": TimeSampler(VP, "un"),
    "vp re": TimeSampler(VP, "re"),
    "vp ll, small cut-off": TimeSampler(VP, "ll", 1e-5),
    "vp ll, initial variance": TimeSampler(VPSDE(initial_variance=0.01), "ll", 0.0),
    "vp un, initial variance": TimeSampler(VPSDE(initial_variance=0.01), "un", 0.0),
    "vp un, constant beta": TimeSampler(VPSDE(7.0, 7.0), "un"),
    "sub-vp ll": TimeSampler(SubVPSDE(), "ll"),
    "sub-vp un": TimeSampler(SubVPSDE(), "un"),
    "sub-vp re": TimeSampler(SubVPSDE(), "re"),
    "ve ll": TimeSampler(VESDE(), "ll", 0.0),
    "ve un": TimeSampler(VESDE(), "un", 0.0),
    "ve re": TimeSampler(VESDE(), "re", 0.0),
    "geometric ll": TimeSampler(GeometricVPSDE(), "ll", 0.0),
    "geometric re": TimeSampler(GeometricVPSDE(), "re", 0.0),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def numbers(values):
    return tf.constant(values, tf.float64)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)


def integral(function, first, last=1.0):
    """Of a function of t that may rise steeply at either end: Gauss-Legendre on many pieces."""
    steep = np.geomspace(1e-8, 0.2, 60)
    edges = np.concatenate([[0.0], steep, np.linspace(0.25, 0.75, 11), 1.0 - steep[::-1], [1.0]])
    edges = np.unique(np.clip(edges, first, last))
    half = 0.5 * np.diff(edges)[:, None]
    t = edges[:-1, None] + half * (1.0 + NODES)
    return float(np.sum(half * WEIGHTS * np.asarray(function(numbers(t)))))


def square_of_normal(sde):
    """Expected squared error of the exact prediction for Normal latents, as a function of t."""
    return lambda t: -tf.math.expm1(sde.log_noise_share(t))


@every_sampler
class TestDensities:
    def test_integrates_to_one(self, sampler):
        assert abs(integral(sampler.density, sampler.cutoff) - 1.0) < 1e-8

    def test_draws_invert_the_distribution_function(self, sampler):
        rho = np.array([0.1, 0.5, 0.9])
        for t, share in zip(sampler.times(numbers(rho)).numpy(), rho):
            assert abs(integral(sampler.density, sampler.cutoff, t) - share) < 1e-8

    def test_ends(self, sampler):
        ends = sampler.times(numbers([0.0, 1.0]))
        np.testing.assert_allclose(ends, [sampler.cutoff, 1.0], rtol=1e-9, atol=1e-12)

    def test_is_unbiased_for_the_loss(self, sampler):
        # E_r [coefficient h] = int weight h for a function of no particular shape
        h = lambda t: 1.0 + tf.sin(5.0 * t)  # noqa: E731
        weight = lambda t: loss_weight(sampler.sde, sampler.weighting, t) * h(t)  # noqa: E731
        drawn = lambda rho: (  # noqa: E731
            sampler.coefficient(sampler.times(rho)) * h(sampler.times(rho))
        )
        np.testing.assert_allclose(
            integral(drawn, 0.0), integral(weight, sampler.cutoff), rtol=1e-6
        )


class TestValues:
    def test_medians(self):
        for weighting, median in {"ll": 0.0629097, "un": 0.1557360, "re": 0.2593315}.items():
            t = TimeSampler(VP, weighting, 0.01).times(numbers(0.5))
            np.testing.assert_allclose(t, median, atol=5e-8)

    def test_integrals_of_the_normal_case(self):
        h = square_of_normal(VP)
        rho = numbers(np.linspace(0.0, 1.0, 101))
        for weighting, cutoff, value in [
            ("ll", 0.01, 3.10903),
            ("ll", 1e-5, 6.90724),
            ("un", 0.01, 0.266004),
            ("un", 1e-5, 0.275985),
            ("re", 0.01, 0.498982),
        ]:
            sampler = TimeSampler(VP, weighting, cutoff)
            t = sampler.times(rho)
            # No variance: the same number at every time. (The published constant of w_un gives
            # 0.266606 where the integral is 0.266004.)
            np.testing.assert_allclose(sampler.coefficient(t) * h(t), value, rtol=3e-6)

    @pytest.mark.parametrize(
        "sampler",
        [
            TimeSampler(SubVPSDE(), "ll"),
            TimeSampler(VESDE(), "ll", 0.0),
            TimeSampler(VESDE(), "un", 0.0),
            TimeSampler(VESDE(), "re", 0.0),
            TimeSampler(GeometricVPSDE(), "ll", 0.0),
            TimeSampler(GeometricVPSDE(), "re", 0.0),
            TimeSampler(GeometricVPSDE(), "ll", 0.0, importance=False),
        ],
        ids=lambda s: f"{type(s.sde).__name__}-{s.weighting}-{s.importance}",
    )
    def test_no_variance_for_other_diffusions(self, sampler):
        t = sampler.times(numbers(np.linspace(0.0, 1.0, 101)))
        values = sampler.coefficient(t) * square_of_normal(sampler.sde)(t)
        np.testing.assert_allclose(values, values[0], rtol=1e-6)

    def test_coefficient_of_variation_of_uniform_times(self):
        h = square_of_normal(VP)
        for weighting, cutoff, expected in [
            ("ll", 0.01, 2.41),
            ("ll", 1e-5, 23.0),
            ("un", 0.01, 1.25),
            ("un", 1e-5, 1.24),
            ("re", 0.01, 0.98),
            ("re", 1e-5, 0.99),
        ]:
            sampler = TimeSampler(VP, weighting, cutoff, importance=False)
            value = lambda t, s=sampler: s.coefficient(t) * h(t)  # noqa: E731
            mean = integral(value, cutoff) / (1 - cutoff)
            square = integral(lambda t, v=value: v(t) ** 2, cutoff) / (1 - cutoff)
            assert abs(np.sqrt(square / mean**2 - 1) / expected - 1) < 0.006

    def test_reweighting_for_the_likelihood(self):
        # LSGM's Algorithm 3: times for one weighting, errors weighed for another; still unbiased.
        h = square_of_normal(VP)
        for weighting in ("un", "re"):
            sampler = TimeSampler(VP, weighting)
            drawn = lambda rho, s=sampler: (  # noqa: E731
                s.coefficient(s.times(rho), "ll") * h(s.times(rho))
            )
            np.testing.assert_allclose(integral(drawn, 0.0), 3.10903, rtol=3e-6)


class TestAuthorsTables:
    @pytest.fixture(scope="class")
    def tables(self, reference_values):
        return reference_values("lsgm_sde_tables")

    @pytest.mark.parametrize(
        ("sde", "mode", "weighting", "importance"),
        [
            ("vpsde", "ll_uniform", "ll", False),
            ("vpsde", "ll_iw", "ll", True),
            ("vpsde", "drop_all_uniform", "un", False),
            ("vpsde", "drop_all_iw", "un", True),
            ("vpsde", "drop_sigma2t_uniform", "re", False),
            ("vpsde", "drop_sigma2t_iw", "re", True),
            ("vpsde", "rescale_iw", "rescaled", False),
            ("sub_vpsde", "ll_uniform", "ll", False),
            ("sub_vpsde", "drop_all_uniform", "un", False),
            ("sub_vpsde", "drop_sigma2t_uniform", "re", False),
            ("geometric_sde", "ll_uniform", "ll", False),
            ("geometric_sde", "ll_iw", "ll", True),
            ("geometric_sde", "drop_all_uniform", "un", False),
            ("geometric_sde", "drop_sigma2t_iw", "re", True),
        ],
    )
    def test_draws_and_coefficients(self, tables, sde, mode, weighting, importance):
        cutoff = 0.0 if sde == "geometric_sde" else 0.01
        sampler = TimeSampler(sde_from_config(sde), weighting, cutoff, importance)
        value = lambda key: tables[f"{sde}/{mode}/{key}"]  # noqa: E731
        t = sampler.times(numbers(tables["rho"]))
        np.testing.assert_allclose(t, value("t"), rtol=1e-6)  # theirs of w_un are in float32
        t = numbers(value("t"))
        np.testing.assert_allclose(sampler.sde.variance(t), value("variance"), rtol=2e-6)
        np.testing.assert_allclose(sampler.sde.mean(t), value("mean_coefficient"), rtol=2e-6)
        np.testing.assert_allclose(sampler.sde.squared_diffusion(t), value("g2"), rtol=2e-6)
        # What the authors forget: the length of the interval, and the square of beta_0.
        missing = 1.0 if importance else 1.0 - cutoff
        if mode == "drop_all_iw":
            missing = np.exp((0.1**2 - 0.1) / (2 * 19.9))
        np.testing.assert_allclose(
            sampler.coefficient(t), missing * value("weight_prior"), rtol=1e-6
        )
        if mode != "drop_all_iw":
            np.testing.assert_allclose(
                sampler.coefficient(t, "ll"), missing * value("weight_likelihood"), rtol=1e-6
            )


class TestUniforms:
    @pytest.mark.parametrize("kind", ["independent", "stratified", "systematic", "antithetic"])
    @pytest.mark.parametrize("count", [7, 64])
    def test_every_place_is_uniform(self, kind, count):
        draws = np.stack([uniforms(count, (seed, 1), kind) for seed in range(400)])
        assert draws.dtype == np.float64
        assert 0.0 <= draws.min() <= draws.max() <= 1.0
        mean = draws.mean()  # of at most 400 independent numbers
        assert abs(mean - 0.5) < 5 * np.sqrt(1 / 12 / 400)

    def test_spread(self):
        h = lambda rho: np.exp(np.asarray(rho))  # noqa: E731
        deviation = {
            kind: np.std([h(uniforms(64, (s, 0), kind)).mean() for s in range(100)])
            for kind in ("independent", "stratified", "systematic", "antithetic")
        }
        assert deviation["stratified"] < 0.1 * deviation["independent"]
        assert deviation["systematic"] < 0.2 * deviation["independent"]
        assert deviation["antithetic"] < 0.5 * deviation["independent"]

    def test_strata_hold_one_each(self):
        for kind in ("stratified", "systematic"):
            draws = np.sort(uniforms(16, (3, 4), kind).numpy())
            np.testing.assert_array_equal(np.floor(draws * 16), np.arange(16))

    def test_unknown_kind(self):
        with pytest.raises(ConfigError, match="drawn 'sobol' are unknown"):
            uniforms(3, (0, 0), "sobol")


def test_impossible_combinations_are_refused():
    with pytest.raises(ConfigError, match=r"cut-off of t is 1\.0"):
        TimeSampler(VP, "ll", 1.0)
    with pytest.raises(ConfigError, match="vanishes at t = 0 and the loss diverges"):
        TimeSampler(VP, "ll", 0.0)
    with pytest.raises(ConfigError, match="no closed form; set importance=False"):
        TimeSampler(GeometricVPSDE(), "un", 0.0)
    with pytest.raises(ConfigError, match="weighting 'simple' is unknown"):
        TimeSampler(VP, "simple")
