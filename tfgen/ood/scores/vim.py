"""Virtual-logit matching: what of the features lies outside the space they mostly fill."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.scores.base import NoSpread, Score
from tfgen.ops.checks import whole_number

_NO_RESIDUAL = 1e-5  # of the features' length: less than float32 features can tell from none
# Singular values of the last layer, as a share of the largest. Softmax and weight decay make one of
# them vanish (the mean over classes changes nothing), whose inverse would send the origin far off.
_NO_DIRECTION = 1e-5


@keras.saving.register_keras_serializable(package="tfgen")
class ViM(Score):
    """The residual of features outside their principal space as one more logit.

    Of Wang et al. (2022). Features are seen from `-W^+ b`, where the classifier's logits are all 0.
    The score is the residual's length, scaled so that it is on average the largest logit of
    in-distribution images, minus the log-sum-exp of the logits.

    Args:
        dimension: integer, of the principal space, less than that of the features; None: 1000 of
            2048 features and more, 512 of 768 and more, half of them otherwise.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: the dimension is no whole number of at least 1.
    """

    needs = ("features", "logits")
    needs_head = True
    fitted_to = ("origin", "residual_space", "scale")
    default_name = "vim"

    def __init__(self, dimension=None, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        if dimension is not None:
            dimension = whole_number("dimension", dimension, 1)
        self.dimension = dimension

    def statistics(self, features, logits, *, labels, head):
        del labels
        width = features.shape[1]
        dimension = self.dimension or _usual_dimension(width)
        if not dimension < width:
            raise DataError(
                f"the score {self.name!r} keeps {dimension} dimensions of {width} features, which "
                "leaves no residual; give a smaller dimension"
            )
        kernel, bias = (np.asarray(x, np.float64) for x in head)
        origin = -np.linalg.pinv(kernel.T, rcond=_NO_DIRECTION) @ bias
        centred = features - origin
        _, directions = np.linalg.eigh(centred.T @ centred / len(centred))  # smallest first
        residual_space = directions[:, : width - dimension]
        lengths = np.linalg.norm(centred @ residual_space, axis=1)
        if not lengths.mean() > _NO_RESIDUAL * np.linalg.norm(centred, axis=1).mean():
            raise NoSpread(
                f"the features have no residual outside {dimension} dimensions, which the score "
                f"{self.name!r} is made of; give a smaller dimension"
            )
        scale = logits.max(axis=1).mean() / lengths.mean()
        return {"origin": origin, "residual_space": residual_space, "scale": scale}

    def compute(self, features, logits):
        residual = (features - self.statistic("origin")) @ self.statistic("residual_space")
        lengths = tf.norm(residual, axis=1)
        return self.statistic("scale") * lengths - tf.reduce_logsumexp(logits, axis=1)

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension}


def _usual_dimension(width: int) -> int:
    """As the authors take it for their networks, and half of the features of smaller ones."""
    if width >= 2048:
        return 1000
    return 512 if width >= 768 else max(1, width // 2)
