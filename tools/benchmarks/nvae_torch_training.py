"""Losses, regularisation and the training step of the PyTorch NVAE (see `nvae_torch.py`)."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
import torch.nn.functional as F
from nvae_torch import NVAE, Architecture, Output
from torch import Tensor


def bernoulli_loss(model: NVAE, logits: Tensor, images: Tensor) -> Tensor:
    """-log p(x|z) in nats `[B]`, over the unpadded pixels."""
    logits = model.crop(logits)
    return F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))


def balance_weights(groups: tuple[int, ...]) -> Tensor:
    """Weights of KL balancing, coarsest group first: (2^scale)^2 / n, smallest scaled to one."""
    weights = [4.0**scale / count for scale, count in enumerate(groups) for _ in range(count)]
    return torch.tensor(weights) / min(weights)


def balanced_kl(kl: Tensor, weights: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """beta * sum_l gamma_l KL_l `[B]` for `kl [B, L]`, and gamma (one when beta is one)."""
    if beta >= 1.0:
        return kl.sum(1), torch.ones_like(weights)
    strength = (kl.detach().abs().mean(0) + 0.01) / weights
    gamma = strength * (len(weights) / strength.sum())
    return beta * (kl @ gamma), gamma


def kl_coefficient(step: int, total_steps: int) -> float:
    """Linear warm-up over the first 30 % of the steps."""
    return max(min((step - 1e-4 * total_steps) / (0.3 * total_steps), 1.0), 1e-4)


class SpectralNorms:
    """Sum of the largest singular values of all kernels, by power iteration.

    Kernels of equal flattened shape share one batched product. Four iterations a step, forty on the
    first one; the singular vectors carry over.
    """

    def __init__(self, model: NVAE) -> None:
        by_shape = defaultdict(list)
        for conv in model.convs:
            by_shape[conv.weight.flatten(1).shape].append(conv)
        self._groups = [
            (convs, self._unit(len(convs), rows), self._unit(len(convs), columns))
            for (rows, columns), convs in by_shape.items()
        ]
        self._iterations = 40

    @staticmethod
    def _unit(count: int, size: int) -> Tensor:
        return F.normalize(torch.randn(count, size), dim=1, eps=1e-3)

    @staticmethod
    def _matrix(kernel: Tensor) -> Tensor:
        # Column order is immaterial, so kernels are read in the order in which they are stored.
        if kernel.is_contiguous(memory_format=torch.channels_last):
            kernel = kernel.permute(0, 2, 3, 1)
        return kernel.flatten(1)

    def total(self) -> Tensor:
        """The sum; differentiable with respect to the kernels of the last forward pass."""
        total = torch.zeros(())
        for convs, u, v in self._groups:
            stack = torch.stack([self._matrix(conv.kernel) for conv in convs])
            self._iterate(stack.detach(), u, v)
            # u is cloned, for it is updated in place in the next step.
            total = total + (torch.bmm(u.clone()[:, None], stack)[:, 0] * v.clone()).sum()
        self._iterations = 4
        return total

    @torch.no_grad()
    def _iterate(self, stack: Tensor, u: Tensor, v: Tensor) -> None:
        for _ in range(self._iterations):
            v.copy_(F.normalize(torch.bmm(u[:, None], stack)[:, 0], dim=1, eps=1e-3))
            # A row vector times the transpose runs several times faster than a column vector.
            u.copy_(F.normalize(torch.bmm(v[:, None], stack.mT)[:, 0], dim=1, eps=1e-3))


def batch_norm_penalty(model: NVAE) -> Tensor:
    """Sum over batch-norm layers of the largest absolute scale."""
    by_size = defaultdict(list)
    for norm in model.norms:
        by_size[norm.weight.numel()].append(norm.weight)
    return sum(torch.stack(scales).abs().amax(1).sum() for scales in by_size.values())


class Adamax(torch.optim.Optimizer):
    """Adamax with the epsilon inside the maximum and L2 added to the gradient.

    Same update as `torch.optim.Adamax`; `_foreach` operations over a bounded number of elements at
    a time keep what they touch in the cache.
    """

    def __init__(self, params, lr: float = 1e-2, weight_decay: float = 3e-4, eps: float = 1e-3):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "eps": eps})
        self._step = 0
        self._chunks = []
        for group in self.param_groups:
            chunk, size = [], 0
            for param in group["params"]:
                chunk.append(param)
                size += param.numel()
                if size >= 2**15:
                    self._chunks.append((group, chunk))
                    chunk, size = [], 0
            if chunk:
                self._chunks.append((group, chunk))
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["m"] = torch.zeros_like(param)
                self.state[param]["u"] = torch.zeros_like(param)

    @torch.no_grad()
    def step(self) -> None:
        self._step += 1
        correction = 1.0 - 0.9**self._step
        for group, params in self._chunks:
            moments = [self.state[p]["m"] for p in params]
            norms = [self.state[p]["u"] for p in params]
            gradients = [p.grad for p in params]
            torch._foreach_add_(gradients, params, alpha=group["weight_decay"])
            torch._foreach_lerp_(moments, gradients, 0.1)
            torch._foreach_mul_(norms, 0.999)
            torch._foreach_abs_(gradients)
            torch._foreach_add_(gradients, group["eps"])
            torch._foreach_maximum_(norms, gradients)
            torch._foreach_addcdiv_(params, moments, norms, value=-group["lr"] / correction)


class Trainer:
    """One NVAE with its optimizer; `step(images)` is one update and returns the loss tensor."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        channels_last: bool = False,
        learning_rate: float = 1e-2,
        total_steps: int = 100_000,
        penalty: float = 1e-2,
    ) -> None:
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = NVAE(architecture).to(memory_format=self.memory_format)
        self.optimizer = Adamax(self.model.parameters(), learning_rate)
        self.spectral = SpectralNorms(self.model)
        self._weights = balance_weights(architecture.groups)
        self._penalty = penalty
        self._total_steps = total_steps
        self._step = 0
        self.forward = self.model

    def loss(self, images: Tensor, beta: float) -> Tensor:
        """Warmed-up, balanced negative ELBO plus spectral and batch-norm penalties."""
        output: Output = self.forward(self.model.pad(images))
        kl, _ = balanced_kl(torch.stack(output.kl, 1), self._weights, beta)
        nelbo = (bernoulli_loss(self.model, output.logits, images) + kl).mean()
        penalties = self.spectral.total() + batch_norm_penalty(self.model)
        return nelbo + self._penalty * penalties

    def step(self, images: Tensor) -> Tensor:
        self.model.train()
        images = images.contiguous(memory_format=self.memory_format)
        loss = self.loss(images, kl_coefficient(self._step, self._total_steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._step += 1
        return loss.detach()


def mixture_loss(logits: Tensor, images: Tensor, top_threshold: float = 0.99) -> Tensor:
    """-log p(x|z) `[B]` of 8-bit RGB images in [0, 1] under ten discretised logistics.

    Not part of the benchmark: completes the proof that the network is the published one.
    """
    batch, _, height, width = logits.shape
    x = (2.0 * images - 1.0)[:, :, None]
    log_mixture = torch.log_softmax(logits[:, :10], dim=1)
    means, log_scales, coefficients = (
        logits[:, 10:].reshape(batch, 3, 3, 10, height, width).unbind(2)
    )
    log_scales, coefficients = log_scales.clamp(min=-7.0), torch.tanh(coefficients)
    green = means[:, 1] + coefficients[:, 0] * x[:, 0]
    blue = means[:, 2] + coefficients[:, 1] * x[:, 0] + coefficients[:, 2] * x[:, 1]
    centred = x - torch.stack((means[:, 0], green, blue), dim=1)
    inverse = torch.exp(-log_scales)
    upper, lower = inverse * (centred + 1.0 / 255), inverse * (centred - 1.0 / 255)
    probability = torch.sigmoid(upper) - torch.sigmoid(lower)
    middle = inverse * centred
    density = middle - log_scales - 2.0 * F.softplus(middle) - math.log(127.5)
    interior = torch.where(probability > 1e-5, probability.clamp(min=1e-10).log(), density)
    edge_or_interior = torch.where(x > top_threshold, -F.softplus(lower), interior)
    log_probability = torch.where(x < -0.999, upper - F.softplus(upper), edge_or_interior)
    per_component = log_mixture + log_probability.sum(1)
    return -torch.logsumexp(per_component, dim=1).sum((1, 2))
