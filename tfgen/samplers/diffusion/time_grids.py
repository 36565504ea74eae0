"""At which times a solver looks at the network: grids between noise (t = 1) and data."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.diffusion import SDE

GRIDS = ("log_snr", "uniform", "quadratic", "edm")


class Path(NamedTuple):
    """A diffusion along a grid, float64.

    Attributes:
        time: array `[K + 1]` of the times.
        mean: array `[K + 1]`, m_t.
        std: array `[K + 1]`, sigma_t.
    """

    time: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def half_log_snr(self) -> np.ndarray:
        """lambda = log(m / sigma), in which multistep solvers count."""
        with np.errstate(divide="ignore"):  # infinite where there is no noise
            return np.log(self.mean) - np.log(self.std)

    @property
    def noise_to_signal(self) -> np.ndarray:
        """sigma / m, the noise level of `z / m`."""
        return self.std / self.mean

    @property
    def fresh_share(self) -> np.ndarray:
        """Part of the variance at each time that came since the time after it, `[K]`."""
        return -np.expm1(2.0 * -np.abs(np.diff(self.half_log_snr)))


def time_grid(
    sde: SDE,
    num_steps: int,
    grid: str = "log_snr",
    end: float = 1e-3,
    start: float = 1.0,
    rho: float = 7.0,
) -> np.ndarray:
    """Times from `start` down to `end`, both included.

    Args:
        sde: an `SDE`, the diffusion.
        num_steps: integer K, intervals.
        grid: string: "log_snr", equal steps of log(m^2 / sigma^2); "uniform", equal steps of t;
            "quadratic", of sqrt(t); "edm", of (sigma / m)^(1 / rho), as EDM (Karras et al., 2022)
            has it. Defaults to `"log_snr"`.
        end: float, the last time. Where noise has not begun yet, at t = 0 of most diffusions, the
            log-SNR is infinite, so that "log_snr" and "edm" end before. Defaults to `1e-3`.
        start: float, the first time. Defaults to `1.0`.
        rho: float, exponent of "edm". Defaults to `7.0`.

    Returns:
        Float64 array `[K + 1]`, decreasing.

    Raises:
        ConfigError: no such grid, no interval, or times out of range.
    """
    num_steps = whole_number("num_steps", num_steps, 1)
    check_grid(grid, end, start)
    in_range("rho", rho, 0.0, above=True)
    part = np.linspace(0.0, 1.0, num_steps + 1)
    if grid == "uniform":
        times = start + part * (end - start)
    elif grid == "quadratic":
        times = (np.sqrt(start) + part * (np.sqrt(end) - np.sqrt(start))) ** 2
    else:
        times = _grid_of_noise(sde, part, end, start, rho if grid == "edm" else np.inf)
    times[0], times[-1] = start, end
    if not np.all(np.diff(times) < 0.0):
        raise ConfigError(
            f"{num_steps} steps of grid {grid!r} from t = {start} to {end} are too small to tell "
            "their times apart; take fewer, or a later end"
        )
    return times


@functools.lru_cache(maxsize=256)
def _path(sde, times: tuple) -> Path:
    with tf.init_scope():  # numbers, also where a graph is being traced
        t = tf.constant(times, tf.float64)
        return Path(t.numpy(), sde.mean(t).numpy(), sde.std(t).numpy())


def path(sde: SDE, times) -> Path:
    """The diffusion's mean and standard deviation at some times `[K + 1]`."""
    return _path(sde, tuple(map(float, times)))


def times_of_noise_to_signal(sde: SDE, levels) -> np.ndarray:
    """The times `[...]` at which sigma / m has these values."""
    with tf.init_scope():
        return sde.time_of_log_snr(tf.constant(-2.0 * np.log(levels), tf.float64)).numpy()


def _grid_of_noise(sde, part, end, start, rho):
    last = path(sde, [start, end])
    if last.std[-1] == 0.0:
        raise ConfigError(
            f"end is {end}, where this diffusion has no noise and its log-SNR is infinite; take a "
            "later end such as 1e-3, or grid 'uniform' or 'quadratic'"
        )
    if np.isinf(rho):
        first, final = last.half_log_snr
        levels = np.exp(-(first + part * (final - first)))
    else:
        first, final = last.noise_to_signal ** (1.0 / rho)
        levels = (first + part * (final - first)) ** rho
    return times_of_noise_to_signal(sde, levels)


def check_grid(grid, end, start=1.0) -> None:
    """Raises a ConfigError unless there is such a grid and such a way to go."""
    if grid not in GRIDS:
        raise ConfigError(f"grid {grid!r} is unknown; choose one of {', '.join(GRIDS)}")
    try:
        fits = 0.0 <= float(end) < float(start) <= 1.0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(
            f"the times go from {start!r} to {end!r}; expected 0 <= end < start <= 1, noise being "
            "at t = 1"
        )
