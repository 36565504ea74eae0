"""Times artefacts in a process of its own, which a block may take down: another takes its place."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import UserError
from tfgen.search.latency.blocks import Block, BlockError

_WORKER = Path(__file__).with_name("worker.py")
_START = 300.0  # seconds for a runtime to be imported, on a slow disk


class ProcessTimer:
    """Runs blocks in a worker process.

    Args:
        runtime: string, "keras", "litert" or "onnx", as `worker.py` knows them.
        threads: integer, threads that the runtime may use.
        write: function `(key, item, path)` that writes the artefact of a block.
        warm_up: integer, runs of every block that are not timed.
        patience: float, seconds after which a block counts as stuck.
    """

    def __init__(
        self,
        runtime: str,
        threads: int,
        write: Callable[[str, Any, Path], None],
        warm_up: int,
        patience: float,
    ):
        self._runtime, self._threads, self._write = runtime, threads, write
        self._warm_up, self._patience = warm_up, patience
        self._process = None
        self._artefacts: dict[str, Path] = {}
        self._loaded: set[str] = set()
        self._count = 0

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="latency-")
        return self

    def __exit__(self, *exception):
        self._end()
        self._folder.cleanup()

    def load(self, block: Block) -> bool:
        """Makes a block ready to be run; whether there is anything to run.

        Args:
            block: a `Block`.

        Raises:
            BlockError: it cannot be converted, loaded or run.
        """
        item = block.made()
        if item is None:
            return False
        self._count += 1
        path = Path(self._folder.name, str(self._count))
        self._write(block.key, item, path)
        self._artefacts[block.key] = path
        self._load(block.key)
        return True

    def run(self, key: str, num_runs: int) -> np.ndarray:
        """Milliseconds of every one of some runs in a row, `[num_runs]`.

        Args:
            key: string, a block that was loaded.
            num_runs: integer, how many.

        Raises:
            BlockError: the block ended its process, or took too long.
        """
        if key not in self._loaded:  # another block ended the process in which it was
            self._load(key)
        found = self._ask(key, {"do": "run", "key": key, "runs": num_runs})
        return np.asarray(found["nanoseconds"], np.float64) / 1e6

    def clear(self) -> None:
        """Forgets all blocks."""
        for path in self._artefacts.values():
            _remove(path)
        if self._loaded:
            self._ask(None, {"do": "clear"})
        self._artefacts, self._loaded = {}, set()

    def _load(self, key):
        path, warm_up = str(self._artefacts[key]), self._warm_up
        self._ask(key, {"do": "load", "key": key, "path": path, "warm_up": warm_up})
        self._loaded.add(key)

    def _ask(self, key, command) -> dict:
        if self._process is None:
            self._start()
        text = json.dumps(command) + "\n"
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
            reply = self._reply(self._patience)
        except (BrokenPipeError, EOFError):
            raise BlockError(f"block {key!r} cannot be timed: {self._last_words()}") from None
        except TimeoutError:
            self._end()
            raise BlockError(
                f"block {key!r} cannot be timed: it took over {self._patience:g} seconds"
            ) from None
        if "error" in reply:
            raise BlockError(f"block {key!r} cannot be timed: {reply['error']}")
        return reply

    def _start(self):
        threads = str(self._threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), self._runtime, threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=environment,
        )
        self._rest = b""
        try:
            reply = self._reply(_START)
        except (EOFError, TimeoutError):
            reply = {"error": self._last_words()}
        if "error" in reply:
            self._end()
            raise UserError(f"the runtime {self._runtime!r} does not start: {reply['error']}")

    def _reply(self, patience) -> dict:
        """The next line, as soon as it is whole."""
        pipe, end = self._process.stdout, time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                found = os.read(pipe.fileno(), 1 << 16)
                if not found:
                    raise EOFError
                self._rest += found
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _last_words(self) -> str:
        """Why the process is gone, which it is afterwards."""
        process, words = self._process, self._words
        code = process.wait(timeout=30)
        words.seek(max(0, words.seek(0, os.SEEK_END) - 2000))
        said = words.read().decode(errors="replace").strip().splitlines()
        self._end()
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return said[-1] if said else f"its process ended with exit code {code}"

    def _end(self):
        process, self._process, self._loaded = self._process, None, set()
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, self._words):
            with contextlib.suppress(BrokenPipeError):  # what was written last does not matter
                pipe.close()


def _remove(path):
    if path.is_dir():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
