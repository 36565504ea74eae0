"""Pictures of what a generator does: samples, reconstructions, interpolations, rates."""

import dataclasses

import numpy as np

from tfgen.runs import evaluation
from tfgen.runs.evaluators.base import Evaluator


@dataclasses.dataclass(frozen=True)
class Pictures(Evaluator):
    """See `tfgen.runs.evaluation.draw`.

    Attributes:
        temperatures: tuple of floats, one grid of samples each.
        pictures: whether to draw at all.
    """

    temperatures: tuple[float, ...] = (0.7, 0.85, 1.0)
    pictures: bool = True

    record = "pictures"

    def measure(self, subject, found):
        if not self.pictures:
            return {}
        scored = subject.source()
        shown = scored.take(min(evaluation.IMAGES_SHOWN, len(scored)), subject.seed)
        batches = subject.pipeline(shown).dataset()
        images = np.concatenate([batch["images"].numpy() for batch in batches])
        files = evaluation.draw(
            subject.served,
            images,
            found["kl_per_group"],
            subject.folder,
            temperatures=self.temperatures,
            seed=subject.seed,
        )
        return {"files": [str(file) for file in files]}

    def lines(self, found):
        yield "pictures: " + ", ".join(found["files"])
