"""Do blocks that are timed alone add up to what networks of them take?

    python tools/studies/latency_additivity.py --folder=additivity [--precision=int8] [--threads=2]

Draws networks of UNAS's space of blocks, times them and all their blocks in turn with LiteRT, and
writes `additivity.json` and `additivity.png` beside the table of times, which a later call reads.
Measure on a quiet machine: what is measured twice says how quiet it was. `--reference` lets a block
take turns with all others, and counts in what it took: so a machine that is busy now and then, or
whose clock goes up and down, measures better.
"""

import argparse
import pathlib

import numpy as np

from tfgen.search import latency
from tfgen.search.unas.block_supernet import CHANGES
from tfgen.search.unas.genotypes import BLOCK_OPERATIONS, BlockGenotype
from tfgen.search.unas.latency import BlockSpace
from tfgen.search.unas.networks import BLOCKS, block_network

CALIBRATE = 8  # networks that say what a sum is worth


def genotypes(count: int, seed: int = 0) -> dict[str, BlockGenotype]:
    """Networks drawn evenly, by name."""
    rng, found = np.random.default_rng(seed), {}
    for number in range(count):
        choices = [
            BLOCK_OPERATIONS if k in CHANGES else (None, *BLOCK_OPERATIONS)
            for k in range(len(BLOCKS))
        ]
        blocks = tuple(known[rng.integers(len(known))] for known in choices)
        found[f"network{number}"] = BlockGenotype(blocks)
    return found


def study(folder, backend, side: int, width: float, count: int, **options) -> latency.Additivity:
    """Measures, writes the report into `folder`, and returns it."""
    shape, classes = (side, side, 3), 10
    space, drawn = BlockSpace(shape, classes, width), genotypes(count)
    parts = {name: space.keys(genotype) for name, genotype in drawn.items()}
    used = {key for keys in parts.values() for key in keys}
    blocks = [block for block in space.blocks if block.key in used]
    networks = [
        latency.Block(name, lambda g=genotype: block_network(g, shape, classes, width))
        for name, genotype in drawn.items()
    ]
    table = latency.measure(
        [*blocks, *networks], backend, pathlib.Path(folder, "table.json"), **options
    )
    report = latency.additivity(parts, table)
    report.write(pathlib.Path(folder, "additivity.json"))
    report.plot(pathlib.Path(folder, "additivity.png"))
    print(summary(report, table), flush=True)
    return report


def summary(report: latency.Additivity, table: latency.LatencyTable) -> str:
    """The figures in a few lines."""
    slope, intercept = report.line
    repeat, correlation = table.repeat, report.pearson
    lines = [
        f"{len(report.names)} networks of {report.measured.min():.2f} to "
        f"{report.measured.max():.2f} ms: Pearson {correlation or np.nan:.4f}, mean error "
        f"{report.mean_relative_error:.1%}",
        f"on the line {slope:.3f} x {intercept:+.3f} ms: mean error {report.error_on_line:.1%}",
    ]
    if len(report.names) > CALIBRATE:
        found, error = report.held_out(CALIBRATE)
        lines.append(
            f"{found.describe()}; the other {len(report.names) - CALIBRATE} within {error:.1%}"
        )
    if repeat is not None:
        lines.append(
            f"{repeat.num_blocks} measured twice: Pearson {repeat.pearson or np.nan:.4f}, mean "
            f"difference {repeat.mean_difference:.1%}"
        )
    return "\n".join(lines)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--precision", default="float32", choices=("float32", "int8"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--quantile", type=float, default=0.5)
    arguments = parser.parse_args()
    backend = latency.LiteRTBackend(arguments.threads, precision=arguments.precision)
    study(
        arguments.folder,
        backend,
        arguments.side,
        arguments.width,
        arguments.networks,
        quantile=arguments.quantile,
        at_once=200,
        repeat=16,
        reference=latency.REFERENCE if arguments.reference else None,
    )


if __name__ == "__main__":
    main()
