"""Runge-Kutta 4(5) of Dormand and Prince, every state with steps of its own.

The controller is SciPy's `RK45` (Hairer, Norsett & Wanner, 1993), held by each state of the batch
for itself: the error is the root mean square of its own entries, and so no state's steps depend on
the batch it runs in. A state that has arrived waits for the others and counts no evaluation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import in_range, whole_number
from tfgen.samplers import state as states
from tfgen.samplers.state import State

# Row i holds what stage i + 1 takes of the slopes before it; the last row is the step of order 5,
# whose slope is the first of the next step.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
# Order 5 less order 4.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
EVALUATIONS = len(_STAGES)  # of a step
_EXPONENT = -1 / 5
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 10.0  # of one change of the step size

Velocity = Callable[[tf.Tensor, State], State]  # (t [N] float64, state) -> d state / dt


class Integral(NamedTuple):
    """Where an integration ended.

    Attributes:
        state: nested tensors `[N, ...]`.
        num_evaluations: int32 `[N]`, of the velocity.
        success: boolean tensor `[N]`, whether the end was reached.
    """

    state: State
    num_evaluations: tf.Tensor
    success: tf.Tensor


class _Walk(NamedTuple):
    """The carry of the loop: `size` is that of the next try, `rejected` what became of the last."""

    t: tf.Tensor
    size: tf.Tensor
    state: State
    slope: State
    rejected: tf.Tensor
    failed: tf.Tensor
    num_evaluations: tf.Tensor


def dormand_prince_step(velocity: Velocity, t, state: State, slope: State, h):
    """One step of order 5, its slope at the end, and the estimate of its error.

    Args:
        velocity: function `(t, state) -> d state / dt`.
        t: float64 `[N]`.
        state: nested tensors `[N, ...]`.
        slope: nested tensors, the velocity at `t`.
        h: float64 `[N]`, signed lengths of the step.

    Returns:
        Three nested tensors like `state`.
    """
    slopes = [slope]
    for node, row in zip(_NODES, _STAGES):
        moved = states.combine((1.0, state), *((h * a, k) for a, k in zip(row, slopes) if a))
        slopes.append(velocity(t + node * h, moved))
    error = states.combine(*((h * e, k) for e, k in zip(_ERROR, slopes) if e))
    return moved, slopes[-1], error


def integrate(
    velocity: Velocity,
    state: State,
    start: float,
    end: float,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Integral:
    """From `start` to `end`, in either direction.

    Args:
        velocity: function `(t [N] float64, state) -> d state / dt`.
        state: nested tensors `[N, ...]`.
        start: float, the first time.
        end: float, the last time.
        rtol: float, relative tolerance of a step's error. Defaults to `1e-5`.
        atol: float, absolute tolerance. Defaults to `1e-5`.
        max_steps: integer, tries after which a state gives up. Defaults to `1000`.

    Returns:
        An `Integral`. Times are float64 whatever the state's dtype is. A state whose velocity is
        not finite, whose steps get too small to change t, or that takes too many, stops short.

    Raises:
        UserError: the two times are the same, or no numbers.
    """
    in_range("rtol", rtol, 0.0, above=True)
    in_range("atol", atol, 0.0, above=True)
    max_steps = whole_number("max_steps", max_steps, 1)
    if not np.isfinite([start, end]).all() or start == end:
        raise UserError(f"the times go from {start} to {end}; expected two different numbers")
    state = states.prepare(state)
    # One graph, called at every stage: a network is traced once, not eight times.
    velocity = tf.function(velocity, autograph=False)
    sign = float(np.sign(end - start))
    norm = _scaled_norm(rtol, atol)
    num = tf.shape(tf.nest.flatten(state)[0])[:1]
    t = tf.fill(num, _float64(start))
    slope = velocity(t, state)
    size = _first_size(velocity, t, state, slope, sign, abs(end - start), norm)
    ahead = tf.fill(num, _float64(sign * np.inf))
    fresh = tf.zeros(num, tf.bool)
    walk = _Walk(t, size, state, slope, fresh, fresh, tf.fill(num, 2))

    def active(walk):
        return (sign * (end - walk.t) > 0.0) & ~walk.failed

    def attempt(walk):
        here = active(walk)
        least = 10.0 * tf.abs(tf.math.nextafter(walk.t, ahead) - walk.t)
        size = tf.where(walk.rejected, walk.size, tf.maximum(walk.size, least))
        gone = here & ((size < least) | ~tf.math.is_finite(size))
        here = here & ~gone
        arrives = sign * (walk.t + sign * size - end) >= 0.0
        after = tf.where(arrives, _float64(end), walk.t + sign * size)
        h = tf.where(here, after - walk.t, _float64(0.0))
        moved, slope, error = dormand_prince_step(velocity, walk.t, walk.state, walk.slope, h)
        share = norm(error, walk.state, moved)
        accepted = here & (share < 1.0)
        factor = _SAFETY * share**_EXPONENT
        grown = tf.minimum(factor, tf.where(walk.rejected, _float64(1.0), _float64(_MOST)))
        factor = tf.where(accepted, grown, tf.maximum(factor, _LEAST))
        return _Walk(
            tf.where(accepted, after, walk.t),
            tf.where(here, tf.abs(h) * factor, walk.size),
            states.where(accepted, moved, walk.state),
            states.where(accepted, slope, walk.slope),
            tf.where(here, ~accepted, walk.rejected),
            walk.failed | gone,
            walk.num_evaluations + EVALUATIONS * tf.cast(here, tf.int32),
        )

    walk = tf.while_loop(
        lambda walk: tf.reduce_any(active(walk)),
        lambda walk: (_like(attempt(walk), walk),),
        (walk,),
        parallel_iterations=1,
        maximum_iterations=max_steps,
    )[0]
    return Integral(walk.state, walk.num_evaluations, ~active(walk) & ~walk.failed)


def _float64(number):
    return tf.constant(number, tf.float64)


def _like(new, old):
    return tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), new, old)


def _scaled_norm(rtol, atol):
    """Root mean square of an error over what is tolerated, of every state `[N]` float64."""

    def norm(error, *around):
        def scaled(e, *leaves):
            largest = tf.abs(leaves[0])
            for leaf in leaves[1:]:
                largest = tf.maximum(largest, tf.abs(leaf))
            return tf.cast(e, tf.float64) / (atol + rtol * tf.cast(largest, tf.float64))

        parts = tf.nest.map_structure(scaled, error, *around)
        count = sum(tf.size(leaf[0]) for leaf in tf.nest.flatten(parts))
        return states.norm(parts) / tf.sqrt(tf.cast(count, tf.float64))

    return norm


def _first_size(velocity, t, state, slope, sign, length, norm):
    """A first step, from how fast the slope changes."""
    d0, d1 = norm(state, state), norm(slope, state)
    flat = (d0 < 1e-5) | (d1 < 1e-5)
    guess = tf.where(flat, _float64(1e-6), 0.01 * d0 / d1)
    guess = tf.minimum(guess, length)
    moved = states.combine((1.0, state), (sign * guess, slope))
    after = velocity(t + sign * guess, moved)
    d2 = norm(states.combine((1.0, after), (-1.0, slope)), state) / guess
    steepest = tf.maximum(d1, d2)
    size = tf.where(
        steepest <= 1e-15, tf.maximum(guess * 1e-3, 1e-6), (0.01 / steepest) ** -_EXPONENT
    )
    return tf.minimum(tf.minimum(100.0 * guess, size), length)
