"""Parts of a batch side by side in PyTorch, one thread each, as `tfgen.cores` has them."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable

import torch


def side_by_side(run: Callable[[slice], object], count: int, threads: int) -> list:
    """What `run` makes of `threads` parts of `count` rows, in their order."""
    size = -(-count // threads)
    rows = [slice(start, min(count, start + size)) for start in range(0, count, size)]
    return list(_pool(threads).map(run, rows))


@functools.cache
def _pool(threads: int) -> concurrent.futures.ThreadPoolExecutor:
    # How many threads an operation has is a matter of the thread that calls it.
    return concurrent.futures.ThreadPoolExecutor(threads, initializer=_alone)


def _alone() -> None:
    torch.set_num_threads(1)
