"""What a run is going to do, said before it does it."""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfgen.cores import threads_per_operation
from tfgen.runs import memory
from tfgen.runs.experiment import Experiment
from tfgen.systems.registry import find_system


def describe(experiment: Experiment, strategy: str, precision: str) -> dict[str, Any]:
    """The plan of a run as plain values, ready for JSON.

    Args:
        experiment: the `Experiment` that is going to run.
        strategy: string, the strategy's name.
        precision: string, the precision's name.

    Returns:
        At least what the model's `describe()` says (`parameters`, those that are trained; of a
        generator `image_shape`, of one with latents `groups`, `latent_dims`, `latent_shapes`),
        `devices` and `memory_estimate_gib` with `memory_estimate_method`.
    """
    config, model = experiment.config, experiment.model
    replicas = experiment.strategy.num_replicas_in_sync
    batch_size, steps = config["data"]["batch_size"], experiment.steps_per_epoch
    averaged = config["optimizer"]["ema_momentum"] is not None
    gib = memory.training_gib(model, -(-batch_size // replicas), precision, averaged)
    return {
        "model": config["model"]["name"],
        **model.describe(),
        **_base(config),
        "data": config["data"]["name"],
        **_examples(experiment),
        "batch_size": batch_size,
        "epochs": experiment.epochs,
        "steps_per_epoch": steps,
        "total_steps": None if steps is None else steps * experiment.epochs,
        "optimizer": config["optimizer"]["name"],
        "precision": precision,
        "strategy": strategy,
        "replicas": replicas,
        "devices": devices(experiment.strategy),
        "threads_per_operation": threads_per_operation(),
        "memory_estimate_gib": round(gib, 3),
        "memory_estimate_method": memory.METHOD,
    }


def _base(config) -> dict[str, Any]:
    """What a model stands on, by name: a preset, a workdir, or None where it begins untrained."""
    base = find_system(config["model"]["name"]).base
    return {} if base is None else {"base": {base.argument: config.get(base.argument)}}


def _beginning(plan) -> Iterator[str]:
    for argument, path in plan.get("base", {}).items():
        yield (
            f"{argument}: the weights of {path}"
            if path is not None
            else f"{argument}: begins UNTRAINED, together with the rest; name a workdir or preset "
            f"to begin from a trained one: --config.{argument}=runs/first"
        )


def _examples(experiment) -> dict[str, Any]:
    """Which examples are trained on and what was done to them, where they were looked at."""
    source, held_out = experiment.source, experiment.held_out
    if source is None:
        return {}
    found = {"images": source.extent, "data_notes": list(source.notes)}
    return found if held_out is None else {**found, "held_out": held_out.extent}


def devices(strategy: tf.distribute.Strategy) -> list[str]:
    """The devices that this process trains on."""
    if strategy.num_replicas_in_sync > 1:
        return list(strategy.extended.worker_devices)
    found = [d.name for kind in ("TPU", "GPU") for d in tf.config.list_logical_devices(kind)]
    return found[:1] or [tf.config.list_logical_devices("CPU")[0].name]


def announce(plan: Mapping[str, Any], workdir: str, start_step: int) -> str:
    """The plan in a few lines for a person."""
    total = plan["total_steps"]
    start = f"continues at step {start_step:,}" if start_step else "starts from new weights"
    return "\n".join(
        (
            f"{plan['model']}: {plan['parameters']:,} parameters{_latents(plan)}",
            f"data: {plan['data']}, {_shape(plan.get('image_shape'))}"
            f"{f'{images}, ' if (images := plan.get('images')) else ''}"
            f"batches of {plan['batch_size']}",
            *(f"  {note}" for note in plan.get("data_notes", ())),
            *(() if start_step else _beginning(plan)),
            f"training: {plan['epochs']} epochs of {plan['steps_per_epoch']:,} steps = {total:,} "
            f"steps with {plan['optimizer']}; {start}",
            f"devices: {', '.join(plan['devices'])} (strategy {plan['strategy']}), "
            f"{plan['precision']}, about {plan['memory_estimate_gib']:.2f} GiB each"
            f"{_threads(plan)}",
            f"results: {workdir}",
        )
    )


def _threads(plan) -> str:
    if "CPU" not in plan["devices"][0]:
        return ""
    count = plan["threads_per_operation"]
    return f", {count} thread{'s' if count > 1 else ''} an operation"


def _latents(plan) -> str:
    if "latent_shapes" not in plan:
        return ""
    grids = ["x".join(map(str, shape[:2])) for shape in plan["latent_shapes"].values()]
    return (
        f", {plan['groups']} latent groups ({_runs(grids)}), "
        f"{plan['latent_dims']:,} latent dimensions"
    )


def _shape(shape) -> str:
    return "x".join(map(str, shape)) + ", " if shape else ""


def _runs(words):
    """Equal neighbours as "5 of 4x4, 10 of 8x8"."""
    runs = []
    for word in words:
        if runs and runs[-1][1] == word:
            runs[-1][0] += 1
        else:
            runs.append([1, word])
    return ", ".join(f"{count} of {word}" for count, word in runs)
