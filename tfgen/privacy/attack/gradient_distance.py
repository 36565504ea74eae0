"""L_grad: how far the gradient of candidates is from the shared one.

Forms are not interchangeable: coefficients tuned for one mean nothing for another. That of
Yin et al. (2021, arXiv:2104.07586, equation 3) is "norm", one Euclidean norm a tensor, not squared:
its pull does not fade as it converges, which lets small networks be inverted to machine precision.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack.gradient_metric import squared_length
from tfgen.privacy.attack.norms import safe_norm


def gradient_distance(
    gradients: Sequence[tf.Tensor],
    target: Sequence[tf.Tensor],
    form: str = "norm",
    weights: Sequence[float] | None = None,
    masks: Sequence[tf.Tensor] | None = None,
    fit_scale: bool = False,
    metric: Sequence[Sequence[tf.Tensor]] | None = None,
) -> tf.Tensor:
    """Distance between two gradients.

    Forms:

    - "norm": sum over tensors of the norm of the difference (GradInversion);
    - "squared": sum of all squared differences (DLG; iDLG);
    - "cosine": one minus the cosine of the angle between all numbers (Inverting Gradients);
    - "layerwise": the same of every tensor by itself, added: no layer drowns another, and what only
      changes the contrast of images is not seen where batch norm or no bias makes it a mere scale;
    - "relative": sum over tensors of the squared difference in units of the target's square, which
      sees it;
    - "whitened": like "relative", with every tensor weighed by a metric, see `gradient_metric`;
    - "sign": share of the magnitude of the candidates' gradient that points against the target,
      twice; for targets of which only signs are left.

    Args:
        gradients: sequence of tensors, the candidates' gradient, one for each trainable variable.
        target: sequence of tensors, the shared gradient, likewise.
        form: string, see above.
        weights: sequence of floats, a factor for each tensor; None: all one.
        masks: sequence of tensors, 0 where the shared gradient says nothing, as after pruning, else
            1; None: all one.
        fit_scale: whether the target is first scaled to the size of the candidates' gradient, for
            targets that were clipped. The scale is a constant for the derivative.
        metric: sequence of the factors of every tensor, for "whitened", else None.

    Returns:
        Scalar.
    """
    if form not in GRADIENT_FORMS:
        expected = ", ".join(map(repr, GRADIENT_FORMS))
        raise UserError(f"gradient distance is {form!r}; expected one of {expected}")
    if masks is not None:
        gradients = [g * m for g, m in zip(gradients, masks, strict=True)]
        target = [t * m for t, m in zip(target, masks, strict=True)]
    if fit_scale:
        ratio = _total_norm(gradients) / tf.maximum(_total_norm(target), 1e-30)
        ratio = tf.stop_gradient(ratio)
        target = [t * ratio for t in target]
    if weights is None:
        weights = [1.0] * len(gradients)
    if form == "whitened":
        if metric is None:
            raise UserError(
                "gradient distance 'whitened' needs a metric; GradientInversion makes one"
            )
        return _whitened(gradients, target, weights, metric)
    return _FORMS[form](gradients, target, weights)


def _norm(gradients, target, weights):
    return tf.add_n([w * safe_norm(g - t) for w, g, t in zip(weights, gradients, target)])


def _squared(gradients, target, weights):
    return tf.add_n(
        [w * tf.reduce_sum(tf.square(g - t)) for w, g, t in zip(weights, gradients, target)]
    )


def _cosine(gradients, target, weights):
    product = tf.add_n([w * tf.reduce_sum(g * t) for w, g, t in zip(weights, gradients, target)])
    ours = _total_norm([w**0.5 * g for w, g in zip(weights, gradients)])
    theirs = _total_norm([w**0.5 * t for w, t in zip(weights, target)])
    return 1.0 - product / tf.maximum(ours * theirs, 1e-30)


def _layerwise(gradients, target, weights):
    return tf.add_n([w * _cosine([g], [t], [1.0]) for w, g, t in zip(weights, gradients, target)])


def _relative(gradients, target, weights):
    return tf.add_n([w * _error(g, t) for w, g, t in zip(weights, gradients, target)])


def _whitened(gradients, target, weights, metric):
    rows = zip(weights, gradients, target, metric, strict=True)
    return tf.add_n([w * squared_length(g - t, factors) for w, g, t, factors in rows])


def _error(gradient, target):
    """Squared, in units of the target; of a target of zeros 0, since it has no unit."""
    error, unit = (tf.reduce_sum(tf.square(x)) for x in (gradient - target, target))
    return tf.math.divide_no_nan(error, unit)


def _sign(gradients, target, weights):
    against = tf.add_n(
        [
            w * tf.reduce_sum(tf.nn.relu(-g * tf.sign(t)))
            for w, g, t in zip(weights, gradients, target)
        ]
    )
    total = tf.add_n([w * tf.reduce_sum(tf.abs(g)) for w, g in zip(weights, gradients)])
    return 2.0 * against / tf.maximum(total, 1e-30)


def _total_norm(tensors):
    return safe_norm(tf.stack([safe_norm(t) for t in tensors]))


_FORMS: dict[str, Callable] = {
    "norm": _norm,
    "squared": _squared,
    "cosine": _cosine,
    "layerwise": _layerwise,
    "relative": _relative,
    "sign": _sign,
}
GRADIENT_FORMS = (*_FORMS, "whitened")
