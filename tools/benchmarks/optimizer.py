"""One optimizer step: tfgen's Fromage, Keras's Adam, `optax.fromage` and PyTorch's foreach form.

    python tools/benchmarks/optimizer.py --threads 2

All sides update the same parameters with the same fixed gradients, taking turns (PyTorch in a
process of its own), and the three Fromages are compared with each other first. Wall time on a busy
machine says little; the processor time of the step is given beside it. Needs the extra `benchmark`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from pathlib import Path

from machine import as_the_binaries_do
from process import Process, require_torch
from timing import Timed

HERE = Path(__file__).resolve().parent

RATE = 0.01
SHAPES = {
    # 1,000 tensors as a network of 250 small layers has them; 0.65 M parameters.
    "many": 250 * [(3, 3, 16, 16), (16,), (16, 16), (16,)],
    # Few large ones; 50.3 M parameters.
    "large": 3 * [(4096, 4096), (4096,)],
}


class KerasSide(Timed):
    """A Keras optimizer, its step in one graph as `fit` would have it."""

    def __init__(self, optimizer, parameters, gradients) -> None:
        import keras
        import tensorflow as tf

        self.variables = [keras.Variable(p) for p in parameters]
        sources = [tf.Variable(g, trainable=False) for g in gradients]
        optimizer.build(self.variables)
        own = [v for v in optimizer.variables if v.shape]
        self.state_bytes = sum(4 * v.value.shape.num_elements() for v in own)
        self.step = tf.function(
            lambda: optimizer.apply([s.read_value() for s in sources], self.variables),
            autograph=False,
        )

    def values(self):
        return [v.numpy() for v in self.variables]


class OptaxSide(Timed):
    """`optax.fromage` in one compiled function that gives its parameters' memory back."""

    state_bytes = 0

    def __init__(self, parameters, gradients) -> None:
        import jax
        import optax

        transform = optax.fromage(RATE, min_norm=0.0)
        self._parameters = [jax.numpy.asarray(p) for p in parameters]
        self._gradients = [jax.numpy.asarray(g) for g in gradients]
        self._state = transform.init(self._parameters)

        def update(parameters, state, gradients):
            updates, state = transform.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        self._update = jax.jit(update, donate_argnums=(0, 1))

    def step(self) -> None:
        import jax

        self._parameters, self._state = self._update(self._parameters, self._state, self._gradients)
        jax.block_until_ready(self._parameters)

    def values(self):
        return self._parameters


class TorchSide:
    """The peer, which lives in a process of its own."""

    state_bytes = 0

    def __init__(self, parameters, gradients, threads) -> None:
        self._peer = Process(
            HERE / "optimizer_torch.py", "Peer", RATE, parameters, gradients, threads
        )

    def timed(self, count):
        return self._peer.call("timed", count)

    def values(self):
        return self._peer.call("values")

    def close(self) -> None:
        self._peer.close()


def build_sides(model: str, threads: int) -> dict[str, KerasSide | OptaxSide | TorchSide]:
    """Every side on the same parameters and gradients, after one step; Fromages agree."""
    import keras
    import numpy as np

    from tfgen.optimizers import Fromage

    rng = np.random.default_rng(0)
    parameters, gradients = (
        [rng.standard_normal(s, dtype=np.float32) for s in SHAPES[model]] for _ in range(2)
    )
    makers = {
        "tfgen Fromage": lambda *a: KerasSide(Fromage(RATE), *a),
        "Keras Adam": lambda *a: KerasSide(keras.optimizers.Adam(1e-4), *a),
        "optax.fromage, jit": OptaxSide,
        "PyTorch foreach Fromage": lambda *a: TorchSide(*a, threads),
    }
    sides = {}
    for name, make in makers.items():
        began = time.perf_counter()
        sides[name] = make(parameters, gradients)
        sides[name].timed(1)
        sides[name].first_seconds = time.perf_counter() - began
    reference = sides["tfgen Fromage"].values()
    for name, side in sides.items():
        if "romage" in name:
            for a, b in zip(side.values(), reference, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)
    return sides


def take_turns(sides: dict[str, object], rounds: int, count: int) -> dict[str, dict[str, list]]:
    """Wall and processor seconds of every step; the sides alternate, `count` steps at a time."""
    seconds = {name: {"wall": [], "cpu": []} for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            for kind, values in side.timed(count).items():
                seconds[name][kind] += values
    return seconds


def report(model: str, sides: dict, seconds: dict, threads: int) -> str:
    """Medians of a model as a table; ratios are to Keras's Adam."""
    shapes = SHAPES[model]
    elements = sum(_elements(s) for s in shapes)
    medians = {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in seconds.items()
    }
    adam = medians["Keras Adam"]
    lines = [
        f"{model}: {len(shapes):,} tensors, {elements:,} parameters, float32, {threads} threads",
        f"  {'':<26}{'wall':>10}{'ratio':>8}{'cpu':>12}{'ratio':>8}{'state':>12}{'first call':>12}",
    ]
    for name, median in medians.items():
        lines.append(
            f"  {name:<26}{1e3 * median['wall']:>7.2f} ms{median['wall'] / adam['wall']:>8.2f}"
            f"{1e3 * median['cpu']:>9.2f} ms{median['cpu'] / adam['cpu']:>8.2f}"
            f"{sides[name].state_bytes / 2**20:>8.1f} MiB{sides[name].first_seconds:>10.1f} s"
        )
    return "\n".join(lines)


def _elements(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", choices=[*SHAPES, "both"], default="both")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    require_torch("optimizer.py")
    if importlib.util.find_spec("optax") is None:
        sys.exit("optimizer.py compares with optax, which is missing: pip install optax")
    _limit_threads(arguments.threads)
    results = {}
    for model in SHAPES if arguments.model == "both" else [arguments.model]:
        sides = build_sides(model, arguments.threads)
        seconds = take_turns(sides, arguments.rounds, arguments.steps)
        results[model] = seconds
        print(report(model, sides, seconds, arguments.threads), flush=True)
        sides["PyTorch foreach Fromage"].close()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def _limit_threads(threads: int) -> None:
    """Of all three libraries; before any is imported."""
    as_the_binaries_do()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    multi = str(threads > 1).lower()
    os.environ["XLA_FLAGS"] = (
        f"--xla_cpu_multi_thread_eigen={multi} intra_op_parallelism_threads={threads}"
    )
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


if __name__ == "__main__":
    main()
