"""Langevin chains in a VAE's noise space: tfgen against an equivalent PyTorch loop.

    python tools/benchmarks/langevin.py --config cifar10 --threads 2 --rounds 3

Same networks, same batch, same number of threads, float32. Both sides live in one process and take
turns, so that whatever else the machine does disturbs both alike; medians are compared. PyTorch
runs in both memory layouts, normalising its kernels in every step as one writes it, and with
kernels computed once (its fastest is the one compared with). tfgen runs as a plain graph, through
XLA, and eagerly. Initial weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from machine import as_the_binaries_do

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
) -> dict[str, Callable[[int], None]]:
    """Variants of the peer by name: functions of the number of steps."""
    import torch

    torch.set_num_threads(threads)
    from energy_torch import Energy, langevin, potential
    from nvae_torch import NVAE, Architecture

    size, image_channels = config["image"]
    vae = NVAE(
        Architecture(
            groups=(config["groups"],),
            num_channels=config["channels"],
            image_size=size,
            image_channels=image_channels,
            head_channels=2 * image_channels,
            padding=0,
            preprocess_blocks=1,
            preprocess_cells=2,
            postprocess_blocks=1,
            postprocess_cells=2,
        )
    )
    energy = Energy(image_channels, config["energy"])
    for module in (vae, energy):
        module.eval()
        module.requires_grad_(False)
    side = size // vae.architecture.top_factor
    shapes = [(batch_size, 20, side, side)] * config["groups"]
    state = [torch.randn(shape) for shape in (*shapes, (batch_size, image_channels, size, size))]

    compiled = torch.compile(potential, dynamic=False) if compile_too else None

    def variant(layout, fixed, potential=potential):
        def run(num_steps):
            for module in (vae, energy):
                module.to(memory_format=layout)
                module.freeze_kernels(fixed)
            moved = [eps.contiguous(memory_format=layout) for eps in state]
            langevin(vae, energy, moved, num_steps, STEP_SIZE, potential)

        return run

    layouts = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    variants = {
        f"torch {name}{', kernels fixed' if fixed else ''}": variant(layout, fixed)
        for name, layout in layouts.items()
        for fixed in (False, True)
    }
    if compile_too:
        layout = layouts["channels_last"]
        variants["torch channels_last, kernels fixed, compiled"] = variant(layout, True, compiled)
    return variants


def tfgen_side(
    config: dict, batch_size: int, threads: int, xla: bool
) -> dict[str, Callable[[int], None]]:
    """Variants of tfgen by name: plain graph, XLA and eager."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    import tfgen
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
            chain = programs[num_steps](
                start, step_size=tf.constant(STEP_SIZE), seed=tf.constant([0, 1])
            )
            chain.state["x"].numpy()

        return run

    def eager(num_steps):
        tfgen.samplers.langevin(potential, start, num_steps, STEP_SIZE, seed=(0, 1))

    variants = {"tfgen plain graph": compiled(False), "tfgen eager": eager}
    return {**variants, "tfgen XLA": compiled(True)} if xla else variants


def measure(variants: dict, num_steps: int, rounds: int) -> dict[str, float]:
    """Median seconds of a step, taking turns after one unmeasured turn each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, run in variants.items():
            begin = time.perf_counter()
            run(num_steps)
            if turn:
                seconds[name].append((time.perf_counter() - begin) / num_steps)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="cifar10")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no_xla", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well (minutes)")
    options = parser.parse_args()
    as_the_binaries_do()
    from tfgen.training import keep_freed_memory

    keep_freed_memory()  # both sides gain, PyTorch more
    arguments = CONFIGS[options.config], options.batch_size, options.threads
    # TensorFlow first: its threads are set before it starts.
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
    print(json.dumps({"config": options.config, "seconds_per_step": medians, "ratios": ratios}))


if __name__ == "__main__":
    main()
