"""What an attack restored, and what it cost."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.registration import consensus_of
from tfgen.privacy.attack.state import TERMS, Evidence, State
from tfgen.privacy.network.labels import likeliest


@dataclasses.dataclass(frozen=True, eq=False)
class Inversion:
    """What an attack restored.

    Attributes:
        images: float32 array `[K, H, W, C]` in [0, 1], of the seed whose gradient fits best.
        labels: int64 `[K]`, slot by slot; of soft labels the likeliest class. Where the network has
            one output, what it was trained towards.
        consensus: array like `images`: the (registered) mean over seeds.
        seeds: array `[G, K, H, W, C]`, the images of all seeds.
        terms: the objective of every seed at the end, by name of the term, `[G]` each.
        history: list of dicts, the mean terms during the run, with `step` and `seconds`.
        num_steps: integer, steps that were made.
        seconds: float, what they took, tracing included.
        seconds_per_step: float, without the first look, which traces, where there was another.
    """

    images: np.ndarray
    labels: np.ndarray
    consensus: np.ndarray
    seeds: np.ndarray
    terms: dict[str, np.ndarray]
    history: list[dict[str, float]]
    num_steps: int
    seconds: float
    seconds_per_step: float


def inversion_of(
    optimization: Optimization,
    state: State,
    evidence: Evidence,
    history: list[dict[str, float]],
    seconds: float,
) -> Inversion:
    """What a finished state shows.

    Args:
        optimization: the `Optimization` of the attack.
        state: the `State` at the end.
        evidence: the `Evidence` of the attack.
        history: list of dicts, the terms during the run.
        seconds: float, the time that it took.
    """
    settings = optimization.settings
    terms = optimization.evaluate(state, evidence).numpy()
    seeds = np.clip(optimization.network.denormalize(state.values[0]).numpy(), 0.0, 1.0)
    seeds = seeds.astype(np.float32)
    # Without a gradient term (a control) the whole objective has to choose.
    criterion = "gradient" if settings.gradient_weight else "total"
    best = int(np.argmin(terms[TERMS.index(criterion)]))
    targets = state.values[1][best] if optimization.optimize_labels else evidence.labels
    consensus = consensus_of(tf.constant(seeds), settings.group == "registered")
    return Inversion(
        images=seeds[best],
        labels=likeliest(targets),
        consensus=consensus.numpy(),
        seeds=seeds,
        terms=dict(zip(TERMS, terms)),
        history=history,
        num_steps=int(state.step),
        seconds=seconds,
        seconds_per_step=_steady(history, int(state.step), seconds),
    )


def _steady(history, num_steps, seconds):
    """Seconds of a step once everything is traced."""
    if len(history) < 2:
        return seconds / max(num_steps, 1)
    first, last = history[0], history[-1]
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
