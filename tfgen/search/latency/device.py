"""On what is measured: its kind, never its name in a network."""

import importlib.metadata
import platform
import re
from collections.abc import Sequence
from pathlib import Path


def cpu_name() -> str:
    """The processor's kind as it names itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join((found[1] if found else platform.processor() or platform.machine()).split())


def accelerator_name() -> str | None:
    """The kind of the GPU that TensorFlow would compute on; None where it takes the processor."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("device_name") if found else None


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions of packages by name.

    Args:
        packages: sequence of names as the package index has them.
    """
    return {name: _version(name) for name in packages}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
