"""What an optimizer does to every tensor, held against deep relative trust; for any optimizer."""

import os
from collections.abc import Sequence

import keras
import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.ops.relative_trust import admissible_learning_rate, trust_budget


class RelativeUpdates(keras.callbacks.Callback):
    """Measures how far steps of training move each tensor, relative to its norm.

    Every `every_steps` steps the weights before and after one step are compared (with
    `steps_per_execution`, before and after one execution). At the end of an epoch the latest trust
    budget goes into the logs as `trust_budget`. A budget above 1 is a step that deep relative
    trust cannot vouch for at any angle to the gradient.

    Args:
        every_steps: integer, training steps between measurements. Defaults to `50`.
        depth: integer, number of layers; None takes the number of trainable tensors of rank 2 and
            more.

    Attributes:
        names: list of the names of the trainable tensors, N of them.
        is_layer: bool `[N]`, which tensors count as layers in the budget: those of rank 2 and more.
        admissible_learning_rate: float, relative step up to which full-batch gradients lower the
            loss.
    """

    def __init__(self, every_steps: int = 50, depth: int | None = None):
        super().__init__()
        self.every_steps = every_steps
        self.depth = depth
        self.names: list[str] = []
        self._step = 0
        self._before = None
        self._rows: list[dict] = []

    def on_train_begin(self, logs=None):
        variables = self.model.trainable_variables
        self.names = [variable.path for variable in variables]
        self.is_layer = np.array([len(variable.shape) >= 2 for variable in variables])
        if self.depth is None:
            self.depth = max(1, int(self.is_layer.sum()))
        self.admissible_learning_rate = admissible_learning_rate(self.depth)
        self._start_norms = _norms(self._weights())

    def on_train_batch_begin(self, batch, logs=None):
        if self._step % self.every_steps == 0:
            self._before = self._weights()
        self._step += 1

    def on_train_batch_end(self, batch, logs=None):
        if self._before is None:
            return
        before, after = self._before, self._weights()
        updates = [b - a for a, b in zip(before, after, strict=True)]
        sizes, steps = _norms(before), _norms(updates)
        inner = np.array([np.vdot(a, u) for a, u in zip(before, updates, strict=True)])
        self._rows.append(
            {
                "step": self._step - 1,
                "relative_update": _ratio(steps, sizes),
                "alignment": _ratio(inner, sizes * steps),
                "norm_drift": _ratio(_norms(after), self._start_norms),
            }
        )
        self._before = None

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and self._rows:
            logs["trust_budget"] = float(self.history["trust_budget"][-1])

    @property
    def history(self) -> dict[str, np.ndarray]:
        """All T measurements.

        Returns:
            `step` `[T]`; `[T, N]` each: `relative_update`, `alignment` (cosine of the angle between
            a tensor and its update) and `norm_drift` (norm over that at the beginning), NaN where
            they would divide by zero; `trust_budget` `[T]`.
        """
        keys = ("step", "relative_update", "alignment", "norm_drift")
        result = {key: np.array([row[key] for row in self._rows]) for key in keys}
        moved = result["relative_update"].reshape(len(self._rows), -1)[:, self.is_layer]
        return {**result, "trust_budget": trust_budget(np.nan_to_num(moved))}

    def plot(self, path: str | os.PathLike) -> None:
        """Draws relative updates, alignment, norm drift and trust budget over the steps.

        Args:
            path: path of the picture, written whole or not at all.
        """
        from matplotlib.figure import Figure

        history = self.history
        figure = Figure(figsize=(10, 6.5), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True).ravel()
        layers = self.is_layer
        _panel(axes[0], history, "relative_update", layers, "relative update", log=True)
        rate = self.admissible_learning_rate
        axes[0].axhline(rate, color="black", ls="--", lw=1, label=f"admissible: {rate:.3g}")
        axes[0].legend(loc="best", fontsize="small")
        _panel(axes[1], history, "norm_drift", layers, "norm relative to the start", log=True)
        _panel(axes[2], history, "alignment", layers, "cosine of tensor and update")
        axes[3].plot(history["step"], history["trust_budget"], color="C3")
        axes[3].axhline(1.0, color="black", ls="--", lw=1, label="1: no angle is safe")
        axes[3].set(title=f"trust budget of {self.depth} layers", xlabel="step", yscale="log")
        axes[3].legend(loc="best", fontsize="small")
        axes[2].set_xlabel("step")
        with replace_file(path) as temporary:
            figure.savefig(temporary, dpi=100)

    def _weights(self) -> list[np.ndarray]:
        return [np.array(v.numpy(), np.float64) for v in self.model.trainable_variables]


def _panel(axis, history, key, is_layer, title, log=False):
    """One line a tensor: layers in colour, from the input (dark) to the output; the rest grey."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 0.9, max(1, int(is_layer.sum()))))
    for index in np.flatnonzero(~is_layer):
        axis.plot(history["step"], history[key][:, index], color="0.8", lw=0.8)
    for colour, index in zip(colours, np.flatnonzero(is_layer)):
        axis.plot(history["step"], history[key][:, index], color=colour, lw=1)
    axis.set_title(title + ", per tensor")
    if log:
        axis.set_yscale("log")


def _norms(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([np.linalg.norm(a) for a in arrays])


def _ratio(numerator, denominator):
    return np.divide(
        numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0
    )
