"""From one latent to another along the ODE: both to noise, across the sphere, and back."""

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import whole_number
from tfgen.ops.diffusion import SDE
from tfgen.samplers import state as states
from tfgen.samplers.diffusion.solver import Solution
from tfgen.samplers.diffusion.step_table import NoisePredictor


def spherical(first: tf.Tensor, second: tf.Tensor, weights) -> tf.Tensor:
    """Points on the great circles between rows, which keep the length of noise.

    Args:
        first: tensor `[N, ...]`.
        second: tensor `[N, ...]`.
        weights: array `[K]` of numbers from 0, the first, to 1, the second.

    Returns:
        Tensor `[K, N, ...]`.
    """
    first, second = states.prepare(first), states.prepare(second)
    weights = tf.cast(weights, first.dtype)
    lengths = states.norm(first) * states.norm(second)
    angle = tf.acos(tf.clip_by_value(states.dot(first, second) / lengths, -1.0, 1.0))
    sine = tf.sin(angle)
    straight = sine < 1e-4  # the same direction, or opposite ones: any circle is as good
    safe = tf.where(straight, tf.ones_like(sine), sine)

    def point(w):
        shares = [tf.sin((1.0 - w) * angle) / safe, tf.sin(w * angle) / safe]
        lines = [(1.0 - w) * tf.ones_like(angle), w * tf.ones_like(angle)]
        a, b = (tf.where(straight, line, share) for line, share in zip(lines, shares))
        return states.combine((a, first), (b, second))

    return tf.map_fn(point, weights)


def interpolate(
    solver,
    sde: SDE,
    predict_noise: NoisePredictor,
    first: tf.Tensor,
    second: tf.Tensor,
    num_points: int = 8,
) -> Solution:
    """Latents on the way from one to another.

    Args:
        solver: a solver of the ODE, such as an `RK45` or a `DPMSolver`, which both encodes and
            decodes.
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps`.
        first: tensor `[N, ...]`, latents at the solver's end.
        second: tensor `[N, ...]`, likewise.
        num_points: integer K, the two ends included, at least 2. Defaults to `8`.

    Returns:
        A `Solution` of `[K * N, ...]`, all of the first point before those of the second.

    Raises:
        UserError: the two are not alike in shape.
    """
    num_points = whole_number("num_points", num_points, 2)
    first, second = tf.convert_to_tensor(first), tf.convert_to_tensor(second)
    if not first.shape.is_compatible_with(second.shape):
        raise UserError(
            f"the latents are {tuple(first.shape)} and {tuple(second.shape)}; expected one shape"
        )
    both = solver.encode(sde, predict_noise, tf.concat([first, second], axis=0)).state
    between = spherical(*tf.split(both, 2), tf.linspace(0.0, 1.0, num_points))
    flat = tf.reshape(between, [-1, *first.shape[1:]])
    return solver.solve(sde, predict_noise, flat)
