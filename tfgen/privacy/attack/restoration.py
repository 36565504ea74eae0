"""Labels out of the gradient of a whole network, for the rules of `restore_labels`.

The rules know the mean cross-entropy of a dense layer. Here the gradient of the head is brought to
that: without weight decay, per image, before constants scale the logits, with labels unsmoothed.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack.labels import present_classes, restore_labels
from tfgen.privacy.network.residual import Residual, residual_of
from tfgen.privacy.network.shared import SharedNetwork

_ADVICE = "give labels and choose threat_model.labels 'known'"
_ROUNDING = 1e-6  # of gradients in float32, relative to the largest


def labels_of(
    network: SharedNetwork,
    gradients: Sequence[tf.Tensor],
    batch_size: int | None,
    method: str,
) -> np.ndarray:
    """Labels of a batch, ascending.

    Args:
        network: the `SharedNetwork` whose gradient was shared.
        gradients: one tensor for each trainable variable.
        batch_size: integer K; None: the number of classes that the gradient proves present.
        method: see `restore_labels`; "min" where the head has no bias to count with.

    Returns:
        int64 `[K]`.

    Raises:
        UserError: the model ends in no dense layer, its loss hides labels, or the rule does not
            fit.
    """
    head = network.head
    if head is None or network.num_classes == 1:
        raise UserError(
            "the model has no trainable dense layer with one unit a class, from which labels "
            f"could be restored; {_ADVICE}"
        )
    residual = residual_of(network, batch_size or 1)
    if residual is None:
        raise UserError(
            f"a gradient of the loss {network.loss.name} does not show by its signs which classes "
            f"are in a batch; {_ADVICE}"
        )
    if batch_size is None:
        kernel, bias = _of_cross_entropy(head, gradients, residual)
        present = present_classes(kernel, bias, _ROUNDING, signed_features=head.signed_features)
        batch_size = max(1, len(present))
        residual = residual_of(network, batch_size)
    kernel, bias = _of_cross_entropy(head, gradients, residual)
    if bias is None and method not in ("min", "sum"):
        method = "min"
    constant = np.zeros(network.num_classes) if head.bias is None else np.asarray(head.bias)
    return restore_labels(
        kernel,
        bias,
        batch_size,
        method,
        kernel=_matrix(head.kernel) * head.scale,
        bias=constant * head.scale + head.shift,
        signed_features=head.signed_features,
        link=residual.link,
    )


def _of_cross_entropy(head, gradients, residual: Residual):
    """Gradients of the head's kernel and bias, as the mean cross-entropy would have them."""
    unit = residual.gain * head.scale
    kernel = _matrix(gradients[head.kernel_index]) - _matrix(_decay(head.kernel))
    if head.bias_index is None:
        return kernel / unit, None
    bias = np.asarray(gradients[head.bias_index], np.float64) - _decay(head.bias)
    return kernel / unit, bias / unit + residual.floor


def _decay(variable):
    """The gradient of the regulariser of a variable, which is no trace of any image."""
    value = tf.constant(np.asarray(variable))
    if variable.regularizer is None:
        return np.zeros(value.shape)
    with tf.GradientTape() as tape:
        tape.watch(value)
        penalty = variable.regularizer(value)
    return tape.gradient(penalty, value).numpy()


def _matrix(kernel):
    """`[M, N]`, also of a convolution over one pixel."""
    kernel = np.asarray(kernel, np.float64)
    return kernel.reshape(-1, kernel.shape[-1])
