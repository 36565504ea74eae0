"""The study of solvers: rows that are kept, a table and a curve of a tiny LSGM."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scripts import script

import tfgen
from tfgen.data import load
from tfgen.errors import ConfigError
from tfgen.runs.config import complete
from tfgen.runs.quality import extractor_from
from tfgen.systems import presets

VAE = dict(
    image_shape=(16, 16, 1),
    padding=0,
    num_channels=4,
    num_scales=1,
    num_groups=1,
    latent_channels=2,
    encoder_cells=1,
    decoder_cells=1,
    preprocess_blocks=1,
    preprocess_cells=1,
    postprocess_blocks=1,
    postprocess_cells=1,
)
PRIOR = dict(num_channels=4, multipliers=(1,), num_blocks=1, embedding_dims=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of a tiny LSGM whose prior is no Normal, and an extractor."""
    folder = tmp_path_factory.mktemp("study")
    model = tfgen.LSGM(tfgen.NVAE(**VAE), PRIOR, mixing_logit=0.0)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.network.trainable_variables:
        variable.assign_add(0.2 * rng.standard_normal(variable.shape))
    data = {"name": "digits", "batch_size": 8}
    config = complete({"model": presets.model_section(model), "data": data})
    presets.save_preset(model, folder / "run", config)
    layers = [keras.layers.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    keras.Sequential(layers).save(folder / "features.keras")
    return folder


def study(root, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable,
        str(root / "tools" / "studies" / "lsgm_solvers.py"),
        f"--workdir={folder / 'run'}",
        f"--output={folder / 'found'}",
        f"--extractor={folder / 'features.keras'}",
        "--num_samples=20",
        "--batch_size=8",
        *arguments,
    ]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def settings_of(folder):
    return {
        "model": "run",
        "real": f"digits: {load('digits', split='train').take(20, 0).extent}",
        "num_samples": 20,
        "seed": 0,
        **extractor_from(str(folder / "features.keras")).protocol,
    }


def found_in(folder):
    return json.loads((folder / "found" / "solvers.json").read_text())


@pytest.mark.slow
def test_rows_that_are_done_are_kept(root, folder):
    row = {"num_evaluations": 80.5, "seconds_per_1000": 3.25, "frechet_distance": 2.5}
    known = {"settings": settings_of(folder), "rows": {"RK45 1e-5": row}}
    (folder / "found").mkdir()
    (folder / "found" / "solvers.json").write_text(json.dumps(known))
    done = study(root, folder, "--solvers=DPM-Solver++ 2M,Heun", "--evaluations=3", "--denoise")
    assert done.returncode == 0, done.stderr
    found = found_in(folder)
    assert found["settings"] == known["settings"]
    assert list(found["rows"]) == ["RK45 1e-5", "DPM-Solver++ 2M 3, denoising", "Heun 2"]
    assert found["rows"]["RK45 1e-5"] == row
    assert all(found["rows"][n]["num_evaluations"] == 3.0 for n in list(found["rows"])[1:])
    distance = found["rows"]["Heun 2"]["frechet_distance"]
    table = (folder / "found" / "solvers.md").read_text().splitlines()
    assert table[-1].startswith("| Heun | 2 | 3.0 |")
    assert table[-1].endswith(f"| {distance:.4f} | {distance / 2.5:.3f} |")
    assert (folder / "found" / "solvers.png").stat().st_size > 5_000


def test_a_folder_of_other_settings_is_refused(root, folder, tmp_path):
    with script(root / "tools" / "studies" / "solver_report.py") as report:
        begun = report.Study.of(tmp_path, {"seed": 0})
        begun.add("DDIM 5", dict.fromkeys(report._ROW, 1.0))
        assert report.Study.of(tmp_path, {"seed": 0}).rows == begun.rows
        with pytest.raises(ConfigError, match="a study of other settings"):
            report.Study.of(tmp_path, {"seed": 1})
        (tmp_path / "solvers.json").write_text('{"settings": {"seed": 0}, "rows": {"DDIM 5": 3}}')
        with pytest.raises(ConfigError, match="rows that this program did not write"):
            report.Study.of(tmp_path, {"seed": 0})


@pytest.mark.slow
def test_a_fine_solver_makes_the_images_of_the_reference(root, folder):
    arguments = ["--solvers=DPM-Solver++ 2M,DDIM", "--evaluations=3,40", "--grid=quadratic"]
    done = study(root, folder, *arguments, f"--output={folder / 'fine'}")
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "fine" / "solvers.json").read_text())["rows"]
    assert rows["RK45 1e-5"]["num_evaluations"] > 20.0
    distances = {name: row["frechet_distance"] for name, row in rows.items()}
    reference = distances["RK45 1e-5"]
    errors = [
        abs(distances[f"{kind} {steps}, grid quadratic"] / reference - 1.0)
        for kind, steps in (("DPM-Solver++ 2M", 40), ("DDIM", 40), ("DDIM", 3))
    ]
    assert errors[0] < 0.02
    assert errors[0] < errors[1] < errors[2]
