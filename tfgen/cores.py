"""How the processor's cores are shared: each operation divided among them, or several at a time.

TensorFlow divides every operation over all cores. Small ones lose by that, since handing a piece to
another thread takes as long as the piece, and the networks of this project are hundreds of small
operations. They gain by one thread each and several at a time: kernel gradients beside input
gradients in a training step, and parts of a batch side by side where there is no step to wait for.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

_VARIABLES = {"intra": "TF_NUM_INTRAOP_THREADS", "inter": "TF_NUM_INTEROP_THREADS"}


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(num_threads: int | None = None) -> bool:
    """Gives each operation of this process so many threads, instead of one for every core.

    What was decided before stays: by `tf.config.threading`, by the environment variables
    `TF_NUM_INTRAOP_THREADS` and `TF_NUM_INTEROP_THREADS`, by TensorFlow's first operation, or by
    there being an accelerator. It is a setting of the whole process, so programs make it.

    Args:
        num_threads: integer of at least 1; None is half of the cores, rounded up, which suits
            gradients, where two operations can mostly run at a time: that of a kernel, and that of
            what it was applied to. Defaults to `None`.

    Returns:
        Whether it took effect.
    """
    if _accelerated() or any(map(_threads, _VARIABLES)):
        return False
    try:
        tf.config.threading.set_intra_op_parallelism_threads(num_threads or -(-num_cores() // 2))
    except RuntimeError:  # TensorFlow has begun
        return False
    return True


def threads_per_operation() -> int:
    """How many threads an operation of this process may use, where a processor computes it."""
    return _threads("intra") or num_cores()


def parts_at_once() -> int:
    """Into how many parts a batch is best cut: 1 unless each operation has a single thread."""
    if _threads("intra") != 1 or _accelerated():
        return 1
    return _threads("inter") or num_cores()


def side_by_side(function: Callable[[slice], Any], size: int) -> list:
    """Calls a function for the parts of a batch, all at once where `parts_at_once` says so.

    Args:
        function: function of the slice of the rows that it is to work on; which rows are worked on
            together may not matter to what it does.
        size: integer, the number of rows.

    Returns:
        What it returned for each part, in order.
    """
    count = max(1, min(parts_at_once(), size))
    edges = [size * k // count for k in range(count + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    if count == 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, parts))


def _threads(kind: str) -> int:
    """Threads within an operation ("intra") or operations at a time ("inter"); 0: undecided."""
    configured = getattr(tf.config.threading, f"get_{kind}_op_parallelism_threads")()
    word = os.environ.get(_VARIABLES[kind], "")
    return configured or (int(word) if word.isdecimal() else 0)


def _accelerated() -> bool:
    return any(map(tf.config.list_physical_devices, ("GPU", "TPU")))
