"""Real runtimes, briefly, and processes that blocks end."""

import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from tfgen.errors import ConfigError, UserError
from tfgen.search import latency
from tfgen.search.latency import measure, process, unmeasured, worker
from tfgen.search.latency.process import ProcessTimer


def convolutions(count, side=32):
    def make():
        x = y = keras.Input((side, side, 8))
        for _ in range(count):
            y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(y))
        return keras.Model(x, layers.ReLU()(y))

    return make


def pair():
    a, b = keras.Input((6, 6, 4)), keras.Input((6, 6, 4))
    return keras.Model([a, b], layers.Add()([a, layers.ReLU()(b)]))


def identity():
    x = keras.Input((4,))
    return keras.Model(x, x)


@pytest.mark.filterwarnings("ignore:.* blocks that were measured twice")
@pytest.mark.parametrize(
    "backend",
    [
        latency.LiteRTBackend(),
        latency.LiteRTBackend(precision="int8", batch_size=2),
        latency.OnnxBackend(),
        pytest.param(latency.KerasBackend(), marks=pytest.mark.slow),
    ],
    ids=lambda b: f"{b.runtime} {b.precision}",
)
def test_more_work_takes_longer(backend, tmp_path):
    asked = [("one", convolutions(1)), ("five", convolutions(5)), ("pair", pair)]
    path, repeat = tmp_path / "t.json", int(backend.precision == "int8")
    table = measure([*asked, ("identity", identity())], backend, path, num_runs=30, repeat=repeat)
    one, five, two = table.milliseconds(["one", "five", "pair"])
    assert five > one > 0  # five times the work
    assert two > 0
    assert table.milliseconds(["identity"])[0] == 0.0
    assert (table.repeat is not None) == repeat
    assert table.metadata["backend"] == backend.runtime
    assert table.metadata["versions"]["keras"] == keras.__version__
    assert table.metadata["precision"] == backend.precision
    assert os.uname().nodename not in path.read_text()


@pytest.mark.parametrize(
    ("make", "runtime", "module", "extra"),
    [
        (latency.LiteRTBackend, "litert", "ai_edge_litert", "litert"),
        (latency.OnnxBackend, "onnx", "tf2onnx", "onnx"),
        (latency.OnnxBackend, "onnx", "onnxruntime", "onnx"),
        (latency.OnnxBackend, "onnx", "onnx", "onnx"),
    ],
)
def test_what_is_not_installed(monkeypatch, tmp_path, make, runtime, module, extra):
    path, backend = tmp_path / "table.json", make()
    versions = {**backend.metadata()["versions"], "keras": "of another machine"}
    metadata = {"quantile": 0.5, **backend.metadata(), "versions": versions}
    latency.LatencyTable(metadata).write(path)
    if module == "onnx":  # found by what imports it, too
        monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
        monkeypatch.setitem(sys.modules, "tf2onnx", types.ModuleType("tf2onnx"))
    monkeypatch.setitem(sys.modules, module, None)
    asked = (
        lambda: measure([("pair", pair)], backend),
        lambda: measure([("pair", pair)], backend, path),
        lambda: unmeasured([("pair", pair)], backend),
    )
    for ask in asked:
        with pytest.raises(UserError) as refused:
            ask()
        assert str(refused.value) == (
            f"the latency back-end {runtime!r} needs {module!r}, which is not installed: "
            f"pip install 'tfgen[{extra}]'"
        )


def test_what_is_measured_needs_no_runtime(monkeypatch, tmp_path):
    path, backend = tmp_path / "table.json", latency.LiteRTBackend()
    entries = {"pair": latency.Entry(1.0)}
    latency.LatencyTable({"quantile": 0.5, **backend.metadata()}, entries).write(path)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert measure([("pair", pair)], backend, path).milliseconds(["pair"])[0] == 1.0
    assert unmeasured([("pair", pair)], backend, path) == []


def test_arguments():
    with pytest.raises(ConfigError, match="precision is 'int8'; expected one of float32"):
        latency.OnnxBackend(precision="int8")
    with pytest.raises(ConfigError, match="threads is 0"):
        latency.LiteRTBackend(threads=0)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        latency.KerasBackend(batch_size=0)


def open_shape():
    x = keras.Input((None, 4, 3))
    return keras.Model(x, layers.ReLU()(x))


def unknown_to_litert():
    x = keras.Input((4,))
    return keras.Model(x, keras.ops.erfinv(x))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (open_shape, r"the shape \(None, None, 4, 3\); expected one that is known but for"),
        ("text", "a str cannot be timed; expected a functional Keras model"),
        (unknown_to_litert, "block 'x' cannot be converted: "),
    ],
)
def test_blocks_that_cannot_be_converted(item, message):
    with pytest.warns(UserWarning, match=message):
        table = measure([("x", item)], latency.LiteRTBackend())
    assert "\n" not in table.failures["x"]


FAKE = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import worker

def fake(threads):
    def opened(path):
        kind = open(path).read()
        def run():
            if kind == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "exit":
                print("out of cheese", file=sys.stderr)
                os._exit(3)
            if kind == "stuck":
                time.sleep(600)
            if kind == "wrong":
                raise ValueError("of no use\\nat all")
            print("small talk on the standard output")
        return run
    return opened

worker.RUNTIMES["fake"] = fake
worker.main(*sys.argv[1:])
"""


class TestProcess:
    @pytest.fixture
    def timer(self, tmp_path, monkeypatch):
        path = tmp_path / "fake.py"
        path.write_text(FAKE.format(folder=str(Path(worker.__file__).parent)))
        monkeypatch.setattr(process, "_WORKER", path)

        def write(key, item, path):
            path.write_text(item)

        with ProcessTimer("fake", 1, write, warm_up=0, patience=1.0) as timer:
            yield timer

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("crash", "block 'bad' cannot be timed: its process was ended by SIGSEGV"),
            ("exit", "block 'bad' cannot be timed: out of cheese"),
            ("stuck", "block 'bad' cannot be timed: it took over 1 seconds"),
            ("wrong", "block 'bad' cannot be timed: ValueError: of no use"),
        ],
    )
    def test_a_block_that_ends_it(self, timer, kind, message):
        timer.load(latency.Block("good", "good"))
        timer.load(latency.Block("bad", kind))
        assert timer.run("good", 3).shape == (3,)
        with pytest.raises(latency.BlockError) as refused:
            timer.run("bad", 3)
        assert str(refused.value) == message
        assert np.all(timer.run("good", 3) > 0)
        timer.clear()
        timer.load(latency.Block("good", "good"))
        assert np.all(timer.run("good", 3) > 0)

    def test_a_runtime_that_does_not_start(self, timer):
        timer._runtime = "nonsense"
        with pytest.raises(UserError, match="the runtime 'nonsense' does not start: KeyError"):
            timer.load(latency.Block("good", "good"))

    def test_it_ends_with_its_parent(self, timer):
        timer.load(latency.Block("good", "good"))
        worker_process = timer._process
        worker_process.stdin.close()
        assert worker_process.wait(timeout=30) == 0

    def test_nothing_is_left(self, timer):
        timer.load(latency.Block("good", "good"))
        folder, worker_process = timer._folder.name, timer._process
        timer.__exit__()
        assert worker_process.poll() is not None
        assert not os.path.exists(folder)


def test_the_worker_imports_nothing_that_it_does_not_time():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(worker.__file__).parent)!r}); import worker; "
        "heavy = {'tensorflow', 'keras', 'tfgen'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
