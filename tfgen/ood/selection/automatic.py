"""Which transformations to learn from, and how much each counts, by in-distribution images alone.

Mohseni et al. (2021, arXiv:2106.03899) choose the set by Bayesian optimisation and the weights by
their gradients. Without classes there is no loss of a classifier to choose by: there, and for which
levels are asked for everywhere, each task's own difficulty decides, see `Difficulty`; that is ours.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ood.selection.choice import Budget, Selection, told_of
from tfgen.ood.selection.difficulty import BAND, Difficulty, measure_difficulty
from tfgen.ood.selection.records import TrainingLog, claimed, in_plain_words
from tfgen.ood.selection.subsets import Bits, search
from tfgen.ood.selection.trainings import Trainings, parted
from tfgen.ood.selection.weights import learn_weights
from tfgen.ood.transformations import build_all, spec_of
from tfgen.ops.checks import in_range, whole_number

POOL = ("rotation", "translation", "blur", "sharpen", "color_jitter", "noise", "cutout")
FILE = "selection.json"


def select_transformations(
    images,
    labels=None,
    *,
    pool: Sequence = POOL,
    backbone: Any = "small_cnn",
    epochs: int = 15,
    batch_size: int = 64,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    validation_share: float = 0.1,
    band: tuple[float, float] = BAND,
    num_trials: int = 30,
    num_best: int = 3,
    learn: bool = True,
    directory: str | os.PathLike | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
    **options,
) -> Selection:
    """Chooses transformations and their weights; no outlier is looked at.

    1. A short training on each transformation alone: tasks whose difficulty lies outside the band
       are not asked for their levels.
    2. With labels, sets of the tasks that are left, and of classifiers of transformed images, are
       tried by the validation loss of the classifier: all of them up to 64, else `num_trials` by
       Bayesian optimisation; the best few again from another seed.
    3. One training in which the weights follow their hypergradients.

    Args:
        images: `[N, H, W, C]` in [0, 1] or 8-bit, in-distribution.
        labels: `[N]` integers; None: unlabelled, or one class.
        pool: sequence of transformations, as `MultiTaskOOD` takes them. Defaults to `("rotation",
            "translation", "blur", "sharpen", "color_jitter", "noise", "cutout")`.
        backbone: a name, dict or `keras.Model`, as `MultiTaskOOD` takes it. Defaults to
            `"small_cnn"`.
        epochs: integer, of each short training. Defaults to `15`.
        batch_size: integer. Defaults to `64`.
        learning_rate: float, at the start of each training. Defaults to `0.05`.
        weight_decay: float. Defaults to `5e-4`.
        validation_share: float, part of the images that judges. Defaults to `0.1`.
        band: pair of floats, difficulties that are kept. Defaults to `(0.001, 0.98)`.
        num_trials: integer, sets tried where there are too many for all. Defaults to `30`.
        num_best: integer, how many of the best are tried from another seed. Defaults to `3`.
        learn: whether to learn weights; otherwise they are 1. Defaults to `True`.
        directory: path of a folder where every finished training is written, so that the same call
            goes on where it was stopped, and the result as `selection.json`; None: nowhere.
        seed: integer. Defaults to `0`.
        report: function of a line of text: budget, progress, reasons. Defaults to `print`.
        **options: keyword arguments, further ones of `MultiTaskOOD`.

    Returns:
        A `Selection`; `MultiTaskOOD(**selection.options(), ...)` is trained from scratch with it.

    Raises:
        ConfigError: no transformation of the pool is worth learning; an argument is out of range.
        DataError: too few images.
        UserError: the folder holds a selection of something else.
    """
    _check(epochs, batch_size, num_trials, num_best, validation_share, band)
    train, validation = parted(images, labels, validation_share, seed)
    tasks = build_all(pool, train.image_shape)
    if not tasks:
        raise ConfigError("the pool has no transformation; offer at least one")
    common = {
        **options,
        "backbone": backbone,
        "image_shape": train.image_shape,
        "num_classes": None if labels is None else int(np.max(train.labels)) + 1,
    }
    batch_size = min(batch_size, len(train))
    trainings = Trainings(
        train, validation, common, epochs, batch_size, learning_rate, weight_decay
    )
    settings = {
        "pool": json.loads(json.dumps([spec_of(task) for task in tasks], default=str)),
        "data": [train.fingerprint(), validation.fingerprint()],
        "training": [epochs, batch_size, learning_rate, weight_decay, seed],
        "options": {name: in_plain_words(value) for name, value in sorted(common.items())},
    }
    with claimed(directory):
        log = TrainingLog(directory, settings)
        chooser = _Chooser(trainings, tasks, band, num_trials, num_best, learn, seed, log, report)
        selection = chooser.choose()
        for line in selection.lines():
            report(line)
        if directory is not None:
            report(f"results: {selection.save(Path(directory) / FILE)}")
    return selection


class _Chooser:
    """The three steps, in order."""

    def __init__(self, trainings, tasks, band, num_trials, num_best, learn, seed, log, report):
        self.trainings, self.tasks, self.band = trainings, tasks, tuple(band)
        self.num_trials, self.num_best, self.learn = num_trials, num_best, learn
        self.seed, self.log, self.report = seed, log, report
        self.labelled = trainings.train.labels is not None
        self.started = time.monotonic()

    def choose(self) -> Selection:
        budget = self._budget()
        difficulties = [self._difficulty(task) for task in self.tasks]
        kept = [d.name for d in difficulties if d.is_kept]
        reasons = {f"ssl {d.name}": d.reason for d in difficulties}
        trials = []
        if self.labelled:
            ssl, supervised, trials, more = self._best_set(kept)
            reasons |= more
        else:
            ssl, supervised = kept, []
        if not ssl and not supervised and not self.labelled:
            told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ConfigError(f"no transformation is worth learning ({told}); offer others")
        chosen = [task for task in self.tasks if task.name in {*ssl, *supervised}]
        weights, trajectory = self._weights(chosen, ssl, supervised)
        return Selection(
            transformations=[spec_of(task) for task in chosen],
            ssl_weights={name: weights[f"ssl_{name}"] for name in ssl},
            supervised_weights={name: weights[f"supervised_{name}"] for name in supervised},
            reasons=reasons,
            difficulties={d.name: d.to_json() for d in difficulties},
            trials=trials,
            trajectory=trajectory,
            budget=budget,
        )

    def _budget(self) -> dict[str, Any]:
        """What it will take at most, said before anything of it is done."""
        budget = Budget.of(
            len(self.tasks), self.labelled, self.num_trials, self.num_best, self.learn
        )
        steps = self.trainings.epochs * self.trainings.steps_per_epoch
        self.report(
            f"budget: {budget.told(steps)}, on {self.trainings.train.extent}, judged by "
            f"{self.trainings.validation.extent}"
        )
        return {
            "trainings": budget.trainings,
            "steps": steps,
            "images": len(self.trainings.train),
            "validation_images": len(self.trainings.validation),
        }

    def _difficulty(self, task) -> Difficulty:
        def measure():
            return measure_difficulty(self.trainings, task, self.seed, self.band).loss

        loss = self.log.once(f"difficulty {task.name}", measure)
        found = Difficulty(task.name, loss, task.entropy, self.band)
        self._say(f"{task.name}: {found.reason}")
        return found

    def _best_set(self, kept: list[str]):
        """Names for both roles, the table of trials, and reasons."""
        roles = [("ssl", n) for n in kept] + [("supervised", task.name) for task in self.tasks]

        def objective(bits: Bits, seed: int = self.seed) -> float:
            ssl, supervised = (_names(roles, bits, role) for role in ("ssl", "supervised"))
            key = f"set {'+'.join(ssl)} / {'+'.join(supervised)} seed {seed}"
            value = self.log.once(key, lambda: self._set_loss(ssl, supervised, seed))
            told = f"levels of {told_of(ssl)}, classes of {told_of(supervised)}"
            self._say(f"set: {told}: {value:.4f}")
            return value

        found = search(objective, len(roles), self.num_trials, self.seed)
        values = {bits: [value] for bits, value in found.items()}
        order = sorted(values, key=lambda bits: (values[bits][0], sum(bits)))
        for bits in order[: self.num_best]:
            values[bits].append(objective(bits, self.seed + 1))
        again = sorted(order[: self.num_best], key=lambda b: (np.mean(values[b]), sum(b)))
        best = again[0]
        trials = [
            {
                "ssl": _names(roles, bits, "ssl"),
                "supervised": _names(roles, bits, "supervised"),
                "objective": float(np.mean(values[bits])),
                "seeds": len(values[bits]),
            }
            for bits in [*again, *order[self.num_best :]]
        ]
        reasons = {
            f"{role} {name}": _reason(k, best, found, len(values[best]))
            for k, (role, name) in enumerate(roles)
        }
        return _names(roles, best, "ssl"), _names(roles, best, "supervised"), trials, reasons

    def _set_loss(self, ssl, supervised, seed) -> float:
        chosen = [spec_of(task) for task in self.tasks if task.name in {*ssl, *supervised}]
        model = self.trainings.trained(
            seed,
            transformations=chosen,
            ssl_weights=dict.fromkeys(ssl, 1.0),
            supervised_weights=dict.fromkeys(supervised, 1.0),
        )
        return self.trainings.judged(model)["main"]

    def _weights(self, chosen, ssl, supervised):
        names = [f"ssl_{name}" for name in ssl] + [f"supervised_{name}" for name in supervised]
        if not self.learn or not names:
            return dict.fromkeys(names, 1.0), []

        def learned():
            options = dict(
                transformations=[spec_of(task) for task in chosen],
                ssl_weights=dict.fromkeys(ssl, 1.0),
                supervised_weights=dict.fromkeys(supervised, 1.0),
            )
            return learn_weights(self.trainings, options, self.seed, report=self._say)._asdict()

        key = f"weights {'+'.join(names)}"
        found = self.log.once(key, learned)
        return found["weights"], found["trajectory"]

    def _say(self, text):
        self.report(f"[{time.monotonic() - self.started:.0f} s] {text}")


def _names(roles, bits, role) -> list[str]:
    return [name for (kind, name), bit in zip(roles, bits) if bit and kind == role]


def _reason(k, best, found, seeds) -> str:
    """Why a task is in the best set, or not: the best values with it and without."""
    sides = {
        side: min((v for bits, v in found.items() if bits[k] == side), default=None)
        for side in (1, 0)
    }
    word = "kept" if best[k] else "dropped"
    told = ", ".join(
        f"{value:.4f} nats {'with' if side else 'without'}"
        for side, value in sides.items()
        if value is not None
    )
    return f"{word}: best validation losses {told}; the best set by {seeds} seeds decides"


def _check(epochs, batch_size, num_trials, num_best, validation_share, band):
    for name, value in (
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("num_trials", num_trials),
        ("num_best", num_best),
    ):
        whole_number(name, value, 1)
    in_range("validation_share", validation_share, 0.0, above=True, most=0.5)
    if np.shape(band) != (2,) or not 0.0 <= band[0] < band[1]:
        raise ConfigError(f"band is {band!r}; expected two numbers from 0 on, the smaller first")
