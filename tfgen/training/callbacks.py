"""Callbacks that steer a run: stop it, save it, evaluate it with averaged weights."""

import time

import keras

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.training.checkpoint import CheckpointManager

_SKIPS_AT_END = 3


class NonFiniteError(UserError, ArithmeticError):
    """Training produced nothing but NaN or infinity for too many steps on end.

    Attributes:
        first_step: integer, first step of the range, counted from 0.
        last_step: integer, last step of the range.
    """

    def __init__(self, first_step: int, last_step: int):
        super().__init__(
            f"The loss or its gradients were not finite in steps {first_step} to {last_step}; all "
            "of these updates were skipped. Lower the learning rate, or raise or anneal the "
            "regularisation, and start again from an earlier checkpoint or from scratch."
        )
        self.first_step = first_step
        self.last_step = last_step


class NonFiniteGuard(keras.callbacks.Callback):
    """Stops a run whose updates are skipped again and again.

    `tfgen.training.Model` skips single bad steps on its own. A run of them means that the weights
    themselves are beyond repair, or that a float16 loss scale finds no value that works.

    Args:
        max_consecutive: integer, skips in a row that are too many; 20 lets the loss scale shrink by
            a factor of a million first. Defaults to `20`.
        whole_run: boolean, whether `fit` is called once for the whole run, so that its end is the
            run's. Defaults to `True`.

    Raises:
        NonFiniteError: at the end of the batch that reaches the limit, or of the run (`check_end`).
    """

    def __init__(self, max_consecutive: int = 20, whole_run: bool = True):
        super().__init__()
        self.max_consecutive = max_consecutive
        self.whole_run = whole_run

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.consecutive_skips.numpy()) >= self.max_consecutive:
            self._give_up(self.model)

    def on_train_end(self, logs=None):
        if self.whole_run and not stopping.requested():
            self.check_end(self.model)

    def check_end(self, model: keras.Model) -> None:
        """Refuses a run that ends among skips, too short as it may be to reach the limit.

        One or two may be a loss scale that was looking for its value.

        Args:
            model: a `keras.Model` after its last step.

        Raises:
            NonFiniteError: three updates or more, or half of all, were skipped at the very end.
        """
        counters = model.counters()
        skips = counters["consecutive_skips"]
        if skips and (skips >= _SKIPS_AT_END or 2 * skips >= counters["train_steps"]):
            self._give_up(model)

    def _give_up(self, model):
        counters = model.counters()
        raise NonFiniteError(counters["first_skipped_step"], counters["last_skipped_step"])


class Checkpointing(keras.callbacks.Callback):
    """Saves the run at the end of epochs, and within them if they are long.

    Put it after callbacks that change weights, and before those that only look. When a run is
    stopped within an epoch, Keras ends that epoch, so it is saved as well.

    Args:
        manager: the `CheckpointManager` that saves.
        every_epochs: integer, epochs between saves; the last epoch is always saved. Defaults to
            `1`.
        every_minutes: float; saves within an epoch when the last save is this old. `None` does not.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        every_epochs: int = 1,
        every_minutes: float | None = None,
    ):
        super().__init__()
        self.manager = manager
        self.every_epochs = every_epochs
        self.every_minutes = every_minutes

    def on_train_begin(self, logs=None):
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        due = self.every_minutes is not None
        if due and time.monotonic() - self._saved_at >= 60 * self.every_minutes:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if last or (epoch + 1) % self.every_epochs == 0:
            self._save()

    def _save(self):
        self.manager.save(self.model)
        self._saved_at = time.monotonic()


class StopOnSignal(keras.callbacks.Callback):
    """Ends `fit` after the step during which a signal arrived; put it before all others.

    What `tfgen.stopping.watching` notes is looked at; without it this does nothing.
    """

    def on_train_begin(self, logs=None):
        self._look()

    def on_train_batch_end(self, batch, logs=None):
        self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def _look(self):
        if stopping.requested():
            self.model.stop_training = True


class TimeLimit(keras.callbacks.Callback):
    """Ends a run before it has taken longer than allowed.

    Between epochs it stops when another epoch as long as the longest so far would not fit. Put it
    before `Checkpointing`, so that the last epoch is saved.

    Args:
        minutes: float, time from the beginning of `fit`.
        within_epochs: whether to stop in the middle of an epoch too when the time is up. Defaults
            to `False`, for runs that count whole epochs.

    Attributes:
        is_over: whether it has ended the run.
    """

    def __init__(self, minutes: float, within_epochs: bool = False):
        super().__init__()
        self.minutes = minutes
        self.within_epochs = within_epochs
        self.is_over = False

    def on_train_begin(self, logs=None):
        self._begin = self._epoch_end = time.monotonic()
        self._longest, self.is_over = 0.0, False

    def on_train_batch_end(self, batch, logs=None):
        if self.within_epochs:
            self._stop_where_over(time.monotonic())

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        self._longest = max(self._longest, now - self._epoch_end)
        self._epoch_end = now
        self._stop_where_over(now + (0.0 if self.within_epochs else self._longest))

    def _stop_where_over(self, needed_until):
        if needed_until - self._begin >= 60 * self.minutes:
            self.model.stop_training = self.is_over = True
