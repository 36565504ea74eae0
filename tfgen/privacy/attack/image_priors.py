"""What makes a batch of candidates look like images: R_fidelity and R_group.

Yin et al., 2021 (arXiv:2104.07586), sections 3.3 and 3.4: total variation, the size of the pixels,
the distance of batch-norm statistics from known ones, and the agreement of several seeds. All norms
are Euclidean and not squared; all have gradient 0 where they are 0.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack.norms import safe_norm
from tfgen.privacy.network.forward import Statistics


def total_variation(x: tf.Tensor) -> tf.Tensor:
    """R_TV: one norm over the whole batch for each of four directions of neighbours.

    Args:
        x: `[K, H, W, C]`.

    Returns:
        Scalar: norm of the differences between columns, rows and along both diagonals, added.
    """
    differences = (
        x[:, :, 1:] - x[:, :, :-1],
        x[:, 1:] - x[:, :-1],
        x[:, 1:, 1:] - x[:, :-1, :-1],
        x[:, 1:, :-1] - x[:, :-1, 1:],
    )
    return tf.add_n([safe_norm(difference) for difference in differences])


def mean_norm(x: tf.Tensor) -> tf.Tensor:
    """R_l2: the norm of an image, averaged over the batch `[K, H, W, C]`; scalar."""
    return tf.reduce_mean(safe_norm(tf.reshape(x, [tf.shape(x)[0], -1]), axis=1))


def batch_norm_distance(
    statistics: Sequence[Statistics],
    known: Sequence[Statistics],
    first_weight: float = 1.0,
    form: str = "norm",
) -> tf.Tensor:
    """R_BN: distance of the candidates' batch-norm statistics from known ones.

    Forms:

    - "norm", of Yin et al.: `sum_l || mean_l(x) - m_l || + || var_l(x) - v_l ||`;
    - "relative": `sum_l` of the root of the mean square, over channels, of the difference of means
      in standard deviations and that of the logarithms of the deviations: no layer drowns another,
      and a spread too small counts as much as one too large.

    Args:
        statistics: sequence of pairs, mean and variance of the candidates at every batch-norm
            layer.
        known: sequence of pairs, the client's, or the network's moving averages, in the same order.
        first_weight: float, factor on the layer nearest to the pixels. Defaults to `1.0`.
        form: string, see above. Defaults to `"norm"`.

    Returns:
        Scalar.

    Raises:
        UserError: no such form.
    """
    if form not in BATCH_NORM_FORMS:
        expected = ", ".join(map(repr, BATCH_NORM_FORMS))
        raise UserError(f"batch-norm distance is {form!r}; expected one of {expected}")
    terms = []
    for index, (ours, theirs) in enumerate(zip(statistics, known, strict=True)):
        distance = _BATCH_NORM_FORMS[form](*ours, *theirs)
        terms.append(distance if index else first_weight * distance)
    return tf.add_n(terms)


def _norms(mean, variance, known_mean, known_variance):
    return safe_norm(mean - known_mean) + safe_norm(variance - known_variance)


def _relative(mean, variance, known_mean, known_variance):
    # Channels that are constant have a spread of rounding alone.
    floor = 1e-5
    shift = (mean - known_mean) * tf.math.rsqrt(known_variance + floor)
    spread = tf.math.log((variance + floor) / (known_variance + floor)) / 2**0.5
    return safe_norm(tf.stack([shift, spread])) / tf.sqrt(tf.cast(tf.size(shift), shift.dtype))


_BATCH_NORM_FORMS: dict[str, Callable] = {"norm": _norms, "relative": _relative}
BATCH_NORM_FORMS = tuple(_BATCH_NORM_FORMS)


def group_distance(x: tf.Tensor, consensus: tf.Tensor) -> tf.Tensor:
    """R_group of one seed: distance from the consensus of all seeds, which is a constant.

    Args:
        x: `[K, H, W, C]`.
        consensus: tensor E, like `x`.

    Returns:
        Scalar.
    """
    return safe_norm(x - tf.stop_gradient(consensus))
