"""How far a run has come, and how long it will take."""

import math
import sys
import time
from typing import TextIO

import keras
import rich.console
import rich.progress


class ProgressBar(keras.callbacks.Callback):
    """A bar over the whole run with losses and the time left; use it with `fit(verbose=0)`.

    On a terminal it is one live line. Elsewhere (a log file) it prints one line per epoch, and
    within long epochs one a minute.

    Args:
        total_steps: steps of the whole run, those of earlier processes included. By default the
            epochs of this `fit` times its steps.
        names: reported scalars to show, in this order; by default all.
        file: where to print. Defaults to the standard output.
    """

    def __init__(
        self,
        total_steps: int | None = None,
        names: tuple[str, ...] | None = None,
        file: TextIO | None = None,
    ):
        super().__init__()
        self.total_steps = total_steps
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
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=24),
                rich.progress.TextColumn("{task.fields[status]}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=self._total, status="tracing the first step")
            self._bar.update(self._task, completed=self._start)
            self._bar.start()

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
            self._bar = None

    def _print(self, logs):
        self._shown = time.monotonic()
        print(f"{self._description()}  {self._status(logs)}", file=self._console.file, flush=True)

    def _refresh(self, logs):
        self._shown = time.monotonic()
        self._bar.update(
            self._task,
            completed=self._step(),
            description=self._description(),
            status=self._status(logs),
        )

    def _description(self):
        total = f"/{self._total}" if self._total else ""
        return f"epoch {self._epoch}/{self.params['epochs']} step {self._step()}{total}"

    def _status(self, logs):
        logs = logs or {}
        names = logs if self.names is None else [name for name in self.names if name in logs]
        parts = [f"{name} {logs[name]:.4g}" for name in names]
        if skipped := self.model.counters()["skipped_steps"]:
            parts.append(f"skipped {skipped}")
        parts.append(f"{_clock(time.monotonic() - self._clock)} gone")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"{_clock(left)} left")
        return "  ".join(parts)

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


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
