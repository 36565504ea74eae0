"""Strategies and precision by name; training on two workers."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_model import batches

from tfgen.errors import ConfigError
from tfgen.training.strategy import distribute, set_precision, strategy_from_name


@pytest.fixture
def precision():
    yield
    keras.config.set_dtype_policy("float32")


class TestNames:
    def test_default(self):
        assert strategy_from_name() is tf.distribute.get_strategy()

    def test_mirrored_takes_all_devices(self):
        assert strategy_from_name("mirrored").num_replicas_in_sync == 2

    @pytest.mark.parametrize("name", ["", "horovod", "TPU"])
    def test_unknown(self, name):
        with pytest.raises(ConfigError, match="one of default, mirrored, multi_worker, tpu"):
            strategy_from_name(name)

    @pytest.mark.parametrize("error", [OSError, ValueError])
    def test_no_tpu_here(self, monkeypatch, error):
        def resolver(tpu):
            raise error(f"no {tpu}\nand a long explanation")

        monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
        with pytest.raises(
            ConfigError, match=r"No TPU named 'mine' can be reached from here: no mine$"
        ):
            strategy_from_name("tpu:mine")

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (None, "needs the environment variable TF_CONFIG, such as"),
            ("not json", "needs the environment variable TF_CONFIG"),
            ("[" * 100_000, "needs the environment variable TF_CONFIG"),
            (
                '{"cluster": {"worker": 3}, "task": {"index": 0}}',
                "needs the environment variable TF_CONFIG",
            ),
            (
                '{"cluster": {"worker": ["a:1"]}, "task": {"index": "first"}}',
                "needs the environment variable TF_CONFIG",
            ),
            ('{"cluster": {}}', "needs the environment variable TF_CONFIG"),
            (
                '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
                "index 1, but its cluster has 1 workers",
            ),
        ],
    )
    def test_multi_worker_needs_a_cluster(self, monkeypatch, config, message):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        if config is not None:
            monkeypatch.setenv("TF_CONFIG", config)
        with pytest.raises(ConfigError, match=message):
            strategy_from_name("multi_worker")

    @pytest.mark.usefixtures("precision")
    def test_precision(self):
        strategy_from_name("default", precision="mixed_bfloat16")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        with pytest.raises(ConfigError, match="'float64'"):
            set_precision("float64")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"


class TestDistribute:
    def test_one_device_gets_the_plain_data_set(self):
        data = batches()
        assert distribute(tf.distribute.get_strategy(), lambda index, count: data) is data

    def test_replicas_share_a_batch_in_order(self):
        strategy = strategy_from_name("mirrored")
        data = distribute(strategy, lambda index, count: batches(start_step=3))
        parts = strategy.experimental_local_results(next(iter(data))["images"])
        whole = next(iter(batches(start_step=3)))["images"]
        np.testing.assert_array_equal(np.concatenate(parts), whole)

    @pytest.mark.parametrize(("size", "message"), [(5, "split evenly"), (None, "drop_remainder")])
    def test_uneven_batches(self, size, message):
        data = tf.data.Dataset.range(20).batch(size or 4, drop_remainder=size is not None)
        with pytest.raises(ConfigError, match=message):
            distribute(strategy_from_name("mirrored"), lambda index, count: data)


WORKER = """
import json, sys
from tfgen.training.strategy import distribute, strategy_from_name
strategy = strategy_from_name("multi_worker")
import numpy as np
from toy_model import IMAGES, batches, make_toy
from tfgen.training import Checkpointing, CheckpointManager
import tensorflow as tf

with strategy.scope():
    model = make_toy(bad_steps=(1,))
data = distribute(strategy, lambda index, count: batches(batch_size=4).shard(count, index))
manager = CheckpointManager(sys.argv[1])
history = model.fit(
    data, steps_per_epoch=3, epochs=2, verbose=0, shuffle=False,
    callbacks=[Checkpointing(manager)],
).history
images = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(24)
logs = model.evaluate(images, return_dict=True, verbose=0)
print("RESULT", json.dumps({
    "weights": [np.asarray(v.numpy()).tolist() for v in model.weights],
    "counters": model.counters(), "loss": history["loss"], "evaluation": logs["loss"],
    "chief": strategy.extended.should_checkpoint,
}))
"""


def run_workers(script, arguments, count=2):
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    for sock in sockets:
        sock.close()
    workers = []
    for index in range(count):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONPATH": path}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [worker.communicate(timeout=600) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, errors) in zip(workers, outputs):
        assert worker.returncode == 0, errors[-3000:]
    lines = [line for out, _ in outputs for line in out.splitlines() if line.startswith("RESULT")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


@pytest.mark.slow
def test_two_workers_fit_to_identical_weights(tmp_path):
    from toy_model import IMAGES

    first, second = run_workers(WORKER, [str(tmp_path)])
    assert sorted([first.pop("chief"), second.pop("chief")]) == [False, True]
    assert first == second
    assert first["counters"]["skipped_steps"] == 1
    assert first["counters"]["train_steps"] == 6
    np.testing.assert_allclose(first["evaluation"], IMAGES.sum(1).mean(), rtol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-00000003.safetensors",
        "checkpoint-00000006.safetensors",
    ]
