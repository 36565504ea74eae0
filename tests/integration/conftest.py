"""Running binaries inside the test process, as their console scripts would."""

import dataclasses
import importlib
import sys

import keras
import pytest
from absl.testing import flagsaver

from tfgen.bin import app

# A generator that trains in a second once it is traced.
TINY = (
    "--config.model.architecture=res_bnswish",
    "--config.model.num_channels=4",
    "--config.model.latent_channels=2",
    "--config.model.num_scales=1",
    "--config.data.batch_size=16",
    "--config.training.steps_per_epoch=3",
    "--config.training.report_steps=1",
    "--config.evaluation.num_images=24",
    "--config.evaluation.num_importance_samples=3",
    "--config.evaluation.batch_size=16",
)

# A search of cells of one node.
SEARCH = """
from ml_collections import config_dict

def get_config():
    return config_dict.create(
        model=dict(supernet=dict(
            name="cells", image_shape=(16, 16, 1), num_classes=10, num_channels=2, num_cells=3,
            num_operations=2, num_nodes=1, skip_below=0.0,
        )),
        criteria=dict(size=dict(measure="parameters", target=1e5, num_fitted=50)),
        data=dict(name="digits", batch_size=8, num_images=160),
        training=dict(
            warmup_epochs=1, epochs=1, steps_per_epoch=2, report_steps=1, candidate_batches=2,
        ),
    )
"""


@dataclasses.dataclass(frozen=True)
class Result:
    """How a binary ended and what it said."""

    code: int
    out: str
    err: str

    def mistake(self) -> str:
        """The one line of a user's mistake."""
        assert self.code == app.USER_ERROR, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("tfgen-")
        return lines[0]


def call(name: str, *argv: object) -> int:
    """The exit code of `tfgen-NAME ARGV...`, run in this process."""
    binary = importlib.import_module(f"tfgen.bin.{name}")
    line = [f"tfgen-{name}", *map(str, argv)]
    # config_flags reads the overrides of a config from the process's own command line.
    with pytest.MonkeyPatch.context() as patch, flagsaver.flagsaver():
        patch.setattr(sys, "argv", line)
        try:
            rest = app.parse(line[0], line)
        except SystemExit as end:
            return end.code
        try:
            return app.execute(line[0], binary.main, rest)
        finally:
            keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def exit_code():
    """`exit_code("train", "--workdir=...")`: what the binary returns, for fixtures of any scope."""
    return call


@pytest.fixture
def cli(capfd):
    """`cli("train", "--workdir=...")` returns the `Result` of that binary."""

    def run(name, *argv) -> Result:
        capfd.readouterr()
        code = call(name, *argv)
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def digits_config(root) -> str:
    """The flag for the smallest recipe."""
    return f"--config={root / 'configs/nvae/digits.py'}:runlocal"


@pytest.fixture(scope="session")
def tiny(digits_config) -> tuple[str, ...]:
    """Flags of a tiny digits run of two epochs of three steps."""
    return (digits_config, *TINY)


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """The workdir of a finished tiny run; tests may add to it, not change it."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    assert call("train", *tiny, f"--workdir={workdir}") == 0
    return workdir


@pytest.fixture
def search_recipe(tmp_path):
    """The flag for a tiny search."""
    path = tmp_path / "recipe.py"
    path.write_text(SEARCH)
    return f"--config={path}"
