"""What every test may rely on: two logical CPUs, a quiet TensorFlow, where real data lie."""

import gc
import os
import pathlib
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import tensorflow as tf
from skips import pytest_terminal_summary  # noqa: F401 (a hook of pytest)
from tensorflow.python.util import tf_stack

# Whoever begins tests in the background may have them ignore signals (a shell Ctrl-C, nohup
# SIGHUP), and programs started here would ignore them as well.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        as_python = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, as_python)

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Has to happen before TensorFlow touches a device, hence here and not in a fixture. Tests of
# `MirroredStrategy` take both; everything else runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


# Every operation of a graph remembers the calls that made it, a hundred deep under pytest: a tenth
# of the suite's time. TFGEN_TEST_STACKS=1 keeps them, for errors that name an operation.
if not os.environ.get("TFGEN_TEST_STACKS"):
    _NO_CALLS = tf_stack.extract_stack()
    tf_stack.extract_stack = lambda stacklevel=1: _NO_CALLS

# Tracing makes objects by the million, nearly all of which stay: looking through them after every
# 700 finds little. What is left over waits for the end of the module, below, or for the next eight
# million objects.
gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def _collected():
    """Graphs are cycles and large: they go with their module, and what stays is not walked again.

    Otherwise thousands lie there until a collection has gigabytes to walk, minutes where memory is
    scarce.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def need_empty_batches():
    """Called before an empty batch meets a convolution: skips the rest of a test where it cannot.

    On CPUs with 16-bit matrix units, TensorFlow 2.21's own convolution answers an empty batch with
    a tensor that has the channels of its input.
    """

    def check():
        y = tf.nn.conv2d(tf.zeros((0, 4, 4, 2)), tf.ones((3, 3, 2, 4)), 1, "SAME")
        if y.shape != (0, 4, 4, 4):
            pytest.skip(f"tf.nn.conv2d makes {tuple(y.shape)} of an empty batch on this CPU")

    return check


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def reference_values():
    """`reference_values("vaebm_small")`: what the authors' program computed, arrays by name.

    README.md beside the files says what each holds.
    """

    def load(name: str) -> np.lib.npyio.NpzFile:
        return np.load(ROOT / "tests" / "reference" / f"{name}.npz", allow_pickle=False)

    return load


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """A folder of real data sets: TFGEN_DATA_DIR, or the one beside the repository."""
    shared = os.environ.get("TFGEN_SHARED_DIR", ROOT.parent / "shared")
    return pathlib.Path(os.environ.get("TFGEN_DATA_DIR") or pathlib.Path(shared) / "data")


@pytest.fixture(scope="session")
def need_data(data_dir):
    """`need_data("mnist.npz")`: the folder of real data sets, or a skip if it lacks one named."""

    def find(*names: str) -> pathlib.Path:
        for name in names:
            if not (data_dir / name).exists():
                pytest.skip(f"needs the data set {name} (TFGEN_DATA_DIR)")
        return data_dir

    return find
