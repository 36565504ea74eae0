"""How far a run has come, and how long it will take."""

import atexit
import math
import sys
import time
from typing import TextIO

import keras
import rich.console
import rich.progress
import rich.table


class ProgressBar(keras.callbacks.Callback):
    """A bar over the whole run with losses and the time left; use it with `fit(verbose=0)`.

    On a terminal it is one live line. Elsewhere (a log file) it prints one line per epoch, and
    within long epochs one a minute.

    Args:
        total_steps: integer, steps of the whole run, those of earlier processes included. None is
            the epochs of this `fit` times its steps.
        names: tuple of the names of reported scalars to show, in this order; None shows all, the
            loss first.
        file: open text file to print to. None is the standard output.
        total_epochs: integer, epochs of the whole run. None is those of this `fit`.
    """

    def __init__(
        self,
        total_steps: int | None = None,
        names: tuple[str, ...] | None = None,
        file: TextIO | None = None,
        total_epochs: int | None = None,
    ):
        super().__init__()
        self.total_steps, self.total_epochs = total_steps, total_epochs
        self.names = names
        self._file = file
        self._bar = None

    def on_train_begin(self, logs=None):
        self._console = rich.console.Console(file=self._file or sys.stdout)
        self._start = self._step()
        self._clock = self._shown = time.monotonic()
        self._traced = None
        self._total = self.total_steps
        if self._total is None and self.params.get("steps"):
            self._total = self._start + self.params["steps"] * self.params["epochs"]
        if self._console.is_terminal:
            # A narrow terminal cuts the last column, never the time left.
            flexible = rich.table.Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=12),
                rich.progress.TextColumn("{task.fields[times]}"),
                rich.progress.TextColumn("{task.fields[values]}", table_column=flexible),
                console=self._console,
                expand=True,
            )
            self._task = self._bar.add_task("", total=self._total, times="tracing", values="")
            self._bar.update(self._task, completed=self._start)
            self._bar.start()
            atexit.register(self._bar.stop)  # brings the cursor back if `fit` raises

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if self._traced is None:
            # The first step is mostly tracing: it says nothing about the pace.
            self._traced = (now, self._step())
        elif self._bar is None and now - self._shown >= 60:
            self._print(logs)
        if self._bar is not None and now - self._shown >= 0.2:
            self._refresh(logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._bar is None:
            self._print(logs)
        else:
            self._refresh(logs)

    def on_train_end(self, logs=None):
        if self._bar is not None:
            self._bar.stop()
            atexit.unregister(self._bar.stop)
            self._bar = None

    def _print(self, logs):
        self._shown = time.monotonic()
        parts = [self._description(), self._times(), self._values(logs)]
        print("  ".join(parts), file=self._console.file, flush=True)

    def _refresh(self, logs):
        self._shown = time.monotonic()
        self._bar.update(
            self._task,
            completed=self._step(),
            description=self._description(),
            times=self._times(),
            values=self._values(logs),
        )

    def _description(self):
        total = f"/{self._total}" if self._total else ""
        epochs = self.total_epochs or self.params["epochs"]
        return f"epoch {self._epoch}/{epochs} step {self._step()}{total}"

    def _values(self, logs):
        logs = logs or {}
        names = self.names or sorted(logs, key=lambda name: name != "loss")
        parts = [f"{name} {logs[name]:.4g}" for name in names if name in logs]
        if skipped := self.model.counters()["skipped_steps"]:
            parts.append(f"skipped {skipped}")
        return "  ".join(parts)

    def _times(self):
        left = self._seconds_left()
        if left is None:
            return f"{clock(time.monotonic() - self._clock)} gone"
        return f"{clock(left)} left"

    def _seconds_left(self):
        if self._traced is None or not self._total:
            return None
        since, first = self._traced
        done = self._step() - first
        if done <= 0:
            return None
        return (time.monotonic() - since) / done * max(self._total - self._step(), 0)

    def _step(self):
        return int(self.model.train_steps.numpy())


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `1:02:03`.

    Args:
        seconds: float, not negative; a part of a second counts as a whole one.
    """
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
