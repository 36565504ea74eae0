"""Solvers that draw: ancestral sampling and the reverse SDE, both of order 1 in distribution."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen.samplers.diffusion.solver import FixedStepSolver
from tfgen.samplers.diffusion.step_table import table


@dataclasses.dataclass(frozen=True)
class Ancestral(FixedStepSolver):
    """DDPM's sampler (Ho, Jain & Abbeel, 2020) for any diffusion.

    With a = m_k / m_{k-1} and the variance of one forward step, v = sigma_k^2 - a^2 sigma_{k-1}^2,

        z_{k-1} ~ N((z_k - v eps / sigma_k) / a, v),    z_0 = x0

    Args:
        num_steps: integer K, steps and network evaluations. Defaults to `1000`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"uniform"`.
        end: float, time before the last step; None, the default: 1 / K.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `True`.
        posterior_variance: whether the variance is that of z_{k-1} given z_k and the data, v times
            sigma_{k-1}^2 / sigma_k^2, instead of v. Defaults to `False`.
    """

    num_steps: int = 1000
    grid: str = "uniform"
    end: float | None = None
    denoise: bool = True
    posterior_variance: bool = False

    invertible = False

    @property
    def last_time(self):
        return 1.0 / self.num_steps if self.end is None else self.end

    def rows(self, path, sde):
        share = path.fresh_share
        ratio = path.mean[:-1] / path.mean[1:]
        factor = (1.0 - share) / ratio
        spread = path.std[1:] if self.posterior_variance else path.std[:-1]
        return table(path, factor, share * path.mean[1:], spread * np.sqrt(share))


@dataclasses.dataclass(frozen=True)
class EulerMaruyama(FixedStepSolver):
    """Euler's steps of the reverse SDE, dz = (f z - g^2 score) dt + g dw.

    Args:
        num_steps: integer K, steps and network evaluations. Defaults to `1000`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"uniform"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `True`.
    """

    num_steps: int = 1000
    grid: str = "uniform"
    denoise: bool = True

    invertible = False

    def rows(self, path, sde):
        drift, squared_diffusion = _rates(sde, path.time[:-1])
        dt = -np.diff(path.time)
        # g^2 dt score = -share (z - m x0)
        share = squared_diffusion * dt / path.std[:-1] ** 2
        factor = 1.0 - drift * dt - share
        return table(path, factor, share * path.mean[:-1], np.sqrt(squared_diffusion * dt))


def _rates(sde, times):
    with tf.init_scope():
        t = tf.constant(times, tf.float64)
        return sde.drift(t).numpy(), sde.squared_diffusion(t).numpy()
