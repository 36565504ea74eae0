"""NVAE against an equivalent PyTorch model: training step, sampling, peak memory.

    python tools/benchmarks/nvae.py --config both --steps 20

Both sides have the same layers, batch size 16, float32 and the same number of threads, each in its
own process. They take turns, so that whatever else the machine does disturbs both alike, and
medians are compared. PyTorch first tries its memory layouts (and, with --compile, its compiler) and
keeps the fastest. That the PyTorch model is the published one is tested in tests/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from nvae_workers import BATCH_SIZE, CONFIGS, HERE, Worker, take_turns
from process import require_torch

PARAMETERS = {"mnist": 33_363_134, "cpu": 2_978_110}
# What tfgen promises: (smallest ratio of training, of sampling; largest ratio of memory).
PROMISES = {"mnist": (1.5, 2.0, 0.75), "cpu": (1.3, 2.0, 0.75)}
# Other ways in which PyTorch samples, and whether in parts side by side; `rows` takes its fastest.
PEER_SAMPLES = {"sample, peer's kernels fixed": False, "sample, fixed and in parts": True}
# Least traffic of a training step, in passes over all parameters. Weight norm reads and writes; the
# spectral penalty, forward and backward convolutions read; kernel gradients are written; the
# gradient of weight norm reads two and writes one; Adamax reads four and writes three.
PARAMETER_PASSES = 2 + 1 + 1 + 1 + 1 + 3 + 7


def measured_limits(threads: int) -> dict[str, float]:
    """Matrix-product rate and copy bandwidth of this machine, measured by `machine.py`."""
    command = [sys.executable, str(HERE / "machine.py"), "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def fastest_peer(config: str, threads: int, compile_too: bool) -> tuple[Worker, dict[str, float]]:
    """Tries the variants of the PyTorch model side by side; keeps the fastest, ends the others.

    Returns:
        Its worker and the median seconds a step of every variant.
    """
    variants = {
        "contiguous": {"channels_last": False, "compile": False},
        "channels_last": {"channels_last": True, "compile": False},
    }
    if compile_too:
        variants["channels_last, compiled"] = {"channels_last": True, "compile": True}
    workers = []
    for label, options in variants.items():
        workers.append(Worker("torch", config, threads, label, **options))
        workers[-1].ask("train", count=2)
    medians = {k: _median(v) for k, v in take_turns(workers, "train", 3, 1).items()}
    best = min(workers, key=lambda worker: medians[worker.label])
    for worker in workers:
        if worker is not best:
            worker.close()
    best.label = "torch"
    return best, medians


def compare(
    config: str, steps: int, threads: int, compile_too: bool, peer_only: bool, recompute: bool
) -> dict:
    """Runs one configuration; returns everything that was measured."""
    peer, variants = fastest_peer(config, threads, compile_too)
    result: dict[str, Any] = {
        "config": config,
        "batch_size": BATCH_SIZE,
        "threads": threads,
        "steps": steps,
        "peer_variants": variants,
        "gflop": peer.ask("count_convolutions")["gflop"],
    }
    workers = [peer] if peer_only else [peer, Worker("tfgen", config, threads, recompute=recompute)]
    chunk = max(1, min(5, steps // 4))
    rounds = max(1, steps // chunk)
    try:
        for worker in workers:
            answer = worker.ask("train", count=3)
            if answer["parameters"] != PARAMETERS[config]:
                raise RuntimeError(
                    f"{worker.side} has {answer['parameters']:,} parameters, expected "
                    f"{PARAMETERS[config]:,}: the models differ"
                )
        seconds = {"train": take_turns(workers, "train", rounds, chunk)}
        # Training has run its course: from here on peaks include sampling.
        peaks = {w.label: w.ask("peak")["peak_gib"] for w in workers}
        # Each side as it is meant to be used: tfgen folds its weights once, PyTorch evaluates.
        for worker in workers:
            worker.ask("prepare_sampling", fixed=worker.side == "tfgen")
            worker.ask("sample", count=3)
        seconds["sample"] = take_turns(workers, "sample", rounds, chunk)
        for name, parts in PEER_SAMPLES.items():
            peer.ask("prepare_sampling", fixed=True, parts=parts)
            peer.ask("sample", count=3)
            seconds[name] = take_turns(workers, "sample", rounds, chunk)
        result["sides"] = {
            w.label: {
                **w.info,
                "train_peak_gib": peaks[w.label],
                "train_peak_above_imports_gib": peaks[w.label] - w.info["baseline_gib"],
                "final_peak_gib": w.ask("peak")["peak_gib"],
                "seconds": {what: values[w.label] for what, values in seconds.items()},
                "medians": {what: _median(values[w.label]) for what, values in seconds.items()},
            }
            for w in workers
        }
    finally:
        for worker in workers:
            worker.close()
    return result


def reached(result: dict, side: str, limits: dict[str, float]) -> dict[str, float]:
    """How much of the machine's limits the train step of a side reaches."""
    step = result["sides"][side]["medians"]["train"]
    gflop = 3.0 * sum(result["gflop"].values())  # forward, input gradient, kernel gradient
    gbytes = 4.0 * PARAMETERS[result["config"]] * PARAMETER_PASSES / 1e9
    compute, traffic = gflop / limits["matmul_gflops"], gbytes / limits["copy_gbytes"]
    return {
        "gflop": gflop,
        "gflops": gflop / step,
        "compute_fraction": compute / step,
        "parameter_gbytes": gbytes,
        "traffic_fraction": traffic / step,
        "limit_seconds": compute + traffic,
        "fraction_of_limit": (compute + traffic) / step,
    }


