"""PyTorch in a process of its own, or a skip where there is none."""

import contextlib
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def benchmarks(root):
    """Lets the tests of this folder import what lies in tools/benchmarks."""
    folder = str(root / "tools" / "benchmarks")
    sys.path.insert(0, folder)
    yield root / "tools" / "benchmarks"
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def in_torch(benchmarks):
    """`in_torch("nvae_peer.py", "Case", values)`: an object of that class beside PyTorch."""
    import process

    if not process.has_torch():
        pytest.skip("needs PyTorch (the extra 'torch', or TFGEN_TORCH_PYTHON)")
    with contextlib.ExitStack() as stack:

        def start(file, name, *arguments):
            # Networks this small gain nothing from more threads.
            environment = {"PYTHONPATH": str(benchmarks), "OMP_NUM_THREADS": "1"}
            path = HERE / file if (HERE / file).exists() else benchmarks / file
            made = process.Process(path, name, *arguments, environment=environment)
            return stack.enter_context(made)

        yield start
