"""Measures what this machine can do at most: matrix products and memory copies.

    python tools/benchmarks/machine.py --threads 2

Benchmarks quote a step as a fraction of these two limits, which says how much faster it could still
become whatever the software. On a busy machine the numbers are too low: run it alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


@dataclasses.dataclass(frozen=True)
class Machine:
    """Measured limits: 1e9 float32 operations, and 1e9 bytes read plus written, a second."""

    threads: int
    matmul_gflops: float
    copy_gbytes: float


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def _best_seconds(run: Callable[[], object], repeats: int, clock: str) -> float:
    """Shortest of several runs: disturbances only ever add time."""
    now, best = CLOCKS[clock], float("inf")
    for _ in range(repeats):
        start = now()
        run()
        best = min(best, now() - start)
    return best


def matmul_gflops(threads: int, size: int = 2048, repeats: int = 8, clock: str = "wall") -> float:
    """Float32 operations a second (2 n^3 a product) of the faster of two matrix products.

    numpy's library is the faster one on some processors, oneDNN, which TensorFlow calls, on others.
    """
    import numpy as np

    a = np.random.default_rng(0).random((size, size), dtype=np.float32)
    b, out = a.T.copy(), np.empty_like(a)
    np.matmul(a, b, out=out)
    seconds = _best_seconds(lambda: np.matmul(a, b, out=out), repeats, clock)

    as_the_binaries_do()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    left, right = tf.constant(a), tf.constant(b)
    tf.matmul(left, right)
    seconds = min(seconds, _best_seconds(lambda: tf.matmul(left, right).numpy(), repeats, clock))
    return 2.0 * size**3 / seconds / 1e9


def copy_gbytes(threads: int, mebibytes: int = 256, repeats: int = 8, clock: str = "wall") -> float:
    """Bytes read and written a second when `threads` threads copy arrays larger than the caches."""
    import numpy as np

    source = np.ones((threads, mebibytes * 2**20 // 4 // threads), np.float32)
    target = np.zeros_like(source)
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            # numpy releases the interpreter lock while it copies.
            list(pool.map(np.copyto, target, source))

        copy()
        return 2.0 * source.nbytes / _best_seconds(copy, repeats, clock) / 1e9


def as_the_binaries_do() -> None:
    """Settings of TensorFlow that the programs for generators make. Call before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def share_cores_as_the_binaries_do(
    threads: int, *, small_operations: bool = False, in_parts: bool = False
) -> None:
    """Threads that the programs give operations where there are `threads` cores: one where they
    compute parts of a batch side by side, half in training small operations, all otherwise (see
    `tfgen.cores`). Call before TensorFlow's first operation."""
    within = 1 if in_parts else -(-threads // 2) if small_operations else threads
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(within)
    os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


# What `tfgen.training.keep_freed_memory` tells glibc, for processes that do not import tfgen: a
# program started with it keeps large freed blocks. It helps PyTorch too, and so both sides have it.
KEEP_FREED_MEMORY = {
    "GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={1 << 30}:glibc.malloc.trim_threshold={1 << 31}"
}


def measure(threads: int, clock: str = "wall") -> Machine:
    """Both limits, by the clock on the wall, or for one thread by the processor's ("cpu"). Call
    before numpy is imported: it fixes its threads then."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "numpy" in sys.modules:
        raise RuntimeError("measure() sets numpy's threads: call it before importing numpy")
    limits = (limit(threads, clock=clock) for limit in (matmul_gflops, copy_gbytes))
    return Machine(threads, *limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for one thread")
    arguments = parser.parse_args()
    print(json.dumps(dataclasses.asdict(measure(arguments.threads, arguments.clock))))


if __name__ == "__main__":
    main()
