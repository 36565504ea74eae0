"""An attack by Adam from noise to images: compiled steps, and looks between them."""

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.registration import consensus_of
from tfgen.privacy.attack.resumption import Checkpoint
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.attack.state import TERMS, Evidence, State

_SECONDS_BETWEEN_LOOKS, _MOST_STEPS_BETWEEN_LOOKS = 5.0, 100


def descend(
    optimization: Optimization,
    evidence: Evidence,
    checkpoint: Checkpoint,
    *,
    verbose: int = 1,
    steps_per_call: int | None = None,
    callback: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[State, list[dict[str, float]], float]:
    """Brings candidates to the evidence; see `GradientInversion.run` for the arguments.

    Returns:
        The state at the end, the history of the run, and the seconds it took.

    Raises:
        UserError: the objective overflowed.
        Stopped: a signal arrived; the state was saved first.
    """
    start = optimization.start(evidence)
    saved, spent = checkpoint.load(start)
    state = start if saved is None else saved
    started, history = time.monotonic() - spent, []
    settings = optimization.settings
    num_steps = settings.num_steps
    stride = steps_per_call or 1  # the first look tells how long a step takes at most
    bar = keras.utils.Progbar(num_steps, verbose=verbose, unit_name="step", stateful_metrics=TERMS)
    while int(state.step) < num_steps:
        state, begun, look = _refreshed(state, settings), int(state.step), time.monotonic()
        until = _next_stop(settings, begun, stride)
        state = optimization.run(state, evidence, tf.constant(until))
        means = _means(state.terms, begun, until)
        if steps_per_call is None:
            stride = _stride(until - begun, time.monotonic() - look, stride)
        bar.update(until, list(means.items()), finalize=until == num_steps)
        spent = time.monotonic() - started
        history.append({"step": until, "seconds": spent, **means})
        if callback is not None:
            callback(until, means)
        checkpoint.save(state, spent, now=until == num_steps)
        stopping.check()
    return state, history, spent


def _refreshed(state: State, settings: AttackSettings) -> State:
    """The state with a new consensus, where one is due."""
    step = int(state.step)
    due = (
        step >= settings.group_start and (step - settings.group_start) % settings.group_period == 0
    )
    if settings.group == "none" or not due:
        return state
    return state._replace(consensus=consensus_of(state.values[0], settings.group == "registered"))


def _next_stop(settings, step, steps_per_call):
    """At most `steps_per_call` on, not past the end or the next refresh of the consensus."""
    start, period = settings.group_start, settings.group_period
    stops = [step + steps_per_call, settings.num_steps]
    if settings.group != "none":
        past = max(0, step - start) // period + 1
        stops.append(start if step < start else start + past * period)
    return min(stops)


def _stride(done, seconds, stride):
    """Steps until the next look: at most eight times as many as last time, and some seconds."""
    affordable = int(_SECONDS_BETWEEN_LOOKS * done / max(seconds, 1e-9))
    return max(1, min(_MOST_STEPS_BETWEEN_LOOKS, 8 * stride, affordable))


def _means(terms, step, until):
    values = terms.numpy().mean(axis=1)
    if not np.all(np.isfinite(values)):
        raise UserError(
            f"the objective became NaN or infinite between steps {step} and "
            f"{until}; lower the learning rate, or raise the weights of the priors"
        )
    return {name: float(value) for name, value in zip(TERMS, values)}
