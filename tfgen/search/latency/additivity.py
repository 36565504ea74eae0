"""Whether blocks that were timed alone add up to what networks of them take."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from tfgen.errors import UserError
from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.search.latency.calibration import Calibration
from tfgen.search.latency.table import LatencyTable, pearson


@dataclasses.dataclass(frozen=True)
class Additivity:
    """Sums of blocks beside networks that were measured end to end.

    Attributes:
        names: tuple of the N networks' names.
        sums: array `[N]`, milliseconds of their blocks added up.
        measured: array `[N]`, milliseconds end to end.
        metadata: dict, what both were measured in.
    """

    names: tuple[str, ...]
    sums: np.ndarray
    measured: np.ndarray
    metadata: dict

    @property
    def pearson(self) -> float | None:
        """Correlation of both; None where they have none."""
        return pearson(self.sums, self.measured)

    @property
    def mean_relative_error(self) -> float:
        """Mean of |sum - measured| / measured."""
        return float(np.mean(np.abs(self.sums - self.measured) / self.measured))

    @property
    def line(self) -> tuple[float, float]:
        """Slope and intercept (ms) of the line that predicts `measured` from `sums` best.

        A negative intercept is what every block costs beside its work, such as being called.
        """
        if len(self.sums) < 2 or np.ptp(self.sums) == 0.0:
            return 1.0, float(np.mean(self.measured - self.sums))
        slope, intercept = np.polyfit(self.sums, self.measured, 1)
        return float(slope), float(intercept)

    @property
    def error_on_line(self) -> float:
        """Mean relative error of what `line` predicts."""
        slope, intercept = self.line
        return float(np.mean(np.abs(slope * self.sums + intercept - self.measured) / self.measured))

    def held_out(self, count: int = 8) -> tuple[Calibration, float]:
        """What a few networks make of sums, held against all others.

        Args:
            count: integer, networks that calibrate: the first. Defaults to `8`.

        Returns:
            The `Calibration`, and the mean relative error of what it predicts of the others.

        Raises:
            UserError: there are fewer than four that calibrate, or no others.
        """
        if len(self.names) <= count:
            raise UserError(
                f"there are {len(self.names)} networks; expected more than the {count} that "
                "calibrate, to hold the others against"
            )
        found = Calibration.of(self.sums[:count], self.measured[:count])
        others = self.measured[count:]
        errors = np.abs(found.factor * self.sums[count:] - others) / others
        return found, float(np.mean(errors))

    def write(self, path: str | os.PathLike) -> None:
        """Writes the report as JSON, whole or not at all.

        Args:
            path: path of the file.

        Raises:
            OSError: the file cannot be written.
        """
        slope, intercept = self.line
        networks = zip(self.names, self.sums, self.measured)
        plain = {
            "pearson": self.pearson,
            "mean_relative_error": self.mean_relative_error,
            "slope": slope,
            "intercept_ms": intercept,
            "error_on_line": self.error_on_line,
            "metadata": self.metadata,
            "networks": {n: {"sum_ms": s, "measured_ms": m} for n, s, m in networks},
        }
        write_json(path, plain)

    def plot(self, path: str | os.PathLike) -> None:
        """Draws sums against measurements.

        Args:
            path: path of the picture, written whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 5), layout="constrained")
        axis = figure.subplots()
        ends = np.array([0.0, 1.05 * max(self.sums.max(), self.measured.max())])
        slope, intercept = self.line
        axis.plot(ends, ends, color="0.7", lw=1, label="equal")
        label = f"{slope:.2f} x {intercept:+.3f} ms"
        axis.plot(ends, slope * ends + intercept, color="C1", ls="--", lw=1, label=label)
        axis.scatter(self.sums, self.measured, s=14)
        axis.set(xlabel="sum of blocks (ms)", ylabel="end to end (ms)", xlim=ends, ylim=ends)
        correlation = "" if self.pearson is None else f"Pearson {self.pearson:.4f}, "
        axis.set_title(f"{correlation}mean error {self.mean_relative_error:.1%}")
        axis.legend(loc="upper left", fontsize="small")
        with replace_file(path) as temporary:
            figure.savefig(temporary, dpi=100)


def additivity(
    parts: Mapping[str, Sequence[str]],
    blocks: LatencyTable,
    networks: LatencyTable | None = None,
) -> Additivity:
    """Compares networks with the sums of their blocks.

    Args:
        parts: mapping of each network's key to the sequence of its blocks' keys; a block that
            occurs twice is named twice.
        blocks: `LatencyTable` of the blocks.
        networks: `LatencyTable` of the networks, measured in the same setting; None: `blocks` holds
            them too, which lets one measurement interleave all.

    Returns:
        The `Additivity`.

    Raises:
        UserError: there is no network, something was not measured, a network takes no time, or the
            two tables are of different settings.
    """
    networks = blocks if networks is None else networks
    networks.check(blocks.metadata)
    if not parts:
        raise UserError("there is no network; expected at least one to compare with its blocks")
    names = tuple(parts)
    measured = networks.milliseconds(names)
    if not np.all(measured > 0.0):
        name = names[int(np.argmin(measured))]
        raise UserError(f"the network {name!r} takes no time; expected one that computes something")
    sums = np.array([blocks.milliseconds(parts[name]).sum() for name in names])
    return Additivity(names, sums, measured, blocks.metadata)
