"""Predictor and corrector: steps of the reverse SDE, each after Langevin moves at its time.

A move is z + e score + sqrt(2 e) n with e = 2 (snr |n| / |score|)^2 (Song et al., 2021,
arXiv:2011.13456), whose published code takes the norms over the batch. A length that depends on the
state would bias the moves, and one that depends on the batch would change samples with it. As the
predicted noise is about as long as noise, |n| / |score| is sigma here: e = 2 (snr sigma)^2.
"""

import dataclasses

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number
from tfgen.samplers.diffusion.solver import FixedStepSolver
from tfgen.samplers.diffusion.step_table import interleaved, table
from tfgen.samplers.diffusion.stochastic import Ancestral, EulerMaruyama

_PREDICTORS = {"euler_maruyama": EulerMaruyama, "ancestral": Ancestral}


@dataclasses.dataclass(frozen=True)
class PredictorCorrector(FixedStepSolver):
    """Its order is that of its predictor, 1; the moves' own bias falls with `snr` and sigma.

    Args:
        num_steps: integer K, steps; each but the denoising one takes 1 + `num_corrections` network
            evaluations. Defaults to `500`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"uniform"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `True`.
        predictor: string, "euler_maruyama" or "ancestral". Defaults to `"euler_maruyama"`.
        num_corrections: integer, Langevin moves before each step. Defaults to `1`.
        snr: float, length of the gradient's part of a move over that of the noise's. Defaults to
            `0.16`.
    """

    num_steps: int = 500
    grid: str = "uniform"
    denoise: bool = True
    predictor: str = "euler_maruyama"
    num_corrections: int = 1
    snr: float = 0.16

    invertible = False

    def __post_init__(self):
        super().__post_init__()
        if self.predictor not in _PREDICTORS:
            raise ConfigError(
                f"predictor {self.predictor!r} is unknown; choose one of {', '.join(_PREDICTORS)}"
            )
        whole_number("num_corrections", self.num_corrections, 1)
        in_range("snr", self.snr, 0.0, above=True)

    def rows(self, path, sde):
        predictor = _PREDICTORS[self.predictor](self.num_steps, self.grid, self.end, self.denoise)
        share = np.full(len(path.time) - 1, 2.0 * self.snr**2)  # e / sigma^2
        spread = np.sqrt(2.0 * share) * path.std[:-1]
        move = table(path, 1.0 - share, share * path.mean[:-1], spread)
        return interleaved(*[move] * self.num_corrections, predictor.rows(path, sde))
