"""Resampling of one latent group against an equivalent PyTorch loop.

    python tools/benchmarks/sir.py --threads 2 --rounds 7

Batch 64, M proposals on an 8 x 8 x 20 group with an 8 x 8 x 32 context, in chunks; the same weights
and the same noise on both sides, whose choices are compared first. The variants take turns (PyTorch
in a process of its own), so that whatever else the machine does disturbs all alike, and medians are
compared. The peer runs in both memory layouts, on the whole batch and in parts side by side, with
`--compile` also under torch.compile, which needs a C++ compiler. With `--draw` each side draws its
noise as it goes, as samples are made: tfgen from a seed of every image, PyTorch from one generator.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from machine import KEEP_FREED_MEMORY, as_the_binaries_do, share_cores_as_the_binaries_do
from process import Process, require_torch

HERE = Path(__file__).resolve().parent

BATCH, GRID, LATENT, CONTEXT = 64, 8, 20, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--num_proposals", type=int, default=64)
    parser.add_argument("--chunk_size", type=int, default=16)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--num_cells", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--draw", action="store_true", help="each side draws its noise as it goes")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    parser.add_argument("--skip", nargs="*", default=[], help="variants to leave out")
    arguments = parser.parse_args()
    require_torch("sir.py")
    share_cores_as_the_binaries_do(arguments.threads, in_parts=True)
    as_the_binaries_do()
    from tfgen.training import keep_freed_memory

    keep_freed_memory()  # both sides gain
    result = json.dumps(compare(arguments), indent=2)
    print(result)
    if arguments.json:
        arguments.json.write_text(result)


def compare(arguments) -> dict:
    """Medians of every variant, in seconds per call and images per second."""
    variants = {**tfgen_variants(arguments), **torch_variants(arguments)}
    variants = {k: run for k, run in variants.items() if k not in arguments.skip}
    chosen = {name: run()[1] for name, run in variants.items()}  # traces, and compares
    reference = next(iter(chosen.values()))
    agreement = {k: float((abs(v - reference) < 1e-3).mean()) for k, v in chosen.items()}
    if arguments.draw:
        agreement = None  # every side has noise of its own
    seconds = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name, run in variants.items():
            time.sleep(0.05)  # idle threads of the other side stop spinning
            seconds[name].append(run()[0])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    peer = min(medians[k] for k in medians if k.startswith("torch"))
    return {
        "batch_size": BATCH,
        **{k: v for k, v in vars(arguments).items() if k not in ("skip", "json")},
        "seconds": medians,
        "images_per_second": {name: BATCH / value for name, value in medians.items()},
        "ratio_to_best_torch": {name: peer / value for name, value in medians.items()},
        "same_choice": agreement,
    }


def make_inputs(num_proposals: int):
    """Noise `[B, M, H, W, C]`, uniforms, context, mean and deviation; NumPy, one seed."""
    import numpy as np

    rng = np.random.default_rng(0)
    grid = (BATCH, GRID, GRID)
    shapes = [(BATCH, num_proposals, GRID, GRID, LATENT), (*grid, CONTEXT), (*grid, LATENT)]
    eps, context, loc = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    uniforms = rng.uniform(1e-6, 1 - 1e-6, shapes[0][:2]).astype(np.float32)
    scale = rng.uniform(0.5, 1.5, shapes[2]).astype(np.float32)
    return eps, uniforms, context, loc, scale


def make_classifier_of(arguments):
    """The bank and the classifier declared against it, built."""
    from tfgen.generative.ncp.classifier import make_classifier
    from tfgen.layers import ParameterBank

    bank = ParameterBank(seed=1)
    options = dict(
        width=arguments.width,
        num_cells=arguments.num_cells,
        num_directions=0,
        quadratic=True,
        dropout=0.0,
    )
    latent, context = (GRID, GRID, LATENT), (GRID, GRID, CONTEXT)
    classifier = make_classifier(bank, "z", latent, context, options)
    bank.build()
    return bank, classifier


def tfgen_variants(arguments) -> dict:
    """Folded weights in the plain graph, under XLA, and eagerly: functions like `timed`."""
    import tensorflow as tf

    from tfgen.generative import GroupPrior
    from tfgen.layers import FoldedWeights, LiveWeights
    from tfgen.samplers import importance_resampling, proposal_noise, resample_lazily

    bank, classifier = make_classifier_of(arguments)
    eps, uniforms, *rest = map(tf.constant, make_inputs(arguments.num_proposals))
    context, loc, scale = rest
    if arguments.draw:
        eps, uniforms = tf.range(BATCH), None
    folded = FoldedWeights(LiveWeights(bank))

    def resample(w, eps, uniforms, context, loc, scale):
        prior = GroupPrior(1, loc, scale, context)
        projected = classifier.context(w, prior)

        def log_weight(noise):
            z = tf.expand_dims(loc, 1) + tf.expand_dims(scale, 1) * noise
            return classifier(w, z, prior, projected)

        if not arguments.draw:
            return importance_resampling(log_weight, eps, uniforms, arguments.chunk_size).sample
        shape = (GRID, GRID, LATENT)
        return resample_lazily(
            log_weight,
            lambda first, count: proposal_noise(eps, 0, shape, first, count),
            arguments.num_proposals,
            arguments.chunk_size,
        ).sample

    def run_folded(*inputs):
        return resample(folded, *inputs)

    run_folded(eps, uniforms, context, loc, scale)  # folds everything, once
    functions = {
        "tfgen plain graph": tf.function(run_folded, autograph=False),
        "tfgen XLA": tf.function(run_folded, autograph=False, jit_compile=True),
        "tfgen eager": run_folded,
    }
    inputs = (eps, uniforms, context, loc, scale)
    return {name: functools.partial(timed, f, *inputs) for name, f in functions.items()}


def timed(function: Callable, *inputs):
    """Seconds of one call, in parts side by side, and the noise it chose `[B, H, W, C]`."""
    import numpy as np

    from tfgen.cores import side_by_side

    def of(rows):
        return function(*(None if x is None else x[rows] for x in inputs)).numpy()

    start = time.perf_counter()
    chosen = np.concatenate(side_by_side(of, BATCH))
    return time.perf_counter() - start, chosen


def classifier_weights(arguments) -> dict:
    """Effective weights of the classifier by what they are for, arrays in Keras' layouts."""
    from tfgen.layers import LiveWeights

    bank, classifier = make_classifier_of(arguments)
    w = LiveWeights(bank)

    def conv(c):
        return {"kernel": w.kernel(c).numpy(), "bias": w.bias(c).numpy(), "stride": c.stride}

    def norm(n):
        kinds = ("scales", "offsets", "means", "variances")
        values = (getattr(bank, kind)[n.channels].numpy()[n.row] for kind in kinds)
        return dict(zip(("scale", "offset", "mean", "variance"), values))

    def dense(d):
        kernel = w._row("kernels", d.stack, d.row).numpy()
        return {"kernel": kernel, "bias": w._row("biases", d.units, d.bias_row).numpy()}

    def cell(c):
        return {
            "norms": [norm(n) for n in c.body.norms],
            "convs": [conv(k) for k in c.body.convs],
            "reduce": dense(c.squeeze_excite.reduce),
            "expand": dense(c.squeeze_excite.expand),
            "skips": [conv(k) for k in getattr(c.skip, "convs", [])],
        }

    trunk = classifier.trunk
    return {
        "project_z": conv(classifier.project_z),
        "project_context": conv(classifier.project_context),
        "cells": [cell(c) for c in trunk.cells],
        "norm": norm(trunk.norm),
        "head": dense(trunk.head),
        "quadratic": dense(classifier.quadratic),
    }


def torch_variants(arguments) -> dict:
    """The PyTorch loop in both memory layouts, in a process of its own."""
    peer = Process(
        HERE / "sir_torch.py",
        "Peer",
        classifier_weights(arguments),
        make_inputs(arguments.num_proposals),
        arguments.chunk_size,
        arguments.threads,
        arguments.compile,
        arguments.draw,
        environment=KEEP_FREED_MEMORY,
    )
    names = peer.call("variants")
    return {f"torch {name}": functools.partial(peer.call, "timed", name) for name in names}


if __name__ == "__main__":
    main()
