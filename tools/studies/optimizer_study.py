"""Trains one task with several optimizers, learning rates and depths, and shows every run.

    tools/optimizer_study --config=configs/fromage/mnist_depth.py:cpu --workdir=runs/depth

A run that is done is kept in `metrics.json`; the same command again does what is missing. All runs
of one depth start from the same weights and see the same batches. The learning rate decays by
`config.training.decay` after every epoch. Every rate is reported, none is picked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import report
import tasks
from absl import flags
from ml_collections import config_flags

from tfgen.bin import app
from tfgen.errors import ConfigError, UserError
from tfgen.optimizers import Fromage
from tfgen.runs.config import to_plain
from tfgen.runs.workdir import Workdir

CONFIG = config_flags.DEFINE_config_file("config", None, "The study, FILE or FILE:MODE.")
DEPTHS = flags.DEFINE_list("depths", None, "Only these depths of the study, in this order.")
REPORT = flags.DEFINE_bool("report", False, "Only report what is done.")

OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "fromage": Fromage,
}


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    if CONFIG.value is None or app.WORKDIR.value is None:
        raise UserError("--config and --workdir are needed; see tools/studies/optimizer_study.py")
    config = to_plain(CONFIG.value)
    workdir = Workdir(app.WORKDIR.value)
    changed = [c for c in workdir.compare(config) if not c.startswith("optimizer.")]
    if changed:
        raise ConfigError(f"{workdir.path} holds another study ({'; '.join(changed)})")
    workdir.write_config(config)
    depths = config["model"]["depths"]
    if DEPTHS.value is not None:
        depths = [int(d) for d in app.numbers("depths", DEPTHS.value)]
    if not REPORT.value:
        with workdir.claimed():
            run_study(config, depths, workdir, app.DATA_DIR.value)
    print(report.write(config, report.readable(workdir.read_metrics()), workdir.path))


def run_study(
    config: Mapping[str, Any], depths: Sequence[int], workdir: Workdir, data_dir: str | None
) -> None:
    """Does the runs of these depths that are missing."""
    splits = [
        tasks.load_examples(config["data"], config["model"], split, data_dir)
        for split in ("train", config["evaluation"]["split"])
    ]
    for depth in depths:
        for name, options in config["optimizer"].items():
            done = workdir.read_metrics()
            rates = [r for r in options["learning_rates"] if key(name, r, depth) not in done]
            for rate, result in runs(config, name, rates, depth, *splits):
                workdir.write_metrics(key(name, rate, depth), result)
                print(report.line(key(name, rate, depth), result), flush=True)


def key(name: str, rate: float, depth: int) -> str:
    return f"{name} {rate:g} depth {depth}"


def runs(config, name, rates, depth, train, test) -> Iterator[tuple[float, dict]]:
    """Trains once for each rate, tracing one network once."""
    if not rates:
        return
    if name not in OPTIMIZERS:
        raise ConfigError(f"config.optimizer names {name!r}; expected some of {sorted(OPTIMIZERS)}")
    training, options = config["training"], dict(config["optimizer"][name])
    del options["learning_rates"]
    keras.utils.set_random_seed(training["seed"])
    model = tasks.build_model(config["model"], depth)
    optimizer = OPTIMIZERS[name](learning_rate=float(rates[0]), **options)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=training["jit_compile"],
        steps_per_execution=training["steps_per_execution"],
    )
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    starts = [variable.numpy() for variable in variables]
    for rate in rates:
        for variable, start in zip(variables, starts, strict=True):
            variable.assign(start)
        yield rate, train_once(model, rate, training, config, train, test)


def train_once(model, rate, training, config, train, test) -> dict[str, Any]:
    """One run: its curves, the loss on the held-out split, and how long it took."""
    epochs, steps = training["epochs"], training["steps_per_epoch"]
    batches = train.dataset(config["data"]["batch_size"], epochs * steps, training["seed"])
    began = time.monotonic()
    history = model.fit(
        batches.repeat(),
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda e: rate * training["decay"] ** e),
            keras.callbacks.TerminateOnNaN(),
        ],
        shuffle=False,  # the batches are
        verbose=0,
    ).history
    seconds = time.monotonic() - began
    loss, accuracy = model.evaluate(test.in_order(config["evaluation"]["batch_size"]), verbose=0)
    return {
        "loss": _finite(history["loss"]),
        "accuracy": _finite(history["accuracy"]),
        "test_loss": _finite([loss])[0],
        "test_accuracy": _finite([accuracy])[0],
        "seconds": round(seconds, 2),
    }


def _finite(values):
    """For JSON: what is not finite is None."""
    return [round(float(v), 6) if np.isfinite(v) else None for v in values]


if __name__ == "__main__":
    app.run("optimizer_study", main)
