"""One table of what all benchmarks wrote."""

import argparse
import json
import subprocess
import sys

import pytest

STEP = {
    "benchmark": "unas",
    "case": "search step, small",
    "batch_size": 32,
    "precision": "float32",
    "threads": 2,
    "clock": "wall",
    "seconds": {"torch": 0.3, "tfgen": 0.2},
    "ratio": 1.5,
    "gflop": 10.0,
    "peak_gib": {"torch": 0.5, "tfgen": 1.0},
}
_SIDE = {
    "version": "1",
    "train_peak_gib": 2.0,
    "medians": {"train": 0.4, "sample": 0.1, "sample, in parts": 0.1},
}
_PEER = {**_SIDE, "medians": {"train": 0.4, "sample": 0.2, "sample, in parts": 0.15}}
_LSGM = {"config": "cpu", "batch_size": 32, "threads": 2, "clock": "wall"}
_TIMES = {"seconds": {"torch": 0.2, "tfgen": 0.1}, "gflop": 3.0}
WRITTEN = {
    "unas": [STEP],
    "ood": [STEP],
    "grounding": [STEP],
    "lsgm": [{**_LSGM, "train": _TIMES, "evaluate": _TIMES}],
    "nvae": {
        "results": [
            {
                "config": "cpu",
                "batch_size": 16,
                "threads": 2,
                "sides": {"torch": _PEER, "tfgen": _SIDE},
                "reached": {"tfgen": {"gflop": 50.0}},
            }
        ]
    },
    "vaebm": {
        "config": "small",
        "batch_size": 64,
        "threads": 2,
        "seconds_per_step": {"torch a": 0.3, "torch b": 0.2, "tfgen plain graph": 0.1},
    },
    "ncp": {
        "num_proposals": 64,
        "batch_size": 64,
        "threads": 2,
        "seconds": {"torch NCHW": 0.3, "tfgen plain graph": 0.2, "tfgen eager": 0.1},
    },
    "gradinversion": [
        {
            "network": "resnet18",
            "batch_size": 4,
            "threads": 2,
            "versions": ["a", "b"],
            "torch_seconds": 0.2,
            "tfgen_seconds": 0.1,
        }
    ],
    "fromage": {
        "large": {
            name: {"wall": [0.1, 0.2, 0.3], "cpu": [1.0]}
            for name in ("tfgen Fromage", "PyTorch foreach Fromage", "Keras Adam")
        }
    },
}
MACHINE = {
    "device": "A processor",
    "versions": ["TensorFlow 2"],
    "threads": 2,
    "clock": "wall",
    "load": 0.1,
    "matmul_gflops": 100.0,
    "copy_gbytes": 10.0,
}


@pytest.fixture
def program(benchmarks):
    import all as program

    return program


def test_every_program_has_rows(program, benchmarks):
    assert WRITTEN.keys() == program.PROGRAMS.keys()
    for name, written in WRITTEN.items():
        assert (benchmarks / program.PROGRAMS[name].file).is_file()
        found = program.PROGRAMS[name].rows(json.loads(json.dumps(written)))
        assert found
        for row in found:
            assert row["ratio"] == pytest.approx(row["seconds"]["torch"] / row["seconds"]["tfgen"])


def test_table_and_picture(program, tmp_path):
    found = [row for name, w in WRITTEN.items() for row in program.PROGRAMS[name].rows(w)]
    text = program.write(found, MACHINE, tmp_path)
    assert "A processor, 2 threads a side" in text
    assert "busy" not in text
    wanted = "| unas | search step, small | 32 | 300.0 ms | 200.0 ms | 1.50x | 33%, 50% | "
    assert f"{wanted}0.50, 1.00 GiB |" in text
    # PyTorch's fastest is what counts.
    assert "| vaebm | Langevin step, small | 64 | 200.0 ms | 100.0 ms | 2.00x | - | - |" in text
    assert "| nvae | samples, cpu | 16 | 150.0 ms | 100.0 ms | 1.50x | - | - |" in text
    assert len(text.splitlines()) == 4 + len(found)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["machine"] == MACHINE
    assert kept["rows"][0].keys() >= {"fraction_of_matrix_rate", "ratio"}
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
    busy = program.write(found, {**MACHINE, "load": 3.2}, tmp_path)
    assert "the machine was busy (load 3.2)" in busy


def test_goes_on_where_it_was(program, tmp_path, monkeypatch):
    """What is there is not run again, and what fails leaves nothing behind."""
    calls = []

    def fail(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", fail)

    def arguments(**changes):
        plain = dict(size="small", threads=1, clock="cpu", output=tmp_path)
        return argparse.Namespace(**{**plain, **changes})

    (tmp_path / "unas-small-1-cpu.json").write_text(json.dumps([STEP]))
    assert program.measure("unas", arguments()) == [STEP]
    assert not calls
    assert program.measure("ood", arguments(size="full")) is None
    assert calls[0][0] == sys.executable
    assert calls[0][-6:-3] == ["--threads", "1", "--json"]
    assert calls[0][-2:] == ["--clock", "cpu"]
    assert program.measure("nvae", arguments(clock="wall")) is None
    assert "--clock" not in calls[1]  # which knows no other
    assert [file.name for file in tmp_path.iterdir()] == ["unas-small-1-cpu.json"]


def test_the_processors_seconds_are_of_one_thread(program, monkeypatch):
    monkeypatch.setattr(program, "require_torch", lambda name: None)
    for words in (["--only", "ood"], ["--only", "ood", "nvae", "--threads", "1"]):
        monkeypatch.setattr(sys, "argv", ["all.py", "--clock", "cpu", *words])
        with pytest.raises(SystemExit, match="--threads 1 and --only lsgm unas ood grounding"):
            program.main()


@pytest.mark.slow
def test_the_command(benchmarks, tmp_path):
    import process

    if not process.has_torch():
        pytest.skip("needs PyTorch (the extra 'torch', or TFGEN_TORCH_PYTHON)")
    command = [sys.executable, str(benchmarks / "all.py"), "--only", "grounding"]
    command += ["--threads", "1", "--clock", "cpu", "--output", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "| grounding | training step, small | 50 |" in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["machine"]["threads"] == 1
