"""Langevin chains in a VAE's noise space: tfgen against an equivalent PyTorch loop.

    python tools/benchmarks/langevin.py --config cifar10 --threads 2 --rounds 3

Same networks, same batch, same number of threads, float32. Each side has its own process; they take
turns, so that whatever else the machine does disturbs both alike; medians are compared. PyTorch
runs in both memory layouts, normalising its kernels in every step as one writes it, and with
kernels computed once, on the whole batch and in parts side by side (its fastest is the one compared
with). tfgen runs as a plain graph and through XLA, in parts side by side as `tfgen-sample` does,
and eagerly. Initial weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import KEEP_FREED_MEMORY, as_the_binaries_do, share_cores_as_the_binaries_do
from process import Process, require_torch

HERE = Path(__file__).resolve().parent

# NVAE and energy of the comparison; the first is that of the authors' recipe at a width that two
# cores can carry.
CONFIGS: dict[str, dict[str, Any]] = {
    "cifar10": dict(
        image=(32, 3), channels=32, groups=5, energy=128, blocks=None, architecture="cifar10"
    ),
    "small": dict(
        image=(32, 3), channels=16, groups=2, energy=32, blocks=None, architecture="cifar10"
    ),
}
STEP_SIZE = 8e-5


def torch_side(
    config: dict, batch_size: int, threads: int, compile_too: bool = False
) -> dict[str, Callable[[int], float]]:
    """Variants of the peer by name: functions of the number of steps, which say the seconds."""
    peer = Process(
        HERE / "energy_torch.py",
        "Peer",
        config,
        batch_size,
        threads,
        STEP_SIZE,
        environment=KEEP_FREED_MEMORY,
    )
    names = peer.call("variants", compile_too)
    return {f"torch {name}": functools.partial(peer.call, "seconds", name) for name in names}


def tfgen_side(
    config: dict, batch_size: int, threads: int, xla: bool
) -> dict[str, Callable[[int], float]]:
    """Variants of tfgen by name: plain graph, XLA and eager, likewise."""
    share_cores_as_the_binaries_do(threads, in_parts=True)
    import tensorflow as tf

    import tfgen
    from tfgen.cores import side_by_side
    from tfgen.generative.vaebm.noise_space import NoiseSpace

    size, image_channels = config["image"]
    vae = tfgen.NVAE(
        image_shape=(size, size, image_channels),
        decoder="normal",
        padding=0,
        num_channels=config["channels"],
        num_scales=1,
        num_groups=config["groups"],
        ada_groups=False,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
    )
    energy = dict(architecture=config["architecture"], num_channels=config["energy"])
    frozen = tfgen.VAEBM(vae, energy).frozen()
    start = frozen.draw_start(tf.range(batch_size))

    def potential(noise):
        ready = frozen.ready()
        return NoiseSpace(ready.vae).potential(ready.energy, noise)

    def compiled(jit_compile):
        programs = {}

        def run(num_steps):
            if num_steps not in programs:
                programs[num_steps] = tfgen.samplers.compiled(
                    tfgen.samplers.langevin, potential, jit_compile, num_steps=num_steps
                )

            def of(rows):
                part = tf.nest.map_structure(lambda x: x[rows], start)
                size, seed = tf.constant(STEP_SIZE), tf.constant([0, 1])
                programs[num_steps](part, step_size=size, seed=seed).state["x"].numpy()

            side_by_side(of, batch_size)

        return run

    def eager(num_steps):
        tfgen.samplers.langevin(potential, start, num_steps, STEP_SIZE, seed=(0, 1))

    variants = {"tfgen plain graph": compiled(False), "tfgen eager": eager}
    if xla:
        variants["tfgen XLA"] = compiled(True)
    return {name: functools.partial(seconds, run) for name, run in variants.items()}


def seconds(run: Callable[[int], None], num_steps: int) -> float:
    """How long `run(num_steps)` takes."""
    begin = time.perf_counter()
    run(num_steps)
    return time.perf_counter() - begin


def measure(variants: dict, num_steps: int, rounds: int) -> dict[str, float]:
    """Median seconds of a step, taking turns after one unmeasured turn each."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, run in variants.items():
            time.sleep(0.05)  # idle threads of the other side stop spinning
            taken = run(num_steps) / num_steps
            if turn:
                found[name].append(taken)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="cifar10")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no_xla", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well (minutes)")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    options = parser.parse_args()
    require_torch("langevin.py")
    as_the_binaries_do()
    from tfgen.training import keep_freed_memory

    keep_freed_memory()  # both sides gain, PyTorch more
    arguments = CONFIGS[options.config], options.batch_size, options.threads
    variants = tfgen_side(*arguments, not options.no_xla)
    variants.update(torch_side(*arguments, options.compile))
    medians = measure(variants, options.steps, options.rounds)
    for name, value in medians.items():
        print(f"{name:36s} {value:7.3f} s/step {options.batch_size / value:8.1f} images/s")
    peers = {k: v for k, v in medians.items() if k.startswith("torch")}
    written = {k: v for k, v in peers.items() if "fixed" not in k}
    ours = medians["tfgen plain graph"]
    ratios = {
        "as_written": min(written.values()) / ours,
        "kernels_fixed": min(peers.values()) / ours,
    }
    result = {"config": options.config, "seconds_per_step": medians, "ratios": ratios}
    result |= {"batch_size": options.batch_size, "threads": options.threads}
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
