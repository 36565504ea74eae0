"""Noise predictors that are drawn towards something, for any solver.

With a score of -eps / sigma, to add grad log p(y | z_t) to it is to take sigma times that from eps.
"""

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import in_range
from tfgen.ops.diffusion import SDE
from tfgen.samplers import state as states
from tfgen.samplers.checks import one_per_chain
from tfgen.samplers.diffusion.step_table import NoisePredictor, predicted_noise


def classifier_free_guidance(
    conditional: NoisePredictor, unconditional: NoisePredictor, scale=1.0
) -> NoisePredictor:
    """eps_u + scale (eps_c - eps_u) (Ho & Salimans, 2022): two networks' evaluations in one.

    Args:
        conditional: function `(z, t) -> eps` that knows the class.
        unconditional: function `(z, t) -> eps` that does not.
        scale: float; 0 is the unconditional prediction, 1 the conditional one, and more
            exaggerates. Defaults to `1.0`.

    Returns:
        A function `(z, t) -> eps`, which solvers count as one evaluation.
    """
    in_range("scale", scale, 0.0)

    def predict(z, t):
        without = predicted_noise(unconditional, z, t)
        return without + scale * (predicted_noise(conditional, z, t) - without)

    return predict


def classifier_guidance(
    sde: SDE, predict_noise: NoisePredictor, log_prob, scale=1.0
) -> NoisePredictor:
    """eps - scale sigma grad log p(y | z_t) (Dhariwal & Nichol, 2021).

    Args:
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps`.
        log_prob: function `(z, t) -> [N]`, log-probability of what is wanted, by a classifier that
            was trained on noisy states.
        scale: float, weight of the classifier. Defaults to `1.0`.

    Returns:
        A function `(z, t) -> eps`, which solvers count as one evaluation.
    """
    in_range("scale", scale, 0.0)

    def predict(z, t):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            wanted = _one_each("the log-probability", log_prob(z, t), z)
        return _drawn(sde, predicted_noise(predict_noise, z, t), t, tape.gradient(wanted, z), scale)

    return predict


def reconstruction_guidance(
    sde: SDE, predict_noise: NoisePredictor, log_likelihood, scale=1.0
) -> NoisePredictor:
    """Draws the predicted data towards an observation, with gradients through the network.

    log p(y | z_t) is taken from the predicted data, x0 = (z - sigma eps) / m (Chung et al., 2023),
    and from how far the data may lie from them: (1 - s0^2) sigma^2 / (sigma^2 + (1 - s0^2) m^2) in
    every coordinate of Normal latents, for which guidance is exact (J. Song et al., 2023).

    Args:
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps` that gradients pass through.
        log_likelihood: function `(x0, variance) -> [N]` of predicted data `[N, ...]` and the
            variance around them, `[N]` or scalar: log p(y | x0), such as `observation` makes.
        scale: float, weight of the observation. Defaults to `1.0`.

    Returns:
        A function `(z, t) -> eps`, which solvers count as one evaluation.
    """
    in_range("scale", scale, 0.0)

    def predict(z, t):
        mean, std = (_column(f(t), z) for f in (sde.mean, sde.std))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            eps = predicted_noise(predict_noise, z, t)
            x0 = (z - std * eps) / mean
            variance = sde.variance(t) / sde.normal_variance(t) * (1.0 - sde.initial_variance)
            seen = _one_each("the log-likelihood", log_likelihood(x0, variance), z)
        return _drawn(sde, eps, t, tape.gradient(seen, z), scale)

    return predict


def observation(values, mask, deviation: float = 0.05):
    """The log-likelihood of latents that are seen in part, for `reconstruction_guidance`.

    Args:
        values: array `[N, ...]` or what broadcasts to it, the latents; hidden ones may hold
            anything.
        mask: array of the same kind; 1 where a coordinate is seen, 0 where not.
        deviation: float, standard deviation with which they are seen. Defaults to `0.05`.

    Returns:
        A function `(x0, variance) -> [N]` in nats, up to a constant.

    Raises:
        UserError: seen values are not finite.
    """
    in_range("deviation", deviation, 0.0, above=True)
    seen = tf.cast(mask, tf.bool)
    values = tf.where(seen, values, tf.zeros_like(values))
    known = tf.get_static_value(values)
    if known is not None and not np.all(np.isfinite(known)):
        raise UserError("the seen values are not finite; expected numbers wherever the mask is 1")

    def log_likelihood(x0, variance):
        away = (x0 - tf.cast(values, x0.dtype)) * tf.cast(seen, x0.dtype)
        if not away.shape.is_compatible_with(x0.shape):
            raise UserError(
                f"the observation is {tuple(away.shape)} once spread over latents "
                f"{tuple(x0.shape)}; expected values and a mask that broadcast to the latents"
            )
        return -0.5 * states.dot(away, away) / (deviation**2 + variance)

    return log_likelihood


def _one_each(name, value, z):
    if value is None:
        raise UserError(f"{name} is None; expected a tensor, one number of each chain")
    return one_per_chain(name, tf.cast(value, z.dtype), z.shape[0])


def _drawn(sde, eps, t, gradient, scale):
    if gradient is None:
        raise UserError(
            "no gradient reaches the state from what should guide it; expected TensorFlow "
            "operations from the state to the log-probability"
        )
    return eps - scale * _column(sde.std(t), eps) * gradient


def _column(number, like):
    return tf.reshape(number, [-1] + [1] * (like.shape.rank - 1))
