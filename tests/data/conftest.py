"""Draws, and a machine without a network."""

import numpy as np
import pytest


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
