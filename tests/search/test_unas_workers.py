"""keras-tuner's chief and two workers as processes, one of which is killed."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from toy_supernet import ToySupernet

from tfgen.search.unas import UNAS, tuning

HERE = pathlib.Path(__file__).parent
WORKER = """
import pathlib, sys, time
import keras
from test_unas_tuning import FIT, tuner

folder, name, hangs = sys.argv[1], sys.argv[2], sys.argv[3] == "hangs"

class Noted(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        pathlib.Path(folder, f"{name}.at").touch()
        while hangs:
            time.sleep(1)

tuner(folder, max_trials=4).search(**FIT, callbacks=[Noted()])
"""


@pytest.fixture
def started(tmp_path):
    """A function that starts a process of the tuner; all that are left are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []

    def start(name, how="goes on"):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
        }
        log = open(tmp_path / f"{name}.log", "a")  # noqa: SIM115 (the process has it)
        command = [sys.executable, "-c", WORKER, str(tmp_path), name, how]
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        log.close()
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_for(path, process):
    end = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None, path.with_suffix(".log").read_text()
        assert time.monotonic() < end, path
        time.sleep(0.5)


@pytest.mark.slow
def test_a_killed_worker_comes_back(tmp_path, started):
    """The trial that died with it is trained after all, and the chief ends by itself."""
    chief = started("chief")
    first, second = started("worker0"), started("worker1", "hangs")
    _wait_for(tmp_path / "worker1.at", second)
    second.send_signal(signal.SIGKILL)
    second.wait()
    second = started("worker1")
    for name, process in (("worker0", first), ("worker1", second), ("chief", chief)):
        assert process.wait(timeout=900) == 0, (tmp_path / f"{name}.log").read_text()
    state = json.loads((tmp_path / "toy" / "oracle.json").read_text())
    assert state["ongoing_trials"] == {}
    trials = [json.loads(p.read_text()) for p in (tmp_path / "toy").glob("trial_*/trial.json")]
    assert [trial["status"] for trial in trials] == 4 * ["COMPLETED"]
    found = {json.dumps(trial["hyperparameters"]["values"]) for trial in trials}
    assert len(found) == 4
    assert all(0.0 <= trial["score"] <= 1.0 for trial in trials)


def test_a_worker_that_asks_again_has_its_trial_back(tmp_path):
    """Without processes: what the chief answers to two workers."""
    search = UNAS(ToySupernet())
    oracle = tuning.ArchitectureOracle(search, objective="val_loss", max_trials=3)
    oracle._set_project_dir(tmp_path, "oracle")
    first, second = (oracle.create_trial(f"worker{k}") for k in range(2))
    assert first.trial_id != second.trial_id
    assert oracle.create_trial("worker1").trial_id == second.trial_id  # it was killed
    assert first.hyperparameters.values != second.hyperparameters.values

    taken_up = tuning.ArchitectureOracle(search, objective="val_loss", max_trials=3)
    taken_up._set_project_dir(tmp_path, "oracle")
    taken_up.reload()  # the chief was killed
    again = [taken_up.create_trial(f"worker{k}") for k in range(2)]
    assert {trial.trial_id for trial in again} == {first.trial_id, second.trial_id}

    taken_up.update_trial(again[0].trial_id, {"val_loss": 0.5})
    again[0].status = "COMPLETED"
    taken_up.end_trial(again[0])
    third = tuning.ArchitectureOracle(search, objective="val_loss", max_trials=3)
    third._set_project_dir(tmp_path, "oracle")
    third.reload()
    assert third.create_trial("worker0").trial_id == again[1].trial_id  # the one not ended
    assert third.create_trial("worker1").trial_id not in {trial.trial_id for trial in again}
