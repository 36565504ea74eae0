"""A search from beginning to end: warm-up of the weights, then weights and architecture together.

Every phase has optimizers of its own, which begin anew. What is saved says where a search stands:
the same call again goes on, bit for bit.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import ConfigError, DataError
from tfgen.ops.checks import in_range, whole_number
from tfgen.optimizers import Adam
from tfgen.search.unas.searcher import UNAS
from tfgen.training import (
    CheckpointManager,
    JointOptimizer,
    StopOnSignal,
    WarmupCosine,
    weights_kept,
)
from tfgen.training.stretches import stretches

_SHARE_OF_SAVING = 0.1


@dataclasses.dataclass(frozen=True)
class Phases:
    """How long a search is, and its learning rates.

    Attributes:
        steps_per_epoch: integer, steps of an epoch.
        warmup_epochs: integer, epochs in which the weights alone learn, at a constant rate.
        epochs: integer, epochs of search.
        weight_rates: pair of floats, learning rates of the shared weights at the beginning and at
            the end of the search.
        logit_rates: pair of floats, those of the architecture's logits.
        ema_momentum: float in [0, 1], of moving averages of the shared weights, begun anew in every
            phase, with which `UNAS.best` measures architectures: single steps' weights order them
            by chance in part. None keeps no averages.

    Raises:
        ConfigError: a number is out of range.
    """

    steps_per_epoch: int
    warmup_epochs: int = 15
    epochs: int = 85
    weight_rates: tuple[float, float] = (6e-4, 1e-4)
    logit_rates: tuple[float, float] = (2e-3, 3e-4)
    ema_momentum: float | None = None

    def __post_init__(self):
        whole_number("steps_per_epoch", self.steps_per_epoch, 1)
        whole_number("warmup_epochs", self.warmup_epochs, 0)
        whole_number("epochs", self.epochs, 1)
        in_range("weight_rates", self.weight_rates, 0.0)
        in_range("logit_rates", self.logit_rates, 0.0)
        if self.ema_momentum is not None:
            in_range("ema_momentum", self.ema_momentum, 0.0, most=1.0)

    @property
    def warmup_steps(self) -> int:
        """Steps of the first phase."""
        return self.warmup_epochs * self.steps_per_epoch

    @property
    def total_epochs(self) -> int:
        """Epochs of both phases."""
        return self.warmup_epochs + self.epochs

    @property
    def total_steps(self) -> int:
        """Steps of both phases."""
        return self.total_epochs * self.steps_per_epoch

    def optimizer(self, model: UNAS, searching: bool) -> keras.optimizers.Optimizer:
        """A new optimizer of a phase."""
        averaged = {}
        if self.ema_momentum is not None:
            averaged = dict(use_ema=True, ema_momentum=self.ema_momentum)
        if not searching:
            return Adam(self.weight_rates[0], **averaged)
        rates = {"weights": self.weight_rates, "architecture": self.logit_rates}
        options = {"weights": averaged, "architecture": {}}
        parts = {
            part: Adam(
                WarmupCosine(first, 0, self.steps_per_epoch, self.epochs, final=last),
                **options[part],
            )
            for part, (first, last) in rates.items()
            if part in model.variable_groups()
        }
        return JointOptimizer(parts)


class SavingSteps(keras.callbacks.Callback):
    """Saves after every step, as long as that takes a tenth of the time; else less often.

    So whatever ends a search costs the step that it was at, or a few quick ones.

    Args:
        manager: the `CheckpointManager` that saves.
        share: float, the part of the time that may go into saving. Defaults to `0.1`.
    """

    def __init__(self, manager: CheckpointManager, share: float = _SHARE_OF_SAVING):
        super().__init__()
        self.manager, self.share = manager, share
        self._saved, self._cost, self._step = time.monotonic(), 0.0, None

    def on_train_batch_end(self, batch, logs=None):
        if (time.monotonic() - self._saved) * self.share >= self._cost:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self) -> None:
        """Saves what is not saved yet."""
        step = int(self.model.train_steps.numpy())
        if step != self._step:
            begun = time.monotonic()
            self.manager.save(self.model)
            self._saved, self._step = time.monotonic(), step
            self._cost = self._saved - begun


class _WholeEpochs(keras.callbacks.Callback):
    """Refuses data that ends before an epoch does: phases would end early and nobody know."""

    def __init__(self, steps_per_epoch: int):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.train_steps.numpy())
        if step < (epoch + 1) * self.steps_per_epoch and not self.model.stop_training:
            raise DataError(
                f"the data of the search ended after step {step}, within an epoch of "
                f"{self.steps_per_epoch} steps; expected batches without end: repeat() them"
            )


def run_search(
    model: UNAS,
    data: Callable[[int], tf.data.Dataset],
    phases: Phases,
    manager: CheckpointManager,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    report: Callable[[str], None] = lambda text: None,
    **compiling: bool,
) -> None:
    """Searches until the end, from the last step that was saved if there is one.

    Args:
        model: a `UNAS`; it is compiled here.
        data: function of a number of steps to batches from that step on, without end.
        phases: the `Phases` of the search.
        manager: the `CheckpointManager` of its folder.
        callbacks: sequence of Keras callbacks, beside those that save and stop. Defaults to `()`.
        report: function that is told a line. Defaults to one that says nothing.
        **compiling: keyword arguments of `compile`, such as `jit_compile`, which is otherwise off.

    Raises:
        ConfigError: there are no weights to warm up.
        DataError: the data ends before the search does.
        UserError: a criterion's target cannot be reached, with the smallest value that can; what
            was saved cannot be used.
        Stopped: a signal arrived; the state was saved first.
    """
    if model.supernet is None and phases.warmup_epochs:
        raise ConfigError("a search without a supernet has no weights to warm up; give it 0 epochs")
    for criterion in model.criteria:
        criterion.check_target()  # now, not after hours of warm-up
    whole = _WholeEpochs(phases.steps_per_epoch)
    for searching, epochs in ((False, phases.warmup_epochs), (True, phases.total_epochs)):
        start = saved_steps(manager)
        if start >= epochs * phases.steps_per_epoch and not (searching and start):
            continue
        _begin(model, phases, manager, searching, start, report, compiling)
        for first, last, steps in stretches(start, phases.steps_per_epoch, epochs):
            with weights_kept(model):
                model.fit(
                    data(int(model.train_steps.numpy())),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=steps,
                    callbacks=[StopOnSignal(), *callbacks, whole, SavingSteps(manager)],
                    shuffle=False,
                    verbose=0,
                )
            stopping.check()


def saved_steps(manager: CheckpointManager) -> int:
    """Steps of the newest save that is whole; 0 where there is none."""
    found = manager.read()
    if found is None:
        return 0
    steps = [v for name, v in found.tensors.items() if name.endswith("train_steps")]
    return int(np.ravel(steps[0])[0])


def _begin(model, phases, manager, searching, start, report, compiling):
    """Makes ready for a phase: one that was begun before, or a new one with new optimizers."""
    compiled = {"jit_compile": False, **compiling}
    begun = start > phases.warmup_steps
    # What was saved at the very end of the warm-up has the optimizer of the warm-up.
    model.distribution.trainable = searching and begun
    model.compile(phases.optimizer(model, searching and begun), **compiled)
    manager.restore(model)
    if searching and not begun:
        model.distribution.trainable = True
        for name, found in model.prepare().items():
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
            report(f"{name} of architectures drawn at random: {numbers or 'not measured'}")
        model.compile(phases.optimizer(model, True), **compiled)
