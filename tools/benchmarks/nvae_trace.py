"""How long NVAE's training step takes to trace, by number of latent groups.

    python tools/benchmarks/nvae_trace.py --config configs/nvae/cifar10.py --groups 5 10 20 30

Each size runs in a process of its own; what is printed are the seconds to declare and build the
model, to trace the step at batch 16 (nothing is computed), the nodes of its graph, and the peak
memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

from nvae_workers import peak_gib

BATCH_SIZE = 16


def trace(config_file: str, groups: int) -> dict[str, float]:
    """Traces one model in this process."""
    import tensorflow as tf

    import tfgen

    spec = importlib.util.spec_from_file_location("config", config_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = {**module.get_config("").model.to_dict(), "num_groups": groups, "total_steps": 1000}
    options.pop("name")
    started = time.perf_counter()
    model = tfgen.NVAE(**options)
    model.compile(tfgen.optimizers.Adamax(1e-3))
    model.build()
    model.build_optimizer()
    built = time.perf_counter()
    step = tf.function(model.train_step, autograph=False)
    images = tf.TensorSpec((BATCH_SIZE, *model.image_shape), tf.float32)
    graph = step.get_concrete_function({"images": images}).graph
    functions = graph.as_graph_def().library.function
    return {
        "groups": model.network.num_groups,
        "parameters": model.bank.num_parameters,
        "build_s": built - started,
        "trace_s": time.perf_counter() - built,
        "nodes": len(graph.get_operations()) + sum(len(f.node_def) for f in functions),
        "variables": len(model.variables),
        "peak_gib": peak_gib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/nvae/cifar10.py")
    parser.add_argument("--groups", type=int, nargs="+", default=[5, 10, 20, 30])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(trace(arguments.config, arguments.groups[0])))
        return
    for groups in arguments.groups:
        command = [sys.executable, str(Path(__file__).resolve()), "--child"]
        command += ["--config", arguments.config, "--groups", str(groups)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        result = json.loads(output.splitlines()[-1])
        print(
            f"{arguments.config}: {result['groups']} groups, {result['parameters']:,} parameters "
            f"in {result['variables']} variables: built in {result['build_s']:.1f} s, traced in "
            f"{result['trace_s']:.1f} s, {result['nodes']:,} nodes, {result['peak_gib']:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
