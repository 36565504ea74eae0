"""Real files where there are any, and small made ones."""

import os
import pathlib

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_dir(root) -> pathlib.Path:
    """A folder of real .npz files: TFGEN_DATA_DIR, or the one beside the repository; or a skip."""
    path = pathlib.Path(os.environ.get("TFGEN_DATA_DIR") or root.parent / "shared" / "data")
    if not (path / "mnist.npz").is_file():
        pytest.skip(f"needs real data in {path} (or TFGEN_DATA_DIR)")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def no_network(monkeypatch):
    """Makes every fetching function fail as it does without a network."""
    import keras
    import tensorflow_datasets as tfds

    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org:\nName or service not known")

    for module in ("mnist", "fashion_mnist", "cifar10", "cifar100"):
        monkeypatch.setattr(getattr(keras.datasets, module), "load_data", fail)
    monkeypatch.setattr(keras.utils, "get_file", fail)
    monkeypatch.setattr(tfds, "builder", fail)
