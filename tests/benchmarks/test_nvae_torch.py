"""The benchmark's PyTorch NVAE is the published model: reference values of two small networks.

A ratio means something only if both sides compute the same function. tfgen is held to the same
reference values in its own tests.
"""

import types

import numpy as np
import pytest


@pytest.fixture(scope="module", params=["nvae_bernoulli", "nvae_logistic_flow"])
def case(request, in_torch, reference_values):
    """Reference values, and the model that holds their weights."""
    with reference_values(request.param) as archive:
        values = {name: archive[name] for name in archive.files}
    return types.SimpleNamespace(values=values, peer=in_torch("nvae_peer.py", "Case", values))


@pytest.fixture(scope="module")
def training(in_torch):
    return in_torch("nvae_peer.py", "Training")


def _close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected, np.float64)
    if expected.ndim == 4:  # some are stored of the first images only
        actual = actual[: len(expected)]
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_inference_equals_reference(case, layout):
    found = case.peer.call("inference", layout)
    _close(found.pop("frozen"), case.values["sample_logits_temperature_0.7"])
    assert len(found) == 10
    for name, value in found.items():
        _close(value, case.values[name])


def test_training_equals_reference(case):
    found, norms = case.peer.call("training")
    for name, value in found.items():
        _close(value, case.values[f"train_mode/{name}"])
    names = [str(name) for name in case.values["train_mode/grad_norms_names"]]
    assert set(names) == set(norms)
    _close([norms[name] for name in names], case.values["train_mode/grad_norms"], tolerance=1e-3)


def test_penalties_equal_reference(case):
    num_convs, total, penalty = case.peer.call("penalties")
    assert num_convs == case.values["num_convs"]
    _close(total, case.values["spectral_sum_exact"], tolerance=2e-3)
    _close(penalty, case.values["bn_loss"])


@pytest.mark.parametrize("config", ["mnist", "cpu"])
def test_sizes_of_the_benchmarked_models(training, config):
    expected = {"mnist": (33_363_134, 255, 214), "cpu": (2_978_110, 91, 70)}[config]
    assert training.call("sizes", config) == expected


def test_optimizer_equals_torch_and_the_recipe(training):
    ours, theirs = training.call("adamax")
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_training_step_lowers_the_loss(training):
    losses = training.call("losses")
    assert losses[-1] < losses[0] - 10.0
