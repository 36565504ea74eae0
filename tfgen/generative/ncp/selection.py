"""Early stopping, group by group: every classifier keeps the weights that were best held out.

A classifier that is trained for too long learns single encodings by heart, and log r grows without
bound there. Groups reach that point at different times.
"""

import keras
import numpy as np
import tensorflow as tf

from tfgen.training.averages import averaged_weights
from tfgen.training.given import checked

PATIENCE = 5


class HeldOutSelection(keras.callbacks.Callback):
    """Judges an `NCPVAE` on held-out images after every epoch and remembers the best weights.

    The held-out cross-entropy and gain in the bound enter the epoch's logs as `held_out_bce` and
    `held_out_elbo_gain`. Put it before callbacks that record.

    Args:
        dataset: iterable of batches of held-out images, one pass.
        patience: integer, epochs without a new best of any classifier before the run is stopped;
            the model counts them in `epochs_waited`, which checkpoints keep. Whoever calls `fit`
            again after that waits anew. Defaults to `5`.
        restore: whether to give the best weights back when training ends. `tfgen-train` does that
            itself, at the end of the run rather than of a call of `fit`.
    """

    def __init__(self, dataset, patience: int = PATIENCE, restore: bool = False):
        super().__init__()
        self.dataset = dataset
        self.patience = patience
        self.restore = restore
        self._step = None

    def on_train_begin(self, logs=None):
        if int(self.model.train_steps.numpy()) == 0:
            # What training does not improve stays as it is: log r = 0 unless weights were given.
            self.model.remember_best(self._means()["bce_per_group"])
        if int(self.model.epochs_waited.numpy()) >= self.patience:
            self.model.epochs_waited.assign(0)

    def on_epoch_begin(self, epoch, logs=None):
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training and self._steps < (self.params.get("steps") or 0):
            return
        with averaged_weights(self.model):
            means = self._means()
            better = self.model.remember_best(means["bce_per_group"])
        waited = 0 if any(better) else int(self.model.epochs_waited.numpy()) + 1
        self.model.epochs_waited.assign(waited)
        if waited >= self.patience:
            self.model.stop_training = True
        if logs is not None:
            logs |= {f"held_out_{k}": float(means[k]) for k in ("bce", "elbo_gain")}

    def on_train_end(self, logs=None):
        if self.restore:
            self.model.finish()

    def _means(self) -> dict[str, np.ndarray]:
        """Means of `evaluation_logs` over the held-out images."""
        if self._step is None:
            self._step = tf.function(
                lambda batch: self.model.evaluation_logs(self.model.batch_of(batch)),
                reduce_retracing=True,
                autograph=False,
            )
            self.dataset = checked(self.dataset, self.model)
        sums, done = {}, 0
        for batch in self.dataset:
            logs = self._step(batch)
            for name, values in logs.items():
                sums[name] = sums.get(name, 0.0) + np.sum(values.numpy(), axis=0, dtype=np.float64)
            done += len(values)
        return {name: total / done for name, total in sums.items()}
