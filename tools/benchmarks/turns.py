"""Training steps of both sides in turns: what `unas.py`, `ood.py` and `grounding.py` share.

Each side is an object in a process of its own (`process.py`), so that its memory is its own, made
with the same weights and the same batch; PyTorch's once for every memory layout. First both say
how many parameters they have and what the loss is, for only equals are compared. Then PyTorch's
layouts take turns, and then the fastest of them and tfgen; medians are reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from machine import KEEP_FREED_MEMORY, as_the_binaries_do, share_cores_as_the_binaries_do
from process import Process, require_torch
from timing import Timed

LAYOUTS = ("NCHW", "channels_last")
_TOLERANCE = 1e-4  # of losses
_WARM = 2  # steps of a turn that is not measured


class Tfgen(Timed):
    """The side of tfgen: a compiled model, and batches it is trained with.

    A subclass sets `model` and `batch` in its constructor and has the loss of the peer's `loss`.

    Threads are those of the environment, which `run` sets.
    """

    libraries = ("tensorflow", "keras", "tfgen.training")

    model: Any
    batch: Mapping[str, Any]

    _batches: Any = None

    def loss(self) -> float:
        """Before any step, of the batch."""
        raise NotImplementedError

    def step(self) -> float:
        """A step of `fit`; the first one traces."""
        import tensorflow as tf

        if self._batches is None:
            data = tf.data.Dataset.from_tensors(dict(self.batch)).repeat()
            fitted = self.model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
            self._batches = iter(data)
            return float(fitted.history["loss"][0])
        return float(self.model.train_function(self._batches)["loss"])

    def parameters(self) -> int:
        return self.model.num_parameters

    def version(self) -> str:
        import tensorflow as tf

        return f"TensorFlow {tf.__version__}"


def tfgen_side(module: str, *arguments: Any) -> Process:
    """`Ours` of a file of this folder, in a process of its own."""
    file, options = Path(module).resolve(), dict(environment=KEEP_FREED_MEMORY)
    return Process(file, "Ours", *arguments, python=sys.executable, **options)


def torch_sides(
    module: Path, layouts: tuple[str, ...], *arguments: Any, threads: int
) -> dict[str, Process]:
    """`Peer` of a file, for every layout."""
    environment = {**KEEP_FREED_MEMORY, "OMP_NUM_THREADS": str(threads)}
    return {
        layout: Process(module, "Peer", layout, threads, *arguments, environment=environment)
        for layout in layouts
    }


def take_turns(sides: Mapping[str, Callable], rounds: int, count: int) -> dict[str, float]:
    """Median seconds of a step by name, after one unmeasured turn each.

    Args:
        sides: by name, function of a number of steps to the seconds of each.
        rounds: turns of every side that are measured.
        count: steps of a turn.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, seconds in sides.items():
            time.sleep(0.05)  # idle threads of the other side stop spinning
            taken = seconds(count)
            found[name] += taken if turn else []
    return {name: statistics.median(values) for name, values in found.items()}


def check_equal(ours: Process, peers: Mapping[str, Process]) -> dict[str, float]:
    """The losses of all sides, which are equal as are their parameters.

    Raises:
        RuntimeError: they are not.
    """
    parameters = {"tfgen": ours.call("parameters")}
    losses = {"tfgen": ours.call("loss")}
    for layout, peer in peers.items():
        parameters[layout], losses[layout] = peer.call("parameters"), peer.call("loss")
    if len(set(parameters.values())) > 1:
        raise RuntimeError(f"the models differ, in numbers of parameters: {parameters}")
    expected = losses["tfgen"]
    if any(abs(loss - expected) > _TOLERANCE * abs(expected) for loss in losses.values()):
        raise RuntimeError(f"the models differ, in the loss of one batch: {losses}")
    return losses


