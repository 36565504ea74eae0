"""Callbacks that leave a record of a run: CSV, TensorBoard, sample images."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import UserError, reason_of
from tfgen.files.images import grid, save_grid
from tfgen.files.row_log import RowLog
from tfgen.training.averages import averaged_weights
from tfgen.training.joint_optimizer import plain_optimizers


class CSVLog(keras.callbacks.Callback):
    """One row per epoch, and per so many steps if wished, in a CSV file.

    The columns are `step`, `epoch`, `learning_rate`, `skipped_steps` and whatever is reported. A
    run that is resumed goes on in the same file; rows beyond the step it resumes from belong to a
    future that did not happen, and are dropped; so are a torn last line and damaged ones.

    Args:
        path: path of the file.
        every_steps: integer; adds a row within the epoch every so many steps. `None` does not.

    Raises:
        UserError: the file cannot be written, or is not one of these.
    """

    COLUMNS = ("step", "epoch", "learning_rate", "skipped_steps")

    def __init__(self, path: str | os.PathLike, every_steps: int | None = None):
        super().__init__()
        self.path = Path(path)
        self.every_steps = every_steps
        self._log = RowLog(self.path, self.COLUMNS)

    def on_train_begin(self, logs=None):
        step = _step(self.model)
        self._next = _next_report(step, self.every_steps)
        with _writing(self.path):
            self._log.resume(step)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if self._next is not None and _step(self.model) >= self._next:
            self._next = _next_report(_step(self.model), self.every_steps)
            self._add(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._add(logs)

    def _add(self, logs):
        row = {
            "step": _step(self.model),
            "epoch": self._epoch,
            "skipped_steps": self.model.counters()["skipped_steps"],
            **learning_rates(self.model),
            **(logs or {}),
        }
        with _writing(self.path):
            self._log.add(row)


class TensorBoard(keras.callbacks.Callback):
    """Reported scalars and vectors, the learning rate and the skips, for TensorBoard.

    A vector of length L (KL per latent group, say) becomes L scalars `name/00`, `name/01`, ...

    Args:
        log_dir: path of the folder of the event files.
        every_steps: integer; also reports within the epoch every so many steps. `None` does not.
    """

    def __init__(self, log_dir: str | os.PathLike, every_steps: int | None = None):
        super().__init__()
        self.log_dir = Path(log_dir)
        self.every_steps = every_steps

    def on_train_begin(self, logs=None):
        self._next = _next_report(_step(self.model), self.every_steps)

    def on_train_batch_end(self, batch, logs=None):
        if self._next is not None and _step(self.model) >= self._next:
            self._next = _next_report(_step(self.model), self.every_steps)
            self._write(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._write(logs)
        with _writing(self.log_dir):
            _summary_writer(self.log_dir).flush()

    def _write(self, logs):
        scalars = dict(logs or {})
        for name, values in self.model.vector_logs().items():
            scalars |= {f"{name}/{index:02d}": value for index, value in enumerate(values)}
        scalars |= learning_rates(self.model)
        scalars["skipped_steps"] = self.model.counters()["skipped_steps"]
        with _writing(self.log_dir), _summary_writer(self.log_dir).as_default(_step(self.model)):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)


class SampleImages(keras.callbacks.Callback):
    """A grid of samples at the end of epochs, always from the same seeds.

    The model must have `sample(num_images, temperature=..., seed=...)`. A signal that ends the run
    (see `StopOnSignal`) is not kept waiting for one.

    Args:
        directory: path of the folder of the grids, `step-00012345.png`.
        num_images: integer, how many. Defaults to `64`.
        temperature: float, scale on the prior's standard deviation. Defaults to `1.0`.
        seed: integer, seed of the samples. Defaults to `0`.
        every_epochs: integer, epochs between grids; the last epoch always has one. Defaults to `1`.
        columns: integer, columns of the grid; None makes it about square.
        log_dir: path; if given, the grids go to TensorBoard as well. None does not.
        ema: whether to sample with the moving averages of the weights, if there are any. Defaults
            to `True`.
        total_epochs: integer, epochs of the whole run. None is those of this `fit`.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        num_images: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
        every_epochs: int = 1,
        columns: int | None = None,
        log_dir: str | os.PathLike | None = None,
        ema: bool = True,
        total_epochs: int | None = None,
    ):
        super().__init__()
        self.directory, self.total_epochs = Path(directory), total_epochs
        self.num_images = num_images
        self.temperature = temperature
        self.seed = seed
        self.every_epochs = every_epochs
        self.columns = columns
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.ema = ema

    def on_epoch_end(self, epoch, logs=None):
        if stopping.requested():
            return
        epochs = self.total_epochs or self.params["epochs"]
        if self.model.stop_training or self._is_due(epoch + 1, epochs):
            self._draw(self.model)

    def draw_lacking(self, model: keras.Model, epochs_done: int, epochs: int) -> None:
        """Draws the grid of an epoch that was saved by a process that ended before it drew it.

        Args:
            model: `keras.Model` as it was at the end of that epoch.
            epochs_done: integer, how many epochs it was trained for.
            epochs: integer, how many it is to be trained for.
        """
        if self._is_due(epochs_done, epochs) and not self._path(model).exists():
            self._draw(model)

    def _is_due(self, epochs_done, epochs):
        return epochs_done == epochs or epochs_done % self.every_epochs == 0

    def _path(self, model):
        return self.directory / f"step-{_step(model):08d}.png"

    def _draw(self, model):
        with averaged_weights(model) if self.ema else contextlib.nullcontext():
            images = model.sample(self.num_images, temperature=self.temperature, seed=self.seed)
        images = np.asarray(images)
        path = self._path(model)
        with _writing(path):
            save_grid(images, path, self.columns)
        if self.log_dir is not None:
            with _writing(self.log_dir), _summary_writer(self.log_dir).as_default():
                picture = grid(images, self.columns)[None]
                tf.summary.image("samples", picture, step=_step(model))


def learning_rates(model: keras.Model) -> dict[str, float]:
    """The learning rate of the model's next update; `learning_rate_PART` where parts differ."""
    rates = {"learning_rate": model.optimizer.learning_rate} | {
        f"learning_rate_{part}": optimizer.learning_rate
        for part, optimizer in plain_optimizers(model.optimizer).items()
        if part
    }
    return {name: float(keras.ops.convert_to_numpy(rate)) for name, rate in rates.items()}


@functools.cache
def _summary_writer(log_dir: Path):
    """The one writer of a folder: TensorBoard reads only the newest event file of a process."""
    return tf.summary.create_file_writer(str(log_dir))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise UserError(
            f"Cannot write {path}: {reason}. Training is kept up to the last checkpoint; free "
            "some space or make the folder writable, and run again."
        ) from error


def _step(model) -> int:
    return int(model.train_steps.numpy())


def _next_report(step, every_steps):
    return None if every_steps is None else (step // every_steps + 1) * every_steps
