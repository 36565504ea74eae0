"""Every benchmark against PyTorch, one after the other: a table, a picture, and all numbers.

    tools/benchmark --size small --output benchmarks
    tools/benchmark --only unas ood --threads 1

Writes `table.md`, `ratios.png` and `results.json` into a folder, and beside them what every program
measured. A program whose file is there already is not run again, so that a run that was ended goes
on where it was; remove the file to measure once more. Measure on a machine that does nothing else;
the table says so if it did.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rows as forms
from process import require_torch, torch_python

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Program:
    """A benchmark: its file, its arguments at every size, what makes rows of what it writes, and
    whether it can count the processor's seconds."""

    file: str
    small: str
    full: str
    rows: Callable[[Any], list[forms.Row]]
    clocks: bool = False


_STEPS = "--rounds 3 --steps 2"
PROGRAMS = {
    "nvae": Program("nvae.py", "--config cpu --steps 8", "--config both --steps 20", forms.of_nvae),
    "ncp": Program("sir.py", "--rounds 3", "--rounds 9", forms.of_sir),
    "vaebm": Program(
        "langevin.py",
        "--config small --rounds 3 --no_xla",
        "--config cifar10 --rounds 4 --no_xla",
        forms.of_langevin,
    ),
    "lsgm": Program(
        "lsgm.py",
        "--config cpu --no_compile --no-samples --rounds 3",
        "--config cpu middle --no-samples",
        forms.of_lsgm,
        clocks=True,
    ),
    "fromage": Program(
        "optimizer.py", "--rounds 3 --steps 2", "--rounds 10 --steps 3", forms.of_optimizer
    ),
    "unas": Program(
        "unas.py", f"--config small {_STEPS}", "--config small medium", forms.of_steps, True
    ),
    "gradinversion": Program(
        "gradinversion.py",
        "--network batch_norm_cnn --steps 40",
        "--network both --steps 200",
        forms.of_gradinversion,
    ),
    "ood": Program(
        "ood.py",
        f"--config small_cnn {_STEPS}",
        "--config small_cnn resnet18",
        forms.of_steps,
        True,
    ),
    "grounding": Program(
        "grounding.py", f"--config small {_STEPS}", "--config small paper", forms.of_steps, True
    ),
}


def device() -> str:
    """The processor, in words."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def versions() -> list[str]:
    """Of Python and of both libraries, as their packages say; neither is imported."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    found = [f"Python {platform.python_version()}"]
    for name, package, python in (
        ("PyTorch", "torch", torch_python()),
        ("TensorFlow", "tensorflow", sys.executable),
    ):
        command = [python, "-c", code, package]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found.append(f"{name} {said.strip()}")
    return found


def measured_machine(threads: int, clock: str) -> dict[str, Any]:
    """What was measured on, and the limits of it."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)  # before anything here adds to it
    command = [sys.executable, str(HERE / "machine.py"), "--threads", str(threads)]
    command += ["--clock", clock]
    limits = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"device": device(), "versions": versions(), "load": load, "clock": clock, **limits}


def measure(name: str, arguments) -> list[forms.Row] | None:
    """The rows of a program; None where it failed, which it has said."""
    program, size, threads = PROGRAMS[name], arguments.size, arguments.threads
    file = arguments.output / f"{name}-{size}-{threads}-{arguments.clock}.json"
    if not file.exists():
        unfinished = file.with_suffix(".part")
        command = [sys.executable, str(HERE / program.file), *getattr(program, size).split()]
        command += ["--threads", str(threads), "--json", str(unfinished)]
        command += ["--clock", arguments.clock] if program.clocks else []
        if subprocess.run(command, check=False).returncode:
            return None
        unfinished.replace(file)
    return program.rows(json.loads(file.read_text()))


def write(found: Sequence[forms.Row], machine: dict[str, Any], folder: Path) -> str:
    """Writes table, picture and numbers; returns the table."""
    rate = machine["matmul_gflops"]
    numbers = [{**row, "fraction_of_matrix_rate": forms.fractions(row, rate)} for row in found]
    text = forms.table(found, machine)
    (folder / "results.json").write_text(
        json.dumps({"machine": machine, "rows": numbers}, indent=1)
    )
    (folder / "table.md").write_text(text)
    forms.plot(found, folder / "ratios.png")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--size", choices=["small", "full"], default="small")
    parser.add_argument("--only", choices=PROGRAMS, nargs="+", default=list(PROGRAMS))
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu counts the processor's seconds: for one thread on a busy machine",
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks"), help="folder")
    arguments = parser.parse_args()
    require_torch("all.py")
    on_the_wall = [name for name in arguments.only if not PROGRAMS[name].clocks]
    if arguments.clock == "cpu" and (arguments.threads > 1 or on_the_wall):
        sys.exit(
            "--clock cpu is for --threads 1 and --only "
            + " ".join(name for name, program in PROGRAMS.items() if program.clocks)
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    machine = measured_machine(arguments.threads, arguments.clock)
    found, failed = [], []
    for name in arguments.only:
        rows = measure(name, arguments)
        if rows is None:
            failed.append(name)
            continue
        found += rows
        text = write(found, machine, arguments.output)  # what there is, should the rest be ended
    if found:
        print(text)
    if failed:
        sys.exit(f"no results of {', '.join(failed)}")


if __name__ == "__main__":
    main()
