"""Seconds of a step, measured where the step runs."""

from __future__ import annotations

import importlib
import time
from pathlib import Path


class Timed:
    """Something with a `step`, which `timed` takes again and again.

    Attributes:
        libraries: names of modules that are imported before it is made, beside those its file
            imports, so that what memory that takes can be told from its own.
    """

    libraries: tuple[str, ...] = ()

    _imports_gib: float

    def __new__(cls, *args: object, **keywords: object) -> Timed:
        for name in cls.libraries:
            importlib.import_module(name)
        made = super().__new__(cls)
        made._imports_gib = peak_gib()
        return made

    def peak_gib(self) -> float:
        return peak_gib()

    def peak_above_imports_gib(self) -> float:
        """Of the peak, what came after the libraries."""
        return peak_gib() - self._imports_gib

    def step(self) -> object:
        raise NotImplementedError

    def timed(self, count: int) -> dict[str, list[float]]:
        """Wall and processor seconds of each of `count` steps."""
        seconds: dict[str, list[float]] = {"wall": [], "cpu": []}
        for _ in range(count):
            wall, cpu = time.perf_counter(), time.process_time()
            self.step()
            seconds["cpu"].append(time.process_time() - cpu)
            seconds["wall"].append(time.perf_counter() - wall)
        return seconds


def peak_gib() -> float:
    """Peak resident memory of this process (VmHWM), in GiB."""
    status = Path("/proc/self/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib.split()[1]) / 2**20
