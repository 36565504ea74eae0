"""How hard each transformation's levels are to tell, when nothing else is learned.

A task that is trivial teaches nothing and, solved from some high frequency, is turned upside down
by noise; one that cannot be learned, such as the rotation of what looks the same from all sides,
only disturbs the others. Neither shows in a mean of losses, which the trivial ones win.
"""

import dataclasses

from tfgen.ood.selection.trainings import Trainings
from tfgen.ood.transformations import Transformation, spec_of

BAND = (1e-3, 0.98)  # of difficulty: ours


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """What a short training on one task alone found.

    Attributes:
        name: string, the task's name.
        loss: float, nats, on images that were set aside.
        entropy: float, nats, the loss of a head that knows nothing.
        band: pair of floats, the difficulties that are kept. Defaults to `(0.001, 0.98)`.
    """

    name: str
    loss: float
    entropy: float
    band: tuple[float, float] = BAND

    @property
    def ratio(self) -> float:
        """The loss as a share of that of knowing nothing."""
        return self.loss / self.entropy

    @property
    def is_kept(self) -> bool:
        """Whether the difficulty lies in the band; one that is no number does not."""
        return self.band[0] <= self.ratio <= self.band[1]

    @property
    def reason(self) -> str:
        """The verdict in words."""
        found = f"loss {self.loss:.4f} of {self.entropy:.4f} nats, difficulty {self.ratio:.4f}"
        if self.is_kept:
            return f"kept: {found} lies in [{self.band[0]:g}, {self.band[1]:g}]"
        why = "trivial" if self.ratio < self.band[0] else "cannot be learned"
        return f"dropped: {found} lies outside [{self.band[0]:g}, {self.band[1]:g}], {why}"

    def to_json(self) -> dict:
        """As JSON holds it."""
        return {"loss": self.loss, "entropy": self.entropy, "difficulty": self.ratio}


def measure_difficulty(
    trainings: Trainings,
    transformation: Transformation,
    seed: int = 0,
    band: tuple[float, float] = BAND,
) -> Difficulty:
    """Trains on one task alone and measures what is left of its loss.

    Args:
        trainings: the `Trainings` to train with; labels are not looked at.
        transformation: the `Transformation`.
        seed: integer. Defaults to `0`.
        band: pair of floats, the difficulties that are kept. Defaults to `(0.001, 0.98)`.

    Returns:
        A `Difficulty`.
    """
    model = trainings.trained(
        seed, transformations=[spec_of(transformation)], num_classes=None, ssl_weights=1.0
    )
    name = transformation.name
    loss = trainings.judged(model)[f"ssl_{name}"]
    return Difficulty(name, loss, transformation.entropy, band)
