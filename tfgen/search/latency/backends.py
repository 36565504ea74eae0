"""Runtimes in which blocks are timed, behind one interface.

class Stopwatch(Backend):
    def metadata(self): ...            # what a time depends on beside the block
    def timer(self, warm_up): ...      # a context manager with load, run and clear
"""

import abc
import dataclasses
import importlib
import os
import platform
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from tfgen.errors import UserError
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.search.latency import artefacts, device
from tfgen.search.latency.blocks import Block, BlockError
from tfgen.search.latency.process import ProcessTimer
from tfgen.search.latency.table import LatencyTable


class Timer(Protocol):
    """Runs blocks; a context manager."""

    def load(self, block: Block) -> bool:
        """Makes a block ready to be run, unless it is nothing; raises `BlockError`."""

    def run(self, key: str, num_runs: int) -> np.ndarray:
        """Milliseconds of runs in a row, `[num_runs]`; raises `BlockError` where it fails."""

    def clear(self) -> None:
        """Forgets all blocks."""


class Backend(abc.ABC):
    """Where blocks are timed."""

    def require(self) -> None:  # noqa: B027 (most need nothing)
        """Raises a UserError where it cannot time anything here."""

    @abc.abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What a time depends on beside the block: plain values by name, kept beside the times."""

    @abc.abstractmethod
    def timer(self, warm_up: int) -> Timer:
        """A context manager that runs blocks.

        Args:
            warm_up: integer, runs of every block that are not timed.

        Raises:
            UserError: something is not installed.
        """


@dataclasses.dataclass(frozen=True)
class ProcessBackend(Backend):
    """A runtime in a process of its own.

    Attributes:
        threads: integer, threads that it may use. Defaults to `1`.
        batch_size: integer, examples in a batch. Defaults to `1`.
        precision: string, what it computes in: "float32", or with LiteRT "int8". Defaults to
            `"float32"`.
        patience: float, seconds after which a block counts as stuck. Defaults to `120.0`.

    Raises:
        ConfigError: a number is out of range, or the precision is unknown.
    """

    threads: int = 1
    batch_size: int = 1
    precision: str = "float32"
    patience: float = 120.0

    runtime: ClassVar[str]
    extra: ClassVar[str | None] = None  # of tfgen, which installs `modules`
    modules: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    def __post_init__(self):
        whole_number("threads", self.threads, 1)
        whole_number("batch_size", self.batch_size, 1)
        one_of("precision", self.precision, self.precisions)
        in_range("patience", self.patience, 0.0, above=True)

    def metadata(self):
        return {
            "backend": self.runtime,
            "device": self.device(),
            "architecture": platform.machine(),
            "threads": self.threads,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "versions": device.versions(self.packages),
        }

    def device(self) -> str:
        """The kind of device on which it computes."""
        return device.cpu_name()

    def timer(self, warm_up):
        self.require()
        return ProcessTimer(self.runtime, self.threads, self._write, warm_up, self.patience)

    def require(self) -> None:
        """Raises a UserError that names the extra if the runtime is not installed."""
        for module in self.modules:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise UserError(
                    f"the latency back-end {self.runtime!r} needs {module!r}, which is not "
                    f"installed: pip install 'tfgen[{self.extra}]'"
                ) from error

    def _write(self, key, item, path):
        with artefacts.one_sentence(key):
            self.write(item, path)

    @abc.abstractmethod
    def write(self, model, path: str | os.PathLike) -> None:
        """Writes a Keras model as the runtime reads it."""


class KerasBackend(ProcessBackend):
    """The model as one compiled function of TensorFlow; on a GPU where there is one.

    Attributes:
        threads: integer, threads within an operation. Defaults to `1`.
        batch_size: integer, examples in a batch. Defaults to `1`.
        precision: string, "float32". Defaults to `"float32"`.
        patience: float, seconds after which a block counts as stuck. Defaults to `120.0`.
    """

    runtime = "keras"

    def device(self):
        return device.accelerator_name() or device.cpu_name()

    def write(self, model, path):
        artefacts.write_saved_model(model, path, self.batch_size)


class LiteRTBackend(ProcessBackend):
    """LiteRT's interpreter; a block may also be the bytes of a file for it.

    Attributes:
        threads: integer, threads of the interpreter. Defaults to `1`.
        batch_size: integer, examples in a batch. Defaults to `1`.
        precision: string, "float32", or "int8": weights, activations, inputs and outputs are
            integers, wherever the runtime has such an operation. Defaults to `"float32"`.
        patience: float, seconds after which a block counts as stuck. Defaults to `120.0`.
    """

    runtime = "litert"
    extra = "litert"
    modules = ("ai_edge_litert",)
    packages = ("tensorflow", "keras", "ai-edge-litert")
    precisions = ("float32", "int8")

    def write(self, model, path):
        if isinstance(model, bytes):
            Path(path).write_bytes(model)
        else:
            artefacts.write_litert(model, path, self.batch_size, self.precision)


class OnnxBackend(ProcessBackend):
    """ONNX Runtime on the processor.

    Attributes:
        threads: integer, threads within an operation. Defaults to `1`.
        batch_size: integer, examples in a batch. Defaults to `1`.
        precision: string, "float32". Defaults to `"float32"`.
        patience: float, seconds after which a block counts as stuck. Defaults to `120.0`.
    """

    runtime = "onnx"
    extra = "onnx"
    modules = ("onnxruntime", "tf2onnx", "onnx")
    packages = ("tensorflow", "keras", "onnxruntime", "tf2onnx")

    def write(self, model, path):
        artefacts.write_onnx(model, path, self.batch_size)


class ReplayedBackend(Backend):
    """A table instead of a device: blocks take what they took when it was measured.

    Args:
        table: a `LatencyTable`, or the path of its file.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, table: LatencyTable | str | os.PathLike):
        self.table = table if isinstance(table, LatencyTable) else LatencyTable.read(table)

    def metadata(self):
        return self.table.metadata

    def timer(self, warm_up):
        del warm_up
        return _Replay(self.table)


class _Replay:
    def __init__(self, table):
        self._table = table

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def load(self, block):
        try:
            return bool(self._table.milliseconds([block.key])[0])
        except UserError as error:
            raise BlockError(str(error)) from None

    def run(self, key, num_runs):
        return np.repeat(self._table.milliseconds([key]), num_runs)

    def clear(self):
        pass


BACKENDS = {
    "keras": KerasBackend,
    "litert": LiteRTBackend,
    "onnx": OnnxBackend,
    "replayed": ReplayedBackend,
}
