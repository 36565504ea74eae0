"""Privacy loss of Gaussian noise, in the words of differential privacy.

One release needs no more than SciPy: the curve is known in closed form (Balle & Wang, 2018,
arXiv:1805.06530, theorem 8). Many sampled steps are composed by the `dp-accounting` package, of the
extra `privacy`.
"""

import math

from scipy import optimize, stats

from tfgen.errors import UserError

ACCOUNTANTS = ("pld", "rdp")


def gaussian_epsilon(noise_multiplier: float, delta: float = 1e-5) -> float:
    """Epsilon of one release of a sum with Gaussian noise, exactly.

    Neighbouring batches differ by the presence of one example.

    Args:
        noise_multiplier: float sigma, standard deviation of the noise in units of the largest
            contribution of one example.
        delta: float in (0, 1). Defaults to `1e-5`.

    Returns:
        The smallest epsilon; infinite without noise.
    """
    _check(noise_multiplier, delta)
    if noise_multiplier == 0:
        return math.inf

    def excess(epsilon):
        return _delta(noise_multiplier, epsilon) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-10))


def training_epsilon(
    noise_multiplier: float,
    sampling_probability: float,
    num_steps: int,
    delta: float = 1e-5,
    accountant: str = "pld",
) -> float:
    """Epsilon of a whole training with DP-SGD on Poisson-sampled batches.

    Args:
        noise_multiplier: float sigma.
        sampling_probability: float q, with which every example enters a batch.
        num_steps: integer T.
        delta: float in (0, 1). Defaults to `1e-5`.
        accountant: "pld" (privacy loss distributions, tighter) or "rdp" (Renyi). Defaults to
            `"pld"`.

    Raises:
        UserError: a number out of range, or `dp-accounting` is not installed.
    """
    _check(noise_multiplier, delta)
    if not 0 < sampling_probability <= 1 or num_steps < 1:
        raise UserError(
            f"sampling_probability and num_steps are {sampling_probability} and {num_steps}; "
            "expected in (0, 1] and at least 1"
        )
    if accountant not in ACCOUNTANTS:
        raise UserError(f"accountant is {accountant!r}; expected 'pld' or 'rdp'")
    if noise_multiplier == 0:
        return math.inf
    try:
        import dp_accounting
        from dp_accounting import pld, rdp
    except ImportError as error:
        raise UserError(
            "composing steps needs the package dp-accounting; install tfgen[privacy]"
        ) from error
    step = dp_accounting.PoissonSampledDpEvent(
        sampling_probability, dp_accounting.GaussianDpEvent(noise_multiplier)
    )
    found = (pld.PLDAccountant if accountant == "pld" else rdp.RdpAccountant)()
    found.compose(dp_accounting.SelfComposedDpEvent(step, num_steps))
    return float(found.get_epsilon(delta))


def _delta(sigma, epsilon):
    a, b = 0.5 / sigma, epsilon * sigma
    # exp(epsilon) times a small probability: multiplied as logarithms.
    return stats.norm.cdf(a - b) - math.exp(min(epsilon + stats.norm.logcdf(-a - b), 0.0))


def _check(noise_multiplier, delta):
    if not noise_multiplier >= 0 or not 0 < delta < 1:
        raise UserError(
            f"noise_multiplier and delta are {noise_multiplier} and {delta}; expected at least 0 "
            "and in (0, 1)"
        )
