"""What a run is going to do, said before it does it."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfgen.runs import memory
from tfgen.runs.experiment import Experiment


def describe(experiment: Experiment, strategy: str, precision: str) -> dict[str, Any]:
    """The plan of a run as plain values, ready for JSON.

    Args:
        experiment: what is going to run.
        strategy: its name.
        precision: its name.

    Returns:
        At least `parameters` (trainable), `groups`, `latent_dims`, `devices` and
        `memory_estimate_gib` with `memory_estimate_method`.
    """
    config, model = experiment.config, experiment.model
    replicas = experiment.strategy.num_replicas_in_sync
    batch_size, steps = config["data"]["batch_size"], experiment.steps_per_epoch
    averaged = config["optimizer"]["ema_momentum"] is not None
    gib = memory.training_gib(model, -(-batch_size // replicas), precision, averaged)
    return {
        "model": config["model"]["name"],
        "parameters": model.num_parameters,
        "groups": len(model.groups),
        "latent_dims": model.latent_dims,
        "latent_shapes": {name: list(shape) for name, shape in model.latent_shapes.items()},
        "image_shape": list(model.image_shape),
        "data": config["data"]["name"],
        "batch_size": batch_size,
        "epochs": experiment.epochs,
        "steps_per_epoch": steps,
        "total_steps": None if steps is None else steps * experiment.epochs,
        "optimizer": config["optimizer"]["name"],
        "precision": precision,
        "strategy": strategy,
        "replicas": replicas,
        "devices": devices(experiment.strategy),
        "memory_estimate_gib": round(gib, 3),
        "memory_estimate_method": memory.METHOD,
    }


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
    grids = " ".join("x".join(map(str, s[:2])) for s in plan["latent_shapes"].values())
    return "\n".join(
        (
            f"{plan['model']}: {plan['parameters']:,} parameters, {plan['groups']} latent groups "
            f"({_runs(grids.split())}), {plan['latent_dims']:,} latent dimensions",
            f"data: {plan['data']}, {'x'.join(map(str, plan['image_shape']))}, "
            f"batches of {plan['batch_size']}",
            f"training: {plan['epochs']} epochs of {plan['steps_per_epoch']:,} steps = {total:,} "
            f"steps with {plan['optimizer']}; {start}",
            f"devices: {', '.join(plan['devices'])} (strategy {plan['strategy']}), "
            f"{plan['precision']}, about {plan['memory_estimate_gib']:.2f} GiB each",
            f"results: {workdir}",
        )
    )


def _runs(words):
    """Equal neighbours as "5 of 4x4, 10 of 8x8"."""
    runs = []
    for word in words:
        if runs and runs[-1][1] == word:
            runs[-1][0] += 1
        else:
            runs.append([1, word])
    return ", ".join(f"{count} of {word}" for count, word in runs)
