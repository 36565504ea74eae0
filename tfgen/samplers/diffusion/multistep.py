"""Solvers that remember predictions: DDIM and DPM-Solver++, both exact where x0 does not change.

In lambda = log(m / sigma) the probability-flow ODE has the solution

    z_i = (sigma_i / sigma_{i-1}) z_{i-1} + sigma_i int e^lambda x0 d lambda

and what is left to choose is a polynomial for x0: constant in DDIM (Song, Meng & Ermon, 2021),
through two or three predictions in DPM-Solver++ (Lu et al., 2022, arXiv:2211.01095).
"""

import dataclasses

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range
from tfgen.samplers.diffusion.solver import FixedStepSolver
from tfgen.samplers.diffusion.step_table import table


@dataclasses.dataclass(frozen=True)
class DDIM(FixedStepSolver):
    """The step that is exact while the predicted data stay; order 1.

    Args:
        num_steps: integer K, steps and network evaluations. Defaults to `20`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"log_snr"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `False`.
        eta: float from 0 to 1, part of the noise that is fresh: at 1 it samples as DDPM does with
            the posterior variance. Defaults to `0.0`.
    """

    eta: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        in_range("eta", self.eta, 0.0, below=1.0 + 1e-9)

    def rows(self, path, sde):
        fresh = self.eta * path.std[1:] * np.sqrt(path.fresh_share)
        kept = np.sqrt(path.std[1:] ** 2 - fresh**2)
        factor = kept / path.std[:-1]
        return table(path, factor, path.mean[1:] - factor * path.mean[:-1], fresh)


@dataclasses.dataclass(frozen=True)
class DPMSolver(FixedStepSolver):
    """DPM-Solver++, multistep: "2M" and "3M", one evaluation a step.

    The first steps, with too few predictions to remember, are of lower order. With `denoise` the
    last one is as well, which steadies very short runs.

    Args:
        num_steps: integer K, steps and network evaluations, at least the order. Defaults to `20`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"log_snr"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `False`.
        order: integer, 1, 2 or 3: predictions that a step looks at. Defaults to `2`.
    """

    order: int = 2

    def __post_init__(self):
        if self.order not in (1, 2, 3):
            raise ConfigError(f"order is {self.order!r}; expected 1, 2 or 3")
        super().__post_init__()

    @property
    def least_steps(self):
        return self.order

    def rows(self, path, sde):
        count = len(path.time) - 1
        weights = np.zeros((count, self.order))
        for k in range(count):
            known = path.half_log_snr[max(k + 1 - self.order, 0) : k + 2]
            weights[k, : len(known) - 1] = path.mean[k + 1] * _weights(known)
        return table(path, path.std[1:] / path.std[:-1], weights)


def _weights(half_log_snr):
    """Of the newest prediction first; times m, they are those of the last step of these nodes."""
    *nodes, end = half_log_snr
    h = end - nodes[-1]
    whole = -np.expm1(-h)  # int e^(lambda - end)
    if len(nodes) == 1:
        return np.array([whole])
    back = nodes[-1] - nodes[-2]
    if len(nodes) == 2:
        # As published: the slope counts h / 2, which is within O(h^3) of the integral.
        slope = 0.5 * whole * h / back
        return np.array([whole + slope, -slope])
    # The parabola through three predictions, integrated exactly, in Newton's form.
    first = h - whole  # int s e^(s - h)
    second = h * h - 2.0 * first  # int s^2 e^(s - h)
    further = nodes[-2] - nodes[-3]
    curvature = (second + back * first) / (back + further)
    slope = first / back + curvature / back
    return np.array([whole + slope, -slope - curvature / further, curvature / further])
