"""Random numbers of many seeds at once, against a seed at a time, and PyTorch without seeds.

    python tools/benchmarks/random_rows.py --threads 1

Every chain, image or proposal has a seed of its own, so that none depends on the batch it is in.
TensorFlow's operators take one seed a call, here in one loop of a graph; PyTorch draws all from one
generator, which is less than what is asked. All take turns, PyTorch in a process of its own, and
medians are compared; the numbers of the first two are compared first.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from machine import as_the_binaries_do, share_cores_as_the_binaries_do
from process import Process, require_torch
from timing import Timed

HERE = Path(__file__).resolve().parent

SIZES = {  # seeds, numbers of each
    "noise of 32 small NVAE's images": (32, 7_040),
    "4,096 proposals of an 8 x 8 x 20 group": (256, 20_480),
    "a step of 64 chains in 32 x 32 x 3": (64, 3_072),
    "a step of 4,096 chains in a plane": (4_096, 2),
}


class Side(Timed):
    """A function of the seeds in a graph, of new seeds at every step."""

    def __init__(self, draw, num_seeds: int) -> None:
        import tensorflow as tf

        self._draw = tf.function(draw, autograph=False)
        self._seeds = tf.range(num_seeds)
        self._ones = tf.ones_like(self._seeds)

    def step(self):
        self._seeds += self._ones
        return self._draw(self._seeds).numpy()


def sides_of(num_seeds: int, size: int, threads: int) -> dict[str, Side | Process]:
    """By name; the numbers of a seed at a time and of all at once agree."""
    import numpy as np
    import tensorflow as tf

    from tfgen.ops.seeded_rows import seeded_rows

    def one_by_one(seeds):
        def draw(seed):
            return tf.random.stateless_normal([size], [seed, 7], alg="philox")

        return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)

    sides = {
        "at once": Side(lambda seeds: seeded_rows(seeds, 7, size), num_seeds),
        "one by one": Side(one_by_one, num_seeds),
    }
    np.testing.assert_allclose(*(side.step() for side in sides.values()), atol=1e-5)
    peer = Process(HERE / "random_rows_torch.py", "Peer", num_seeds, size, threads)
    return {**sides, "PyTorch, one generator": peer}


def measured(sides: dict, rounds: int, count: int) -> dict[str, float]:
    """Median seconds of a step of every side, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):  # the first is to get warm
        for name, side in sides.items():
            timed = side.call("timed", count) if isinstance(side, Process) else side.timed(count)
            seconds[name] += timed["wall"]
    return {name: statistics.median(values[count:]) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of each side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    require_torch("random_rows.py")
    share_cores_as_the_binaries_do(arguments.threads)
    as_the_binaries_do()
    found = {}
    for name, (num_seeds, size) in SIZES.items():
        sides = sides_of(num_seeds, size, arguments.threads)
        found[name] = measured(sides, arguments.rounds, arguments.steps)
        sides["PyTorch, one generator"].close()
        parts = ", ".join(f"{side} {1e3 * s:.2f} ms" for side, s in found[name].items())
        print(f"{name} ({num_seeds:,} x {size:,}): {parts}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
