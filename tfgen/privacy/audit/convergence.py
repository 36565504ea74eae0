"""How near an attack came to what it was after: the shared gradient and batch-norm statistics.

An attack that stays as far from the gradient as images that have nothing to do with it has failed,
and its failure says nothing about the network or a defence. So the distance it reached stands
beside those of the originals, than which no attack needs to come nearer, and of the controls.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgen.privacy.attack.gradient_distance import gradient_distance
from tfgen.privacy.attack.image_priors import batch_norm_distance
from tfgen.privacy.attack.inversion import Inversion
from tfgen.privacy.attack.optimization import layer_weights
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.audit.batches import Batch
from tfgen.privacy.network.forward import Statistics
from tfgen.privacy.network.shared import SharedNetwork

# Of the way from unrelated images to the originals, how much may be left.
_LEFT = 0.1
_ROUNDING = 0.01


@dataclasses.dataclass(frozen=True)
class Distances:
    """One distance, of the images of an attack and of those beside it.

    Attributes:
        reached: float, the distance that the attack reached at its end.
        originals: float, that of the client's images with their labels: above 0 where a defence
            changed the gradient, or where statistics are not those of the batch.
        prior: float, that of the same attack without the gradient.
        unrelated: float, that of other images with the labels of the batch.
    """

    reached: float
    originals: float
    prior: float
    unrelated: float

    @property
    def converged(self) -> bool:
        """Whether the attack came nine tenths of the way from unrelated images to the originals."""
        allowed = _LEFT * max(self.unrelated - self.originals, 0.0)
        return self.reached <= self.originals * (1.0 + _ROUNDING) + allowed


class Yardstick:
    """Measures images by what one attack holds candidates against.

    Args:
        network: the `SharedNetwork` whose gradient was shared.
        settings: the `AttackSettings` of the attack.
        gradients: sequence of tensors that were shared.
        masks: sequence of tensors, where they say something, or None.
        statistics: sequence of pairs, those of batch norm that the attacker knows, or None.
    """

    def __init__(
        self,
        network: SharedNetwork,
        settings: AttackSettings,
        gradients: Sequence[tf.Tensor],
        masks: Sequence[tf.Tensor] | None,
        statistics: Sequence[Statistics] | None,
    ):
        self.network, self.settings = network, settings
        self.gradients, self.masks, self.statistics = gradients, masks, statistics
        # Of a target of unknown size only the direction counts: any form shrinks with candidates
        # whose own gradient shrinks.
        self.form = "cosine" if settings.fit_scale else settings.gradient_form
        # A metric of the attacker's own making is no measure for others.
        self.form = "relative" if self.form == "whitened" else self.form
        self._weights = layer_weights(network, settings)

    def reached(self, found: Inversion) -> float:
        """The distance that an attack reached, with its own labels, which may be soft."""
        if self.settings.gradient_weight and self.form == self.settings.gradient_form:
            return float(np.min(found.terms["gradient"]))
        return self.gradient(found.images, found.labels)

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Distance of the gradient of images `[K, H, W, C]` with labels `[K]`, see `form`."""
        found = gradient_distance(
            self.network.gradients(images, labels, seed=0),
            self.gradients,
            self.form,
            self._weights,
            self.masks,
        )
        return max(0.0, float(found))  # rounding takes a cosine beyond one

    def batch_norm(self, images: np.ndarray, labels: np.ndarray) -> float:
        """R_BN of images `[K, H, W, C]`; 0 where the attacker knows no statistics."""
        if not self.statistics:
            return 0.0
        found = self.network.statistics(images, labels, seed=0)
        return float(
            batch_norm_distance(
                found,
                self.statistics,
                self.settings.first_batch_norm_weight,
                self.settings.batch_norm_form,
            )
        )


def measure(
    yardstick: Yardstick, batch: Batch, found: Inversion, prior: Inversion
) -> tuple[Distances, Distances | None]:
    """Distances from the gradient, and from batch-norm statistics where some are known.

    Args:
        yardstick: the `Yardstick` of the attack.
        batch: the `Batch` that was attacked.
        found: an `Inversion`, what the attack restored.
        prior: an `Inversion`, what it restores without the gradient.
    """
    beside = {
        "originals": (batch.images, batch.labels),
        "prior": (prior.images, prior.labels),
        "unrelated": (batch.unrelated, batch.labels),
    }
    gradient = Distances(
        reached=yardstick.reached(found),
        **{name: yardstick.gradient(*pair) for name, pair in beside.items()},
    )
    if not yardstick.statistics:
        return gradient, None
    batch_norm = Distances(
        reached=yardstick.batch_norm(found.images, found.labels),
        **{name: yardstick.batch_norm(*pair) for name, pair in beside.items()},
    )
    return gradient, batch_norm


def mean_distances(found: Sequence[Distances]) -> Distances:
    """The mean over batches."""
    return Distances(*np.mean([dataclasses.astuple(d) for d in found], axis=0).tolist())
