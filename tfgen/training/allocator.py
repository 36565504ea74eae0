"""Memory of this process: its peak, and keeping what is freed, as training on a CPU wants."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 30


def peak_memory_gib() -> float | None:
    """Largest resident memory of this process so far, a float in GiB; None where it is unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def keep_freed_memory() -> bool:
    """Tells glibc to keep large freed blocks for the next step instead of returning them.

    Every training step frees and asks for the same tensors. By default glibc maps each large one
    anew and the kernel clears its pages again: a quarter of a step, on the models here. This is a
    setting of the whole process, so programs make it (the `tfgen` binaries do), not the library
    on import.

    Returns:
        Whether it took effect; elsewhere than on Linux with glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
