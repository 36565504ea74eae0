"""The benchmark's PyTorch NVAE is the published model: reference values of two small networks.

A ratio means something only if both sides compute the same function. tfgen is held to the same
reference values in its own tests.
"""

import ast
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a benchmark extra")

NAMES = ("nvae_bernoulli", "nvae_logistic_flow")


@pytest.fixture(scope="module")
def peer(root):
    """The modules of the benchmark, importable while this file's tests run."""
    folder = str(root / "tools" / "benchmarks")
    sys.path.insert(0, folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small gain nothing from more
    try:
        import nvae_torch
        import nvae_torch_training
        import nvae_workers

        yield nvae_torch, nvae_torch_training, nvae_workers
    finally:
        sys.path.remove(folder)
        torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=NAMES)
def case(request, peer, shared_dir):
    """Reference values, the model holding their weights, its reconstruction loss and its noise."""
    path = shared_dir / "oracles" / f"{request.param}.npz"
    if not path.is_file():
        pytest.skip(f"needs the reference values {path}")
    with np.load(path) as archive:
        values = {name: archive[name] for name in archive.files}
    options = ast.literal_eval(str(values["config"]))
    bernoulli = options["dataset"] == "mnist"
    architecture = peer[0].Architecture(
        groups=tuple(int(count) for count in values["groups_per_scale"]),
        num_channels=options["num_channels_enc"],
        image_size=28 if bernoulli else 32,
        image_channels=1 if bernoulli else 3,
        head_channels=1 if bernoulli else 100,
        padding=2 if bernoulli else 0,
        encoder_cells=options["num_cell_per_cond_enc"],
        decoder_cells=options["num_cell_per_cond_dec"],
        preprocess_blocks=options["num_preprocess_blocks"],
        preprocess_cells=options["num_preprocess_cells"],
        postprocess_blocks=options["num_postprocess_blocks"],
        postprocess_cells=options["num_postprocess_cells"],
        num_flows=options["num_nf"],
    )
    model = peer[0].NVAE(architecture)
    weights = {
        name.removeprefix("weights/"): torch.from_numpy(value)
        for name, value in values.items()
        # Copies of kernels that the published program keeps and does not read.
        if name.startswith("weights/") and not name.endswith("weight_normalized")
    }

    def load():
        missing = model.load_state_dict(weights, strict=False)
        assert not missing.unexpected_keys
        assert all("num_batches_tracked" in name for name in missing.missing_keys)

    def reconstruction_loss(logits):
        images = torch.from_numpy(values["x"])
        if bernoulli:
            return peer[1].bernoulli_loss(model, logits, model.crop(images))
        return peer[1].mixture_loss(logits, images)

    noise = [torch.from_numpy(values[f"eps/{i}"]) for i in range(sum(architecture.groups))]
    return values, model, load, reconstruction_loss, noise


def _close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected, np.float64)
    actual = np.asarray(actual.detach().numpy(), np.float64)
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_inference_equals_reference(case, peer, layout):
    values, model, load, reconstruction_loss, noise = case
    model.to(memory_format=getattr(torch, layout))
    load()
    model.eval()
    with torch.no_grad():
        output = model(torch.from_numpy(values["x"]), noise)
        kl = torch.stack(output.kl, 1)
        _close(output.logits, values["logits"])
        _close(kl, values["kl"])
        _close(sum(output.log_q), values["log_q"])
        _close(sum(output.log_p), values["log_p"])
        _close(reconstruction_loss(output.logits), values["reconstruction_loss"])
        for temperature in (1.0, 0.7):
            expected = values[f"sample_logits_temperature_{temperature}"]
            _close(model.prior_logits(len(kl), temperature, noise), expected)
        model.freeze_kernels()
        _close(model.prior_logits(len(kl), 0.7, noise), expected)
        model.freeze_kernels(False)
        weights = peer[1].balance_weights(model.architecture.groups)
        balanced, coefficients = peer[1].balanced_kl(kl, weights, 0.37)
        _close(weights, values["alpha"])
        _close(balanced, values["balanced_kl_at_0.37"])
        _close(coefficients, values["balance_coefficients"])


def test_training_equals_reference(case):
    values, model, load, reconstruction_loss, noise = case
    load()
    model.train()
    model.zero_grad()
    output = model(torch.from_numpy(values["x"]), noise)
    kl = torch.stack(output.kl, 1)
    loss = (reconstruction_loss(output.logits) + kl.sum(1)).mean()
    loss.backward()
    _close(output.logits, values["train_mode/logits"])
    _close(kl, values["train_mode/kl"])
    _close(loss, values["train_mode/loss"])
    norms = {name: p.grad.norm() for name, p in model.named_parameters()}
    names = [str(name) for name in values["train_mode/grad_norms_names"]]
    assert set(names) == set(norms)
    actual = torch.stack([norms[name] for name in names])
    _close(actual, values["train_mode/grad_norms"], tolerance=1e-3)


def test_penalties_equal_reference(case, peer):
    values, model, load, _, _ = case
    load()
    model.eval()
    with torch.no_grad():
        model.freeze_kernels()
        spectral = peer[1].SpectralNorms(model)
        for _ in range(50):
            total = spectral.total()
        model.freeze_kernels(False)
    assert len(model.convs) == values["num_convs"]
    _close(total, values["spectral_sum_exact"], tolerance=2e-3)
    _close(peer[1].batch_norm_penalty(model), values["bn_loss"])


@pytest.mark.parametrize("config", ["mnist", "cpu"])
def test_sizes_of_the_benchmarked_models(peer, config):
    with torch.device("meta"):
        model = peer[0].NVAE(peer[2].torch_architecture(config))
    expected = {"mnist": (33_363_134, 255, 214), "cpu": (2_978_110, 91, 70)}[config]
    parameters = sum(p.numel() for p in model.parameters())
    assert (parameters, len(model.convs), len(model.norms)) == expected


def test_optimizer_equals_torch_and_the_recipe(peer):
    ours = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 8))
    theirs = torch.nn.Parameter(ours.detach().clone())
    adamax = peer[1].Adamax([ours], lr=0.01, weight_decay=3e-4, eps=1e-3)
    reference = torch.optim.Adamax([theirs], lr=0.01, weight_decay=3e-4, eps=1e-3)
    for step in range(4):
        gradient = torch.sin(torch.arange(8.0) + step)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adamax.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_training_step_lowers_the_loss(peer):
    torch.manual_seed(0)
    architecture = peer[0].Architecture(
        groups=(1, 1),
        num_channels=8,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_cells=1,
        postprocess_cells=1,
    )
    trainer = peer[1].Trainer(architecture, channels_last=True, learning_rate=1e-2)
    images = (torch.rand(4, 1, 28, 28) < 0.3).float()
    losses = [trainer.step(images).item() for _ in range(8)]
    assert losses[-1] < losses[0] - 10.0
