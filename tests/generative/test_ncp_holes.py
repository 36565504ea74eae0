"""The report on holes, calibration, chains, and the likelihood between two bounds of log Z."""

import numpy as np
import pytest
import tensorflow as tf
from toy_vae import ExactNCP, ToyVAE, narrow, narrow_images, ring, ring_images

from tfgen.generative.ncp.holes import NoOverlapError, calibration, find_holes
from tfgen.generative.ncp.likelihood import evaluate_refined_likelihood
from tfgen.metrics import evaluate_likelihood


def batches(images, size=1000):
    return [{"images": images[k : k + size]} for k in range(0, len(images), size)]


@pytest.mark.parametrize(
    ("vae", "ratio", "images", "jsd", "kl", "ess"),
    [
        (ToyVAE(), narrow, narrow_images(4000), 0.2239838, 0.8181472, 0.3735259),
        (ToyVAE(dims=2), ring, ring_images(4000), 0.2574583, 0.9391758, 0.3378),
    ],
    ids=["narrow", "ring"],
)
def test_exact_ratios_give_the_exact_numbers(vae, ratio, images, jsd, kl, ess):
    found = find_holes(ExactNCP(vae, [ratio], 64), batches(images), num_proposals=64)
    group = found["groups"]["z_0"]
    assert group["jsd"] == pytest.approx(jsd, abs=0.015)
    assert group["mean_log_ratio"] == pytest.approx(kl, abs=0.05)
    assert group["log_z"] == pytest.approx(0.0, abs=0.02)
    assert group["ess_fraction"] == pytest.approx(ess, abs=0.02)
    assert kl - 0.08 < found["gain"] < kl + 0.04  # below KL, by what 65 proposals leave
    names = ("claimed", "observed", "standard_error")
    claimed, observed, error = (np.array(group["calibration"][k]) for k in names)
    # Exact ratios are calibrated within what counting allows: 5 standard errors in 24 bins err
    # once in 70,000 runs.
    assert np.all(np.abs(claimed - observed) < 5 * error)
    assert np.sum(error < 0.1) >= 9  # most bins are sharp
    assert 40 <= group["suggested_proposals"] <= 70
    assert found["num_images"] == 4000


def test_a_wrong_slope_shows_in_the_calibration():
    rng = np.random.default_rng(0)
    q, p = rng.normal(1.0, 0.5, 20_000), rng.normal(0.0, 1.0, 20_000)
    steep = [2.0 * narrow(tf.constant(z[:, None])).numpy() for z in (q, p)]
    curve = calibration(*steep)
    slope = np.polyfit(curve["claimed"], curve["observed"], 1)[0]
    assert slope == pytest.approx(0.5, abs=0.1)


def test_refuses_where_nothing_overlaps():
    far = ToyVAE()
    images = narrow_images(500) + 40.0
    with pytest.raises(NoOverlapError, match="'z_0' do not overlap"):
        find_holes(ExactNCP(far, [lambda z: 40.0 * z[..., 0] - 800.0], 16), batches(images))


class TestLikelihood:
    def scores(self, ratio, count=64):
        model = ExactNCP(ToyVAE(noise=0.7), [ratio], count)
        model.frozen = lambda: model
        images = narrow_images(600)
        both = evaluate_refined_likelihood(
            model, batches(images, 300), num_importance_samples=5, num_proposals=count
        )
        own = evaluate_likelihood(model, batches(images, 300), num_importance_samples=5)
        return both, own

    def test_the_two_bounds_meet(self):
        both, own = self.scores(narrow)
        assert both["nll_plug_in"] <= both["nll_conservative"]
        assert 0 <= both["log_z_gap"] < 0.05
        assert both["nll_conservative"] < both["nll_base"]  # the data are where r is large
        assert own["nll"] == pytest.approx(both["nll_plug_in"], abs=0.1)

    def test_a_constant_in_log_r_drops_out(self):
        shifted, _ = self.scores(lambda z: narrow(z) + 5.0)
        plain, _ = self.scores(narrow)
        for name in ("nll_plug_in", "nll_conservative", "nll_base"):
            assert shifted[name] == pytest.approx(plain[name], abs=1e-4)


class TestChains:
    """The energy of the refined prior: r = 1 leaves the standard normal."""

    @staticmethod
    def run(method, ratio, count, step_size, steps=60, num_proposals=1, adaptation=0):
        model = ExactNCP(ToyVAE(), [ratio], num_proposals)
        sample = tf.function(
            lambda seeds: model.sample_by_chain(seeds, 1.0, method, steps, step_size, adaptation),
            autograph=False,
        )
        images, traces = sample(tf.range(count))
        return images.numpy().ravel(), traces[0]

    @pytest.mark.parametrize("step_size", [pytest.param(0.5, marks=pytest.mark.slow), 1.0])
    def test_langevin_has_the_variance_of_its_step_size(self, step_size):
        count = 5_000
        z, _ = self.run("langevin", lambda z: 0.0 * z[..., 0], count, step_size)
        want = 1 / (1 - step_size / 4)
        assert z.var() == pytest.approx(want, abs=5 * want * np.sqrt(2 / count))

    def test_mala_is_exact(self):
        count = 5_000
        z, trace = self.run("mala", narrow, count, 0.2)
        assert z.mean() == pytest.approx(1.0, abs=5 * 0.5 / np.sqrt(count))
        assert z.std() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * count))
        assert 0.5 < np.mean(trace.acceptance) <= 1.0

    def test_a_chain_mends_what_few_proposals_leave(self):
        short, _ = self.run("mala", narrow, 5000, 0.2, steps=1, num_proposals=2)
        long, _ = self.run("mala", narrow, 5000, 0.2, steps=40, num_proposals=2)
        assert abs(long.mean() - 1.0) < 0.05 < abs(short.mean() - 1.0)

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(ValueError, match="method is 'gibbs'"):
            self.run("gibbs", narrow, 4, 0.1)