def _row(name: str, peer: float, ours: float | None, unit: str, ratio: str, promise: str) -> str:
    if ours is None:
        return f"  {name:<34}{peer:>8.3f} {unit}"
    return f"  {name:<34}{peer:>8.3f} {unit:<4}{ours:>8.3f} {unit:<4}{ratio:>8}   {promise}"


def report(result: dict, limits: dict[str, float]) -> str:
    """The comparison as text."""
    config, sides = result["config"], result["sides"]
    peer, ours = sides["torch"], sides.get("tfgen")
    train, sample, memory = PROMISES[config]
    versions = " and ".join(side["version"] for side in sides.values())
    variants = ", ".join(f"{k} {v:.3f} s" for k, v in result["peer_variants"].items())
    lines = [
        f"{config}: {PARAMETERS[config]:,} parameters, batch {result['batch_size']}, float32, "
        f"{result['threads']} threads, {versions}",
        f"  PyTorch train step by variant: {variants}",
        f"  {'':<34}{'PyTorch':>10}   {'tfgen':>10}{'ratio':>12}   promised" if ours else "",
    ]
    for what, promise in (
        ("train", f">= {train}"),
        ("sample", f">= {sample}"),
        *((name, "") for name in PEER_SAMPLES),
    ):
        a, b = peer["medians"][what], ours and ours["medians"][what]
        lines.append(_row(what, a, b, "s", f"{a / b:.2f}x" if b else "", promise))
    for what, key, promise in (
        ("peak memory, training", "train_peak_gib", f"<= {memory}"),
        ("  of it above the imports", "train_peak_above_imports_gib", ""),
    ):
        a, b = peer[key], ours and ours[key]
        lines.append(_row(what, a, b, "GiB", f"{b / a:.2f}x" if b else "", promise))
    lines.append(
        f"  limits of this machine: {limits['matmul_gflops']:.0f} GFLOP/s in matrix products, "
        f"{limits['copy_gbytes']:.1f} GB/s in copies"
    )
    for side in sides:
        r = result["reached"][side]
        lines.append(
            f"  {side}: {r['gflop']:.0f} GFLOP of convolutions a step at {r['gflops']:.0f} GFLOP/s "
            f"({r['compute_fraction']:.0%}), {r['parameter_gbytes']:.1f} GB of parameter traffic "
            f"({r['traffic_fraction']:.0%}): {r['fraction_of_limit']:.0%} of the limit "
            f"({r['limit_seconds']:.2f} s a step)"
        )
    return "\n".join(filter(None, lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--config", choices=[*CONFIGS, "both"], default="both")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each side")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument(
        "--compile", action="store_true", help="let PyTorch try torch.compile (many minutes)"
    )
    parser.add_argument(
        "--recompute", action="store_true", help="let tfgen keep only the inputs of cells"
    )
    parser.add_argument("--peer_only", action="store_true", help="measure PyTorch alone")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    require_torch("nvae.py")
    if arguments.steps < 1:
        sys.exit(f"--steps is {arguments.steps}; expected at least 1")
    limits = measured_limits(arguments.threads)
    results = []
    for config in CONFIGS if arguments.config == "both" else [arguments.config]:
        result = compare(
            config,
            arguments.steps,
            arguments.threads,
            arguments.compile,
            arguments.peer_only,
            arguments.recompute,
        )
        result["reached"] = {side: reached(result, side, limits) for side in result["sides"]}
        results.append(result)
        print(report(result, limits), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": limits, "results": results}, indent=1))


if __name__ == "__main__":
    main()
