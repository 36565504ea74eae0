"""Survives the explosions that training an energy by short chains brings about sooner or later.

The sign is the energy gap d = mean E(data) - mean E(samples): near zero while chains keep up with
the energy, and running away once they do not.
"""

import os
from pathlib import Path

import keras
import numpy as np

from tfgen.errors import ConfigError, UserError
from tfgen.training.checkpoint import CheckpointManager

_COUNTERS = ("train_steps", "skipped_steps", "first_skipped_step", "last_skipped_step")


class ExplosionError(UserError, ArithmeticError):
    """The energy exploded again and again."""


class ExplosionGuard(keras.callbacks.Callback):
    """Keeps the last healthy states, and goes back to one with a smaller learning rate.

    The model's running energy gap (`gap_average`) is looked at after every batch. While it is well
    within bounds the state is saved now and then: weights, moments, moving averages, buffer,
    singular vectors. Beyond them, or when updates are skipped for not being finite, the newest
    healthy state comes back, the learning rate shrinks, and training goes on with the next batch;
    the step counter does not go back, so neither data nor random numbers repeat. A state from which
    training explodes once more before another was saved is given up for the one before it.

    Args:
        directory: path of the folder of the healthy states.
        max_gap: float, largest magnitude of the running gap. Defaults to `20.0`.
        every_steps: integer, steps between saves. Defaults to `500`.
        keep: integer, how many states are kept. Defaults to `3`.
        learning_rate_factor: float that multiplies the learning rate at every explosion. Defaults
            to `0.5`.
        max_skips: integer, updates skipped in a row that count as an explosion. Defaults to `5`.
        max_rollbacks: integer, explosions of one run that are too many. Defaults to `10`.
        report: function called with a sentence for every explosion. Defaults to `print`.

    Raises:
        ExplosionError: after `max_rollbacks`; the model then is in its last healthy state.
    """

    MAX_GAP = 20.0

    def __init__(
        self,
        directory: str | os.PathLike,
        max_gap: float = MAX_GAP,
        every_steps: int = 500,
        keep: int = 3,
        learning_rate_factor: float = 0.5,
        max_skips: int = 5,
        max_rollbacks: int = 10,
        report=print,
    ):
        super().__init__()
        self.manager = CheckpointManager(Path(directory), keep)
        self.max_gap = max_gap
        self.every_steps = every_steps
        self.learning_rate_factor = learning_rate_factor
        self.max_skips = max_skips
        self.max_rollbacks = max_rollbacks
        self.report = report
        self.rollbacks = 0
        self._used = None  # the state that the latest explosion led back to

    def on_train_begin(self, logs=None):
        _rate_variable(self.model.optimizer)  # says at once if there is none
        self._saved_step = self._step()
        if self.manager.latest() is None:
            self.manager.save(self.model)

    def on_train_batch_end(self, batch, logs=None):
        gap = float(self.model.gap_average.numpy())
        skips = int(self.model.consecutive_skips.numpy())
        if not abs(gap) <= self.max_gap or skips >= self.max_skips:
            self._roll_back(gap, skips)
            return
        due = self._step() - self._saved_step >= self.every_steps
        if due and skips == 0 and abs(gap) <= self.max_gap / 2:
            self.manager.save(self.model)
            self._saved_step = self._step()

    def _step(self) -> int:
        return int(self.model.train_steps.numpy())

    def _roll_back(self, gap, skips):
        step, rate = self._step(), _rate_variable(self.model.optimizer)
        lowered = float(rate.numpy()) * self.learning_rate_factor
        states = self.manager.checkpoints()
        if self._used == states[-1] and len(states) > 1:
            states.pop().unlink()
        self._used = states[-1]
        counters = {name: getattr(self.model, name).numpy() for name in _COUNTERS}
        self.manager.restore(self.model)
        back = self._step()
        for name, value in counters.items():
            getattr(self.model, name).assign(value)
        self.model.consecutive_skips.assign(0)
        rate = _rate_variable(self.model.optimizer)
        rate.assign(np.float32(lowered))
        self._saved_step = step
        self.rollbacks += 1
        reason = f"energy gap {gap:.3g}" if skips < self.max_skips else f"{skips} skipped updates"
        self.report(
            f"step {step:,}: {reason}, an explosion; back to the state of step {back:,}, "
            f"learning rate times {self.learning_rate_factor:g}"
        )
        if self.rollbacks > self.max_rollbacks:
            raise ExplosionError(
                f"the energy exploded {self.rollbacks} times, at last in step {step}; raise "
                "spectral_coefficient or energy_coefficient, or take a smaller step_size"
            )


def _rate_variable(optimizer) -> keras.Variable:
    """What to multiply to slow an optimizer down."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    variable = getattr(optimizer, "rate_factor", None)
    if variable is None:
        variable = optimizer._learning_rate
    if not isinstance(variable, keras.Variable):
        raise ConfigError(
            f"ExplosionGuard cannot lower the learning-rate schedule of "
            f"{type(optimizer).__name__}; take ClippedAdam, or a constant rate"
        )
    return variable
