"""Which epoch's weights to keep, without a single box.

The loss goes on falling on held-out captions while words point at the wrong regions, and choosing
by boxes would use the very labels that are not to be had. What is asked instead: how often the true
noun of a caption scores above words that fit the caption but not the image.
"""

import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.arrays import read_archive
from tfgen.errors import UserError
from tfgen.files.replacing import replace_file

FILE = "selection.npz"


class WordChoiceSelection(keras.callbacks.Callback):
    """Keeps the weights of the epoch whose `PhraseGrounding` chose held-out nouns best.

    The share enters the epoch's logs as `held_out_word_choice`; of equal epochs the first is kept.
    Put it before callbacks that record.

    Args:
        dataset: iterable of batches of held-out images and captions with negatives, one pass.
        folder: path where the best weights so far are kept, so that a run that is interrupted
            remembers them; None keeps them in memory.
        restore: whether to give the best weights back when training ends. Defaults to `True`.
    """

    def __init__(self, dataset, folder: str | os.PathLike | None = None, restore: bool = True):
        super().__init__()
        self.dataset, self.restore = dataset, restore
        self.path = None if folder is None else Path(folder) / FILE
        self.best, self._weights, self._step = -np.inf, None, None

    def on_train_begin(self, logs=None):
        if self._weights is None and self.path is not None and int(self.model.train_steps.numpy()):
            self._read()

    def on_epoch_begin(self, epoch, logs=None):
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training and self._steps < (self.params.get("steps") or 0):
            return  # an epoch that was interrupted is judged once it is whole
        found = self.word_choice()
        if logs is not None and np.isfinite(found):
            logs["held_out_word_choice"] = found
        if found > self.best:
            self.best = found
            self._weights = [variable.numpy() for variable in self._variables()]
            if self.path is not None:
                self._write()

    def on_train_end(self, logs=None):
        if self.restore:
            self.give_back()

    def give_back(self) -> bool:
        """Gives the model its best weights; returns whether there were any."""
        if self._weights is None:
            return False
        for variable, value in zip(self._variables(), self._weights, strict=True):
            variable.assign(value)
        return True

    def word_choice(self) -> float:
        """The share of held-out nouns that score above all words in their place; NaN without."""
        if self._step is None:
            self._step = tf.function(
                lambda batch: self.model.evaluation_logs(self.model.batch_of(batch)),
                reduce_retracing=True,
                autograph=False,
            )
        right = nouns = 0.0
        for batch in self.dataset:
            found = self._step(batch)
            if "word_choice" in found:
                right += float(tf.reduce_sum(found["word_choice"]))
                nouns += float(tf.reduce_sum(found["nouns"]))
        return right / nouns if nouns else np.nan

    def _variables(self) -> list:
        """What inference depends on: all that training moves but its counters."""
        return [v for v in self.model.weights if "float" in str(v.dtype)]

    def _write(self):
        arrays = {f"weight_{i}": value for i, value in enumerate(self._weights)}
        with replace_file(self.path) as temporary, open(temporary, "wb") as file:
            np.savez(file, score=self.best, **arrays)

    def _read(self):
        names = [f"weight_{i}" for i in range(len(self._variables()))]
        try:
            found = read_archive(self.path, ["score", *names])
        except (OSError, UserError):
            return  # a run that had none yet, or lost them: it chooses among what is to come
        values = [found[name] for name in names]
        shapes = [tuple(variable.shape) for variable in self._variables()]
        if [value.shape for value in values] == shapes:
            self.best, self._weights = float(found["score"]), values
