"""Where a step's time goes, by kind of operation: why it is not faster.

    python tools/benchmarks/operations.py configs/nvae/mnist.py:cpu configs/lsgm/mnist.py:cpu \
        --data_dir=data
    python tools/benchmarks/operations.py preset:nvae_mnist preset:vaebm_mnist

Runs some training steps of a recipe, or some calls of `sample` of a preset, under TensorFlow's
profiler. Shares are of the time that operations take together, which with one thread, as here, is
nearly all of the step.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from machine import as_the_binaries_do, share_cores_as_the_binaries_do
from turns import report_each

XLA = "pointwise chains and sums, by XLA"
KINDS = {
    "kernel gradients": r"Conv2DBackpropFilter|DepthwiseConv2dNativeBackpropFilter",
    "depthwise convolutions": r"Depthwise",
    "convolutions, forward and backward": r"Conv2D",
    "matrix products": r"MatMul|Einsum",
    "batch norm": r"FusedBatchNorm",
    "random numbers": r"^(Stateless)?Random",
    "sums over axes": r"^(Sum|Mean|BiasAddGrad|Max)$",
    "moving data": r"Transpose|Concat|Slice|Pad|Pack|Split|Reverse|Tile|Gather|Reshape",
    "updates of weights": r"^(ResourceApply|Assign)",
}


def named_operations(folder: str) -> Iterator[tuple[str, float]]:
    """Kind, or type where there is none, and milliseconds of all operations of a trace."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for path in Path(folder).rglob("*.xplane.pb"):
        space.ParseFromString(path.read_bytes())
        for plane in space.planes:
            for line in plane.lines:
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    if (kind := kind_of(name)) is not None:
                        yield kind, event.duration_ps / 1e9


def kind_of(event: str) -> str | None:
    """The kind of an event of the profiler, its operation's type where it has none, and None where
    it is no operation but what calls one."""
    if event.endswith("CpuExecutable::ExecuteAsyncOnStream"):
        return XLA
    node, colon, kind = event.rpartition(":")
    if not colon or node.endswith(":") or not re.fullmatch(r"\w+", kind) or " " in node:
        return None
    if kind in ("_XlaRun", "_XlaCompile", "XlaLaunch", "While", "StatefulPartitionedCall"):
        return None  # what they call has its own events
    return next((name for name, pattern in KINDS.items() if re.search(pattern, kind)), kind)


def profiled(named: str, arguments) -> dict[str, Any]:
    """Milliseconds of a step by kind of operation, largest first."""
    import time

    import tensorflow as tf

    kind, _, preset = named.partition(":")
    if kind == "preset":
        step, size = sampling(preset, arguments), arguments.num_images
    else:
        step, size = training(named, arguments)
    for _ in range(4):
        step()
    begin = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    seconds = (time.perf_counter() - begin) / arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(arguments.steps):
                step()
        found: collections.Counter = collections.Counter()
        counts: collections.Counter = collections.Counter()
        for kind, milliseconds in named_operations(folder):
            found[kind] += milliseconds / arguments.steps
            counts[kind] += 1 / arguments.steps
    return {
        "of": named,
        "batch_size": size,
        "precision": arguments.precision,
        "threads": 1,
        "step_ms": 1e3 * seconds,
        "operations_ms": sum(found.values()),
        "kinds": {k: {"ms": v, "count": round(counts[k])} for k, v in found.most_common()},
    }


def training(recipe: str, arguments) -> tuple[Callable[[], Any], int]:
    """A training step of a recipe, and its batch's size."""
    import tensorflow as tf

    from tfgen.runs import experiment

    path, _, mode = recipe.partition(":")
    sys.path.insert(0, str(Path(path).parent))
    config = runpy.run_path(path)["get_config"](mode)
    built = experiment.build_experiment(
        config, data_dir=arguments.data_dir, precision=arguments.precision
    )
    batch = next(iter(built.dataset()))
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    built.model.make_train_function()
    step = built.model.train_function
    return lambda: step(batches), int(tf.shape(tf.nest.flatten(batch)[0])[0])


def sampling(preset: str, arguments) -> Callable[[], Any]:
    """A call of a preset's `sample`."""
    import tfgen

    model = tfgen.from_preset(preset)
    seeds = itertools.count()
    return lambda: model.sample(arguments.num_images, seed=next(seeds))


def report(result: dict[str, Any]) -> str:
    """A profile as text."""
    total = result["operations_ms"]
    lines = [
        f"{result['of']}: batch {result['batch_size']}, {result['precision']}, "
        f"{result['threads']} thread; a step takes {result['step_ms']:.0f} ms, its operations "
        f"{total:.0f} ms under the profiler"
    ]
    for kind, row in list(result["kinds"].items())[:12]:
        lines.append(f"  {row['ms'] / total:5.0%} {row['ms']:8.1f} ms {row['count']:6d}  {kind}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps_of", nargs="+", help="FILE, FILE:MODE or preset:NAME")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--num_images", type=int, default=32, help="samples of a call")
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    share_cores_as_the_binaries_do(1)
    as_the_binaries_do()
    from tfgen.training import keep_freed_memory

    keep_freed_memory()
    report_each(arguments.steps_of, profiled, report, arguments)


if __name__ == "__main__":
    main()