def compare(ours: Process, peers: dict[str, Process], arguments, **case: Any) -> dict[str, Any]:
    """Everything that is measured of a case, a row of `all.py`.

    Args:
        ours: the side of tfgen.
        peers: PyTorch's sides by layout; all are ended.
        arguments: of the program, see `parser`.
        **case: what the row says beside.
    """
    losses = check_equal(ours, peers)
    clock = arguments.clock

    def seconds_of(side):
        return lambda count: side.call("timed", count)[clock]

    variants = take_turns({k: seconds_of(peer) for k, peer in peers.items()}, 1, _WARM)
    fastest = min(variants, key=variants.get)
    for layout in list(peers):
        if layout != fastest:
            peers.pop(layout).close()
    with peers[fastest] as peer:
        sides = {"torch": seconds_of(peer), "tfgen": seconds_of(ours)}
        seconds = take_turns(sides, arguments.rounds, arguments.steps)
        peaks, above = (
            {"torch": peer.call(name), "tfgen": ours.call(name)}
            for name in ("peak_gib", "peak_above_imports_gib")
        )
        return {
            **case,
            "precision": "float32",
            "threads": arguments.threads,
            "clock": clock,
            "parameters": ours.call("parameters"),
            "versions": [peer.call("version"), ours.call("version")],
            "largest_deviation": max(abs(v - losses["tfgen"]) for v in losses.values()),
            "gflop": peer.call("gflop"),
            "variants": variants,
            "fastest": fastest,
            "seconds": seconds,
            "ratio": seconds["torch"] / seconds["tfgen"],
            "peak_gib": peaks,
            "peak_above_imports_gib": above,
        }


def report(row: Mapping[str, Any]) -> str:
    """A row as text."""
    seconds, peaks, above = (
        row[name] for name in ("seconds", "peak_gib", "peak_above_imports_gib")
    )
    variants = ", ".join(f"{k} {1e3 * v:.1f}" for k, v in row["variants"].items())
    return "\n".join(
        (
            f"{row['benchmark']}, {row['case']}: {row['parameters']:,} parameters, batch "
            f"{row['batch_size']}, {row['precision']}, {row['threads']} threads, "
            f"{' and '.join(row['versions'])}; losses agree to {row['largest_deviation']:.1e}",
            f"  PyTorch {1e3 * seconds['torch']:8.1f} ms ({row['fastest']})  tfgen "
            f"{1e3 * seconds['tfgen']:8.1f} ms  {row['ratio']:.2f}x   peak memory "
            f"{peaks['torch']:.2f} and {peaks['tfgen']:.2f} GiB, of it above the imports "
            f"{above['torch']:.2f} and {above['tfgen']:.2f}",
            f"  PyTorch by layout, ms: {variants}; {row['gflop']:.1f} GFLOP a step",
        )
    )


def parser(description: str, cases: Mapping[str, Any], batch_size: int) -> argparse.ArgumentParser:
    """The arguments of a program that compares steps."""
    made = argparse.ArgumentParser(
        description=description.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--config", choices=cases, nargs="+", default=list(cases)[:2])
    made.add_argument("--batch_size", type=int, default=batch_size)
    made.add_argument("--threads", type=int, default=2, help="of each side")
    made.add_argument("--steps", type=int, default=3, help="timed steps of a turn")
    made.add_argument("--rounds", type=int, default=5, help="turns of each side")
    made.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu counts the processor's seconds: for one thread on a busy machine",
    )
    made.add_argument("--json", type=Path, help="where to write all measurements")
    return made


def run(program: str, measure: Callable, arguments, small_operations: bool = False) -> None:
    """Measures every configuration that is asked for, and prints and writes what was found.

    Args:
        program: name, for messages.
        measure: function of a configuration's name and the arguments to a row.
        arguments: of the program.
        small_operations: as the registry of systems has it, see `share_cores_as_the_binaries_do`.
    """
    require_torch(program)
    as_the_binaries_do()
    share_cores_as_the_binaries_do(arguments.threads, small_operations=small_operations)
    report_each(arguments.config, measure, report, arguments)


def report_each(cases: Iterable[str], measure: Callable, report: Callable, arguments) -> None:
    """Measures case after case, prints each as it is done, and writes all where `json` says.

    Args:
        cases: what to measure, by name.
        measure: function of a name and the arguments to what was measured, plain values.
        report: function of that to text.
        arguments: of the program.
    """
    rows = []
    for case in cases:
        rows.append(measure(case, arguments))
        print(report(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
