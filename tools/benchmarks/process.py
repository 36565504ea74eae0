"""An object in a process of its own, for PyTorch and TensorFlow do not bear each other in one.

    peer = Process(HERE / "sir_torch.py", "Peer", weights, threads=2)
    seconds, images = peer.call("timed", "channels_last")

The other side imports the module by its file, makes an object of the class, and then sleeps on its
pipe until a method is called; so sides can take turns in one run, and memory and processor time
belong to the side that uses them. Arguments and results are pickled: plain values and arrays.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def torch_python() -> str:
    """The Python of the PyTorch side: TFGEN_TORCH_PYTHON, or the one that runs this."""
    sys.path.append(str(ROOT))
    from tfgen.files import torch_file

    return torch_file.torch_python()


def has_torch() -> bool:
    """Whether that Python finds PyTorch; nothing is imported here."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
    return subprocess.run([torch_python(), "-c", code], check=False).returncode == 0


def require_torch(program: str) -> None:
    """Ends the program with one line where there is no PyTorch to compare with."""
    if not has_torch():
        sys.exit(
            f"{program} compares with PyTorch, which is not installed: pip install torch, or name "
            "a Python that has it in TFGEN_TORCH_PYTHON"
        )


class Process:
    """An object in its own process, as this one sees it.

    Args:
        module: the file of its class; what lies beside can be imported there.
        name: of the class.
        *arguments: of the class.
        python: the interpreter; None: the one that has PyTorch.
        environment: variables that are other than here.
        **keywords: of the class.

    `close()` ends it, and so does losing the last reference.
    """

    def __init__(
        self,
        module: Path,
        name: str,
        *arguments: Any,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> None:
        self._name = name
        self._connection, theirs = Pipe()
        # tfgen need not be installed.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [python or torch_python(), __file__, str(theirs.fileno()), str(module), name],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a library prints does not mix with results
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
        )
        theirs.close()
        self.close = weakref.finalize(self, end, self._connection, self._process)
        self.call("__init__", *arguments, **keywords)

    def call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """The result of a method of the object."""
        try:
            self._connection.send((method, arguments, keywords))
            error, result = self._connection.recv()
        except (EOFError, ConnectionError):
            code = self._process.wait()
            raise RuntimeError(
                f"the process of {self._name} ended with code {code} in {method}"
            ) from None
        if error is not None:
            raise RuntimeError(f"{self._name}.{method} failed:\n{error}")
        return result

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end(connection: Connection, process: subprocess.Popen) -> None:
    """Closes the pipe, which the other side takes as its end, and waits for that."""
    connection.close()
    process.wait()


def serve(connection: Connection, module: Path, name: str) -> None:
    """Answers calls until the other end closes."""
    sys.path[:0] = [str(module.parent)]
    made = None
    while True:
        try:
            method, arguments, keywords = connection.recv()
        except EOFError:
            return
        try:
            if method == "__init__":
                made = getattr(importlib.import_module(module.stem), name)(*arguments, **keywords)
                answer = None, None
            else:
                answer = None, getattr(made, method)(*arguments, **keywords)
        except Exception:
            answer = traceback.format_exc(), None
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])
