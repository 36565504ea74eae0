"""What networks take that no sum of parts says: by how much sums are too small or too large.

table = measure(blocks, backend, "table.json", networks=networks)  # a handful, whole
calibration(table).factor  # what to multiply sums by
"""

import dataclasses

import numpy as np

from tfgen.errors import UserError
from tfgen.search.latency.table import LatencyTable

LEAST_NETWORKS = 4
_NOTHING = (0.0, 0.0)  # a network without parts takes no time


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What networks take in multiples of the sums of their parts.

    One number: that with the least mean relative error on some whole networks. A line through them
    would have a second one, which so few do not determine: on networks that were left out it errs
    by more.

    Attributes:
        factor: float, what sums, or their distances from a known one, are to be multiplied by.
        error: float, mean relative error on networks that were left out, each in turn.
        num_networks: integer, networks that were measured.
    """

    factor: float
    error: float
    num_networks: int

    @classmethod
    def of(
        cls, sums: np.ndarray, measured: np.ndarray, known: tuple[float, float] = _NOTHING
    ) -> "Calibration":
        """That of some networks.

        Args:
            sums: array `[N]`, milliseconds of their parts added up.
            measured: array `[N]`, milliseconds end to end.
            known: pair of floats, the sum and the milliseconds of a network that is met exactly.
                Defaults to `(0.0, 0.0)`.

        Raises:
            UserError: there are fewer than four, or one takes no time.
        """
        count = len(sums)
        if count < LEAST_NETWORKS:
            raise UserError(
                f"{count} whole networks were measured beside their parts; expected at least "
                f"{LEAST_NETWORKS}, to know what sums of parts are worth: ask for calibrate=8"
            )
        if not np.all(np.asarray(measured) > 0.0):
            raise UserError("a whole network takes no time; expected ones that compute something")
        distances = np.asarray(sums, np.float64) - known[0]
        further = np.asarray(measured, np.float64) - known[1]
        errors = []
        for k in range(count):
            factor = _factor(*(np.delete(x, k) for x in (distances, further, measured)))
            errors.append(abs(factor * distances[k] - further[k]) / measured[k])
        return cls(_factor(distances, further, measured), float(np.mean(errors)), count)

    def describe(self) -> str:
        """The figures in a sentence."""
        return (
            f"{self.num_networks} whole networks take {self.factor:.3f} times what their parts do; "
            f"each, predicted by the others, is met within {self.error:.1%} on average"
        )


def _factor(distances, further, measured) -> float:
    """The f that minimises the sum of |f distances - further| / measured: a weighted median."""
    weights = np.abs(distances) / measured
    apart = weights > 0.0
    if not apart.any():
        return 1.0
    ratios, weights = further[apart] / distances[apart], weights[apart]
    order = np.argsort(ratios)
    passed = np.cumsum(weights[order])
    at = np.searchsorted(passed, passed[-1] / 2.0 * np.array([1 - 1e-12, 1 + 1e-12]))
    return float(ratios[order][at].mean())


def calibration(table: LatencyTable, known: tuple[float, float] = _NOTHING) -> Calibration:
    """What the whole networks of a table say of its sums.

    Those that could not be timed, or of whose parts one could not, are left out.

    Args:
        table: `LatencyTable` that was measured with `networks`.
        known: pair of floats, the sum and the milliseconds of a network that is met exactly.
            Defaults to `(0.0, 0.0)`.

    Returns:
        The `Calibration`.

    Raises:
        UserError: fewer than four networks were measured.
    """
    timed = {key for key, entry in table.entries.items() if entry.failure is None}
    whole = {key: parts for key, parts in table.networks.items() if timed >= {key, *parts}}
    sums = np.array([table.milliseconds(parts).sum() for parts in whole.values()])
    return Calibration.of(sums, table.milliseconds(whole), known)
