"""What all solvers have in common: noise at t = 1 goes in, latents come out, counted."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import whole_number
from tfgen.ops.diffusion import SDE
from tfgen.samplers import state as states
from tfgen.samplers.diffusion.step_table import NoisePredictor, StepTable, follow, joined, table
from tfgen.samplers.diffusion.time_grids import Path, check_grid, path, time_grid
from tfgen.samplers.noise import NoiseSource


class Solution(NamedTuple):
    """Where a solver ended.

    Attributes:
        state: tensor `[N, ...]`, the states at the last time.
        num_evaluations: int32 `[N]`, network evaluations that each state took.
        success: boolean tensor `[N]`, whether the last time was reached; a solver of fixed steps
            always does.
    """

    state: tf.Tensor
    num_evaluations: tf.Tensor
    success: tf.Tensor


def starting_state(sde: SDE, noise: tf.Tensor) -> tf.Tensor:
    """Standard normals `[N, ...]` as states at t = 1, where sampling starts.

    Args:
        sde: an `SDE`, the diffusion.
        noise: tensor `[N, ...]` of standard normals.
    """
    return sde.final_variance**0.5 * tf.convert_to_tensor(noise)


@dataclasses.dataclass(frozen=True)
class FixedStepSolver:
    """A solver whose steps are chosen beforehand: a subclass fills in a table.

    `order` is p where the error falls as K^-p; `least_steps` how many steps it needs.

    Args:
        num_steps: integer K, steps from t = 1 to the end, the denoising one included. Defaults to
            `20`.
        grid: string, how times are spread, see `time_grid`. Defaults to `"log_snr"`.
        end: float, time at which it ends. Defaults to `1e-3`.
        denoise: whether the last of the steps goes on from there to the predicted data. Defaults
            to `False`.
    """

    num_steps: int = 20
    grid: str = "log_snr"
    end: float = 1e-3
    denoise: bool = False

    order = 1
    least_steps = 1
    invertible = True

    def __post_init__(self):
        least = self.least_steps + bool(self.denoise)
        if whole_number("num_steps", self.num_steps, 1) < least:
            raise ConfigError(
                f"num_steps is {self.num_steps}; {type(self).__name__} of order {self.order} needs "
                f"at least {least}{' with the denoising one' if self.denoise else ''}"
            )
        check_grid(self.grid, self.last_time)

    def rows(self, path: Path, sde: SDE) -> StepTable:
        """The table of the steps along a path, without the denoising one."""
        raise NotImplementedError

    @property
    def last_time(self) -> float:
        """The time at which it ends, before denoising."""
        return self.end

    def times(self, sde: SDE) -> np.ndarray:
        """Times from 1 down to the end, float64.

        Args:
            sde: an `SDE`, the diffusion.
        """
        return time_grid(sde, self.num_steps - bool(self.denoise), self.grid, self.last_time)

    def table(self, sde: SDE) -> StepTable:
        """All steps, in numbers: `num_evaluations` rows.

        Args:
            sde: an `SDE`, the diffusion.
        """
        return _table(self, sde)

    def num_evaluations(self, sde: SDE) -> int:
        """Network evaluations of one solution.

        Args:
            sde: an `SDE`, the diffusion.
        """
        return len(self.table(sde).time)

    def num_draws(self, sde: SDE) -> int:
        """Length of the noise `[K, N, ...]` that `solve` takes: 0 where it takes none.

        Args:
            sde: an `SDE`, the diffusion.
        """
        rows = self.table(sde)
        return len(rows.time) if rows.draws else 0

    def solve(
        self,
        sde: SDE,
        predict_noise: NoisePredictor,
        state: tf.Tensor,
        *,
        noise: tf.Tensor | None = None,
        seeds: tf.Tensor | None = None,
        seed=None,
        unroll: bool = False,
    ) -> Solution:
        """From states at t = 1 to the end.

        Args:
            sde: an `SDE`, the diffusion.
            predict_noise: function `(z, t) -> eps`, of states `[N, ...]` and times `[N]`, or
                one time where `unroll` is set.
            state: tensor `[N, ...]`, see `starting_state`.
            noise: tensor `[num_draws, N, ...]` of standard normals, or None; for solvers that draw.
            seeds: `[N]` int32, or None.
            seed: two integers, or None.
            unroll: whether to write the steps out one by one, for runtimes without loops. Defaults
                to `False`.

        Returns:
            A `Solution`.
        """
        rows = self.table(sde)
        z = states.prepare(state)
        count, draw = len(rows.time), None
        if rows.draws:
            draw = NoiseSource(noise, seeds, seed).covering(z, count).normal
        return _counted(follow(rows, predict_noise, z, draw, unroll), count)

    def encode(
        self, sde: SDE, predict_noise: NoisePredictor, state: tf.Tensor, *, unroll: bool = False
    ) -> Solution:
        """From data to noise: the same steps the other way round.

        Args:
            sde: an `SDE`, the diffusion.
            predict_noise: function `(z, t) -> eps`, of states `[N, ...]` and times `[N]`, or
                one time where `unroll` is set.
            state: tensor `[N, ...]`, states at the time `end`.
            unroll: whether to write the steps out one by one. Defaults to `False`.

        Returns:
            A `Solution` at t = 1.

        Raises:
            UserError: the solver draws noise, so that it cannot be turned round.
        """
        if not self.turns_round(sde):
            raise UserError(
                f"{type(self).__name__} draws noise and has no way back; encode with RK45, "
                "DPMSolver or DDIM"
            )
        rows = self._rows_back(sde)
        z = follow(rows, predict_noise, states.prepare(state), None, unroll)
        return _counted(z, len(rows.time))

    def turns_round(self, sde: SDE) -> bool:
        """Whether it can `encode`: it draws no noise.

        Args:
            sde: an `SDE`, the diffusion.
        """
        return self.invertible and not self._rows_back(sde).draws

    def _rows_back(self, sde):
        return self.rows(path(sde, self.times(sde)[::-1]), sde)

    def get_config(self) -> dict:
        """The fields by name, as `from_config` takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "FixedStepSolver":
        """A solver with these fields.

        Args:
            config: dict, as `get_config` gives it.
        """
        return cls(**config)


@functools.lru_cache(maxsize=64)
def _table(solver: FixedStepSolver, sde: SDE) -> StepTable:
    along = path(sde, solver.times(sde))
    rows = solver.rows(along, sde)
    if not solver.denoise:
        return rows
    return joined(rows, table(Path(*(column[-1:] for column in along)), [0.0], [1.0]))


def _counted(z, count: int) -> Solution:
    shape = tf.shape(z)[:1]
    return Solution(z, tf.fill(shape, count), tf.fill(shape, True))
