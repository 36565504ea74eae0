"""Heun's steps in the noise level of z / m, with optional churn: the sampler of EDM.

With zhat = z / m and the level s = sigma / m the ODE is d zhat / d s = eps (Karras et al., 2022,
arXiv:2206.00364), whatever the diffusion.
"""

import dataclasses
import math

import numpy as np

from tfgen.ops.checks import in_range
from tfgen.samplers.diffusion.solver import FixedStepSolver
from tfgen.samplers.diffusion.step_table import interleaved, table
from tfgen.samplers.diffusion.time_grids import Path, times_of_noise_to_signal
from tfgen.samplers.diffusion.time_grids import path as path_of


@dataclasses.dataclass(frozen=True)
class Heun(FixedStepSolver):
    """Two evaluations a step, order 2 without churn; the denoising step takes one.

    Args:
        num_steps: integer K, steps; 2 K - 1 network evaluations with the denoising one, 2 K
            without. Defaults to `18`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"edm"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `True`.
        churn: float, S_churn: before each step the level is raised by churn / K of itself, at most
            by sqrt(2) - 1, and that much fresh noise added. Never above the level at t = 1.
            Defaults to `0.0`.
        churn_from: float, S_tmin, the lowest level that is raised. Defaults to `0.0`.
        churn_to: float, S_tmax, the highest; None, the default: no limit.
        churn_noise: float, S_noise, factor on the fresh noise. Defaults to `1.0`.
    """

    num_steps: int = 18
    grid: str = "edm"
    denoise: bool = True
    churn: float = 0.0
    churn_from: float = 0.0
    churn_to: float | None = None
    churn_noise: float = 1.0

    order = 2

    def __post_init__(self):
        super().__post_init__()
        for name in ("churn", "churn_from", "churn_noise"):
            in_range(name, getattr(self, name), 0.0)

    def rows(self, path, sde):
        levels, times = path.noise_to_signal, path.time.copy()
        raised = np.minimum(levels * (1.0 + self._raises(levels)), max(levels[0], levels[-1]))
        moved = raised > levels
        if np.any(moved):
            times[moved] = times_of_noise_to_signal(sde, raised[moved])
        asked = path_of(sde, times)  # where steps start, churn included
        after = slice(1, None)
        ratio = levels[after] / raised[:-1]
        # The slope counts half of the first and half of the second prediction of the noise.
        change = 0.5 * (levels[after] - raised[:-1]) / levels[after]
        scale = asked.mean[after] / path.mean[after]  # the next step starts at its raised level
        fresh = self.churn_noise * np.sqrt(raised[after] ** 2 - levels[after] ** 2)
        fresh[-1] = 0.0  # nothing follows
        scale[-1] = 1.0
        weights = path.mean[after] * (1.0 - ratio)
        euler = table(asked, ratio * path.mean[after] / asked.mean[:-1], weights)
        corrected = table(
            Path(*(column[after] for column in path)),
            scale,
            (scale * path.mean[after] * change)[:, None] * np.array([-1.0, 1.0]),
            asked.mean[after] * fresh,
        )
        return interleaved(euler, corrected)

    def _raises(self, levels):
        highest = math.inf if self.churn_to is None else self.churn_to
        inside = (levels >= self.churn_from) & (levels <= highest)
        raises = np.where(inside, min(self.churn / self.num_steps, math.sqrt(2.0) - 1.0), 0.0)
        raises[-1] = 0.0
        return raises
