"""Deep relative trust: how far a network's layers may move before its gradient means nothing.

Bernstein et al. (2020), arXiv:2002.03432. Their model of a network of depth L is that the gradient
of every layer changes, relative to its size, by at most `prod_l (1 + r_l) - 1` when layer l moves
by the relative amount `r_l` (what Theorem 1 bounds, with all constants taken as one). The loss then
falls as long as this stays below the cosine of the angle between step and negative gradient.
"""

import numpy as np


def trust_budget(relative_updates, axis: int = -1) -> np.ndarray:
    """The bound on the relative change of gradients, `prod_l (1 + r_l) - 1`.

    Args:
        relative_updates: array, norm of the update over norm of the layer, of every layer along
            `axis`.
        axis: integer, the axis of the layers.
    """
    # The product of a thousand layers may overflow; that is infinitely far.
    with np.errstate(over="ignore"):
        return np.expm1(np.sum(np.log1p(np.asarray(relative_updates, np.float64)), axis=axis))


def admissible_learning_rate(depth: int, cosine: float = 1.0) -> float:
    """The relative step below which the loss falls, `(1 + cosine)**(1 / depth) - 1`.

    Args:
        depth: integer, number of layers, at least 1.
        cosine: float, cosine of the angle between step and negative gradient of the whole loss: 1
            for full batches, less the noisier the gradient.
    """
    return float(np.expm1(np.log1p(cosine) / depth))


def admissible_depth(learning_rate: float, cosine: float = 1.0) -> float:
    """The depth up to which a relative step lowers the loss; inverse of the above.

    Args:
        learning_rate: float, relative size of a step, positive.
        cosine: float, as in `admissible_learning_rate`.
    """
    return float(np.log1p(cosine) / np.log1p(learning_rate))
