"""What a dense layer gives away without any optimisation.

For `z = x W + c` the gradients of one example are `G[:, i] = x b[i]`: the input is `G[:, i] / b[i]`
for every unit i that has a gradient. In a batch a unit that fires for one image alone shows that
image exactly.
"""

import numpy as np

from tfgen.errors import UserError


def recover_dense_input(kernel_gradient: np.ndarray, bias_gradient: np.ndarray) -> np.ndarray:
    """The input of a dense layer of one example, exactly.

    Args:
        kernel_gradient: array `[M, N]`, features x units.
        bias_gradient: array `[N]`.

    Returns:
        float64 `[M]`, from the unit with the largest bias gradient, which rounds least.

    Raises:
        UserError: shapes that do not belong together, or no unit has a gradient.
    """
    gradient, bias = _pair(kernel_gradient, bias_gradient)
    unit = int(np.argmax(np.abs(bias)))
    if bias[unit] == 0:
        raise UserError(
            "no unit of the dense layer has a bias gradient (it is zero everywhere); the input "
            "leaves no trace in it"
        )
    return gradient[:, unit] / bias[unit]


def recover_dense_inputs(
    kernel_gradient: np.ndarray,
    bias_gradient: np.ndarray,
    relative_threshold: float = 1e-6,
) -> np.ndarray:
    """What every unit with a gradient shows: an image of the batch, or a mixture of some.

    Args:
        kernel_gradient: array `[M, N]`, features x units.
        bias_gradient: array `[N]`.
        relative_threshold: float; units with smaller bias gradients, relative to the largest, are
            left out: they would show amplified rounding errors. Defaults to `1e-6`.

    Returns:
        float64 `[U, M]` for the U units left, largest bias gradient first. Rows that came from
        one image alone are that image; `exclusive_units` says which for known activations.
    """
    gradient, bias = _pair(kernel_gradient, bias_gradient)
    magnitude = np.abs(bias)
    order = np.argsort(-magnitude, kind="stable")
    kept = order[magnitude[order] > relative_threshold * magnitude.max()]
    return (gradient[:, kept] / bias[kept]).T


def exclusive_units(activations: np.ndarray) -> np.ndarray:
    """How many units fire for each image alone: those show it exactly, whatever the batch.

    Args:
        activations: array `[K, N]`, after the ReLU.

    Returns:
        int64 `[K]`.
    """
    fires = np.asarray(activations) > 0
    alone = fires & (fires.sum(axis=0, keepdims=True) == 1)
    return alone.sum(axis=1)


def _pair(kernel_gradient, bias_gradient):
    gradient, bias = np.asarray(kernel_gradient, np.float64), np.asarray(bias_gradient, np.float64)
    if gradient.ndim != 2 or bias.shape != gradient.shape[1:]:
        raise UserError(
            f"kernel and bias gradients have shapes {gradient.shape} and {bias.shape}; expected "
            "[inputs, units] and [units] of one dense layer"
        )
    return gradient, bias
