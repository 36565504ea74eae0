"""What the benchmark's PyTorch NVAE makes of reference values; runs beside PyTorch only."""

import ast

import numpy as np
import nvae_torch
import nvae_torch_training as training
import nvae_workers
import torch


def architecture_of(values, bernoulli):
    options = ast.literal_eval(str(values["config"]))
    return nvae_torch.Architecture(
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


def load(module, values, prefix):
    """Takes over the weights; nothing may be left on either side but counters."""
    weights = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in values.items()
        # Copies of kernels that the published program keeps and does not read.
        if name.startswith(prefix) and not name.endswith("weight_normalized")
    }
    missing = module.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert all("num_batches_tracked" in name for name in missing.missing_keys)


def as_arrays(values):
    return {k: v.detach().double().numpy() for k, v in values.items()}


class Case:
    """The model with the weights of a file of reference values."""

    def __init__(self, values):
        self.values = values
        self.bernoulli = ast.literal_eval(str(values["config"]))["dataset"] == "mnist"
        self.architecture = architecture_of(values, self.bernoulli)
        self.model = nvae_torch.NVAE(self.architecture)
        count = sum(self.architecture.groups)
        self.noise = [torch.from_numpy(values[f"eps/{i}"]) for i in range(count)]
        self.x = torch.from_numpy(values["x"])

    def ready(self, train):
        load(self.model, self.values, "weights/")
        return self.model.train(train)

    def reconstruction_loss(self, logits):
        if self.bernoulli:
            return training.bernoulli_loss(self.model, logits, self.model.crop(self.x))
        return training.mixture_loss(logits, self.x)

    @torch.no_grad()
    def inference(self, layout):
        """By name of the reference value; `frozen` is a sample with kernels computed once."""
        self.model.to(memory_format=getattr(torch, layout))
        model = self.ready(train=False)
        output = model(self.x, self.noise)
        kl = torch.stack(output.kl, 1)
        weights = training.balance_weights(self.architecture.groups)
        balanced, coefficients = training.balanced_kl(kl, weights, 0.37)
        result = {
            "logits": output.logits,
            "kl": kl,
            "log_q": sum(output.log_q),
            "log_p": sum(output.log_p),
            "reconstruction_loss": self.reconstruction_loss(output.logits),
            "alpha": weights,
            "balanced_kl_at_0.37": balanced,
            "balance_coefficients": coefficients,
        }
        for temperature in (1.0, 0.7):
            name = f"sample_logits_temperature_{temperature}"
            result[name] = model.prior_logits(len(kl), temperature, self.noise)
        model.freeze_kernels()
        result["frozen"] = model.prior_logits(len(kl), 0.7, self.noise)
        model.freeze_kernels(False)
        return as_arrays(result)

    def training(self):
        """Under the names of the reference values; gradient norms by name of the parameter."""
        model = self.ready(train=True)
        model.zero_grad()
        output = model(self.x, self.noise)
        kl = torch.stack(output.kl, 1)
        loss = (self.reconstruction_loss(output.logits) + kl.sum(1)).mean()
        loss.backward()
        norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
        return as_arrays({"logits": output.logits, "kl": kl, "loss": loss}), norms

    @torch.no_grad()
    def penalties(self):
        model = self.ready(train=False)
        model.freeze_kernels()
        spectral = training.SpectralNorms(model)
        for _ in range(50):
            total = spectral.total()
        model.freeze_kernels(False)
        penalty = training.batch_norm_penalty(model)
        return len(model.convs), *map(float, (total, penalty))


class Training:
    """Sizes of the benchmarked models, the optimizer, and a few steps."""

    def sizes(self, config):
        """Numbers of parameters, convolutions and norms."""
        with torch.device("meta"):
            model = nvae_torch.NVAE(nvae_workers.torch_architecture(config))
        return sum(p.numel() for p in model.parameters()), len(model.convs), len(model.norms)

    def adamax(self):
        """Parameters after four steps of the benchmark's Adamax and of PyTorch's."""
        start = torch.linspace(-1.0, 1.0, 8)
        ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
        options = dict(lr=0.01, weight_decay=3e-4, eps=1e-3)
        sides = (training.Adamax([ours], **options), torch.optim.Adamax([theirs], **options))
        for step in range(4):
            gradient = torch.sin(torch.arange(8.0) + step)
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
            for side in sides:
                side.step()
        return ours.detach().numpy(), theirs.detach().numpy()

    def losses(self):
        """Of eight steps on one batch."""
        torch.manual_seed(0)
        torch.set_num_threads(1)
        cells = ("encoder_cells", "decoder_cells", "preprocess_cells", "postprocess_cells")
        architecture = nvae_torch.Architecture(
            groups=(1, 1), num_channels=8, **dict.fromkeys(cells, 1)
        )
        trainer = training.Trainer(architecture, channels_last=True, learning_rate=1e-2)
        images = (torch.rand(4, 1, 28, 28) < 0.3).float()
        return np.array([trainer.step(images).item() for _ in range(8)])
