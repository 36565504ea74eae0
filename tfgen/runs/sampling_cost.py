"""What a set of samples took: seconds, and evaluations of the network that a solver asks."""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass
class SamplingCost:
    """What drawing took, noted batch by batch.

    Attributes:
        seconds: float, until all were drawn; the compilation of the program counts.
        evaluations: list of integers, of every image how often a solver asked its network; 0 where
            there is none.
    """

    seconds: float = 0.0
    evaluations: list[int] = dataclasses.field(default_factory=list)

    def noted(self, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
        """The images of batches, each drawn under the clock.

        Args:
            batches: iterable of pairs of images and counts, see `Generator.counted_batches`.
        """
        start = time.perf_counter()
        for images, evaluations in batches:
            self.seconds += time.perf_counter() - start
            self.evaluations += evaluations.tolist()
            yield images
            start = time.perf_counter()

    def record(self) -> dict[str, float]:
        """In plain values: `sampling_seconds`, and of what has a solver `network_evaluations`, the
        mean of an image, and `most_network_evaluations`."""
        found = {"sampling_seconds": self.seconds}
        if any(self.evaluations):
            found["network_evaluations"] = float(statistics.fmean(self.evaluations))
            found["most_network_evaluations"] = max(self.evaluations)
        return found


def in_words(record: dict) -> str:
    """A record for a person."""
    text = f"drawn in {record['sampling_seconds']:.1f} s"
    if "network_evaluations" not in record:
        return text
    mean, most = record["network_evaluations"], record["most_network_evaluations"]
    varying = f" on average, {most} at most" if most != mean else ""
    return f"{text} by {mean:g} evaluations of the network an image{varying}"
