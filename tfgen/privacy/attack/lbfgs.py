"""Attacks by L-BFGS, as DLG and iDLG run them, through SciPy.

L-BFGS needs smooth objectives: networks with sigmoids or softplus, squared differences, no noise.
"""

import numpy as np
import scipy.optimize
import tensorflow as tf

from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.state import Evidence, State


def minimize_seed(
    optimization: Optimization, state: State, evidence: Evidence, seed: int, max_steps: int
) -> list[np.ndarray]:
    """Minimises one seed's objective from where it stands.

    Args:
        optimization: of the attack.
        state: with the candidates of every seed.
        evidence: of the attack.
        seed: which of the seeds, from 0 on.
        max_steps: largest number of iterations.

    Returns:
        The seed's candidates, and label logits if they are optimised.
    """
    shapes = [v.shape[1:] for v in state.values]
    sizes = [shape.num_elements() for shape in shapes]
    start = np.concatenate([np.ravel(v[seed]) for v in state.values]).astype(np.float64)

    def split(x):
        parts = np.split(x.astype(np.float32), np.cumsum(sizes)[:-1])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]

    def value_and_gradient(x):
        value, gradients = optimization.value_and_gradient(split(x), evidence, state)
        flat = np.concatenate([np.ravel(g) for g in gradients]).astype(np.float64)
        return float(value), flat

    result = scipy.optimize.minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(optimization, sizes) if optimization.settings.clip else None,
        options=dict(maxiter=max_steps, maxfun=2 * max_steps, maxcor=50, ftol=0.0, gtol=0.0),
    )
    return [part.numpy() for part in split(result.x)]


def _bounds(optimization, sizes):
    """The box of the pixels; label logits are free."""
    ones = np.ones(optimization.network.image_shape)
    pixels = sizes[0] // ones.size
    low, high = (np.tile(np.ravel(bound * ones), pixels) for bound in optimization.box)
    free = np.full(sum(sizes[1:]), np.inf)
    return scipy.optimize.Bounds(np.append(low, -free), np.append(high, free))
