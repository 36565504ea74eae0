"""GradInversion against the same loop in PyTorch: iterations a second.

    python tools/benchmarks/gradinversion.py --network batch_norm_cnn --steps 200

Both sides attack one gradient of the same network with the paper's objective (gradient norms, TV,
L2, exact batch-norm statistics), Adam, Langevin noise and box; batch 4 of 32 x 32 images, one seed,
float32, the same number of threads, each in its own process. They take turns, and medians are
compared. PyTorch first tries memory layouts and forms of batch norm, and keeps the fastest. That
both compute the same objective is tested in tests/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from machine import share_cores_as_the_binaries_do
from process import Process, require_torch

NETWORKS = {"batch_norm_cnn": 32, "resnet18": 16}  # and their widths
BATCH_SIZE = 4
PROMISE = 1.3


def inputs() -> tuple[Any, Any, Any]:
    """Normalised images, labels and first candidates; random, which takes the same time."""
    import numpy as np

    rng = np.random.default_rng(0)
    images, start = rng.standard_normal((2, BATCH_SIZE, 32, 32, 3)).astype(np.float32)
    return images, np.arange(BATCH_SIZE), start


class TorchSide:
    """The peer, in one of its variants."""

    def __init__(self, network: str, threads: int, **options: Any) -> None:
        import torch
        from gradinversion_torch import Attack

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._attack = Attack(network, NETWORKS[network], *inputs(), **options)
        self.version = f"PyTorch {torch.__version__}"

    def run(self, count: int) -> None:
        for _ in range(count):
            self._attack.step()


class TfgenSide:
    """The compiled loop, as `GradientInversion.run` calls it."""

    def __init__(self, network: str, threads: int) -> None:
        share_cores_as_the_binaries_do(threads, small_operations=True)
        import tensorflow as tf

        from tfgen.privacy import AttackSettings, SharedNetwork, build_classifier
        from tfgen.privacy.attack.optimization import Optimization
        from tfgen.privacy.attack.state import Evidence

        images, labels, start = inputs()
        model = build_classifier(network, (32, 32, 3), 10, width=NETWORKS[network])
        shared = SharedNetwork(model, batch_norm_mode="train", pixel_mean=0.45, pixel_std=0.25)
        one_hot = shared.one_hot(labels)
        _, gradients, known = shared._gradients(tf.constant(images), one_hot)
        settings = AttackSettings(num_seeds=1, group="none", schedule="constant", warmup_steps=0)
        self._loop = Optimization(shared, settings)
        self._evidence = Evidence(gradients, one_hot, known, [], tf.constant([0]))
        state = self._loop.start(self._evidence)
        self._state = state._replace(values=[tf.constant(start)[None]])
        self._tf, self._step = tf, 0
        self.version = f"TensorFlow {tf.__version__}"

    def run(self, count: int) -> None:
        self._step += count
        until = self._tf.constant(self._step)
        self._state = self._loop.run(self._state, self._evidence, until)
        self._state.values[0].numpy()


SIDES = {"torch": TorchSide, "tfgen": TfgenSide}


class Timed:
    """A side in its process: runs as many steps as it is asked for, and says the seconds."""

    def __init__(self, side: str, network: str, threads: int, **options: Any) -> None:
        self._side = SIDES[side](network, threads, **options)

    def version(self) -> str:
        return self._side.version

    def seconds(self, count: int) -> float:
        start = time.perf_counter()
        self._side.run(count)
        return time.perf_counter() - start


class Worker:
    """A side in its own process, as the parent sees it."""

    def __init__(self, side: str, network: str, threads: int, **options: Any) -> None:
        self.label = " ".join([side, *(f"{k}={v}" for k, v in options.items())])
        python = sys.executable if side == "tfgen" else None
        self._process = Process(
            Path(__file__).resolve(), "Timed", side, network, threads, python=python, **options
        )
        self.version = self._process.call("version")

    def seconds(self, count: int) -> float:
        """Seconds a step, over `count` steps."""
        return self._process.call("seconds", count) / count

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def take_turns(workers: list[Worker], rounds: int, count: int) -> dict[str, float]:
    """Median seconds a step by label."""
    seconds: dict[str, list[float]] = {worker.label: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            time.sleep(0.05)  # idle threads of the other side stop spinning
            seconds[worker.label].append(worker.seconds(count))
    return {label: statistics.median(values) for label, values in seconds.items()}


def compare(network: str, threads: int, steps: int) -> dict[str, Any]:
    """Measures one network; returns medians in seconds a step."""
    variants = [
        Worker("torch", network, threads, channels_last=layout, fused=fused)
        for layout in (False, True)
        for fused in (False, True)
    ]
    take_turns(variants, 1, 2)
    trials = take_turns(variants, 3, 5)
    best = min(variants, key=lambda worker: trials[worker.label])
    for worker in variants:
        if worker is not best:
            worker.close()
    ours = Worker("tfgen", network, threads)
    take_turns([ours], 1, 3)  # traces
    chunk = max(1, min(20, steps // 5))
    medians = take_turns([best, ours], max(1, steps // chunk), chunk)
    result = {
        "network": network,
        "width": NETWORKS[network],
        "batch_size": BATCH_SIZE,
        "threads": threads,
        "versions": [best.version, ours.version],
        "peer_variants": trials,
        "peer": best.label,
        "torch_seconds": medians[best.label],
        "tfgen_seconds": medians[ours.label],
        "ratio": medians[best.label] / medians[ours.label],
    }
    best.close()
    ours.close()
    return result


def report(result: dict[str, Any]) -> str:
    """The comparison as text."""
    trials = ", ".join(f"{k} {1e3 * v:.1f} ms" for k, v in result["peer_variants"].items())
    return "\n".join(
        (
            f"{result['network']}, width {result['width']}, batch {result['batch_size']}, "
            f"{result['threads']} threads, {' and '.join(result['versions'])}",
            f"  PyTorch by variant: {trials}",
            f"  PyTorch {1 / result['torch_seconds']:.1f} iterations/s, "
            f"tfgen {1 / result['tfgen_seconds']:.1f} iterations/s: "
            f"{result['ratio']:.2f}x   promised >= {PROMISE}",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--network", choices=[*NETWORKS, "both"], default="both")
    parser.add_argument("--steps", type=int, default=100, help="timed iterations of each side")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    require_torch("gradinversion.py")
    # Inherited by both sides, and read when their libraries load.
    os.environ.update(OMP_NUM_THREADS=str(arguments.threads), TF_CPP_MIN_LOG_LEVEL="2")
    networks = NETWORKS if arguments.network == "both" else [arguments.network]
    results = []
    for network in networks:
        results.append(compare(network, arguments.threads, arguments.steps))
        print(report(results[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
