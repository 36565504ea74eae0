"""Seconds of a step, measured where the step runs."""

from __future__ import annotations

import time
from pathlib import Path


class Timed:
    """Something with a `step`, which `timed` takes again and again."""

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
