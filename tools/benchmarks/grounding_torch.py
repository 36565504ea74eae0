"""Phrase grounding and its training step in PyTorch, the peer of `grounding.py`.

Written from the equations for this comparison, as one would write them in PyTorch today.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_side import Trained, tensors_of


class Projection(nn.Module):
    """Dense layers, with batch norm and ReLU between them."""

    def __init__(self, width: int, dims: int, num_layers: int) -> None:
        super().__init__()
        self.last = num_layers - 1
        for number in range(num_layers):
            units = dims if number == self.last else width
            self.add_module(f"dense_{number}", nn.Linear(width, units))
            if number < self.last:
                self.add_module(f"norm_{number}", nn.BatchNorm1d(width, eps=1e-5, momentum=0.1))

    def forward(self, x: Tensor) -> Tensor:
        shape, x = x.shape, x.flatten(0, 1)
        for number in range(self.last):
            x = getattr(self, f"dense_{number}")(x)
            x = F.relu(getattr(self, f"norm_{number}")(x), inplace=True)
        return getattr(self, f"dense_{self.last}")(x).unflatten(0, shape[:2])


class Grounding(nn.Module):
    """Losses of regions `[B, M, .]`, words `[B, T, .]` and negatives `[B, 1 + N, .]`."""

    def __init__(self, region_dims: int, word_dims: int, dims: int, num_layers: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(dims)
        self.region_key = Projection(region_dims, dims, num_layers)
        self.region_value = Projection(region_dims, dims, num_layers)
        self.word_query = Projection(word_dims, dims, num_layers)
        self.word_value = Projection(word_dims, dims, num_layers)

    def forward(self, regions: Tensor, words: Tensor, negatives: Tensor) -> Tensor:
        keys, values = self.region_key(regions), self.region_value(regions)
        return self.image_loss(keys, values, words) + self.language_loss(keys, values, negatives)

    def image_loss(self, keys: Tensor, values: Tensor, words: Tensor) -> Tensor:
        (size, number, _), regions = words.shape, keys.shape[1]
        asked = self.word_query(words).flatten(0, 1) @ keys.flatten(0, 1).T  # [B T, B M]
        products = self.word_value(words).flatten(0, 1) @ values.flatten(0, 1).T
        attention = (self.scale * asked).unflatten(1, (size, regions)).softmax(-1)
        logits = (attention * products.unflatten(1, (size, regions))).sum(-1)  # [B T, B]
        return F.cross_entropy(logits, torch.arange(size).repeat_interleave(number))

    def language_loss(self, keys: Tensor, values: Tensor, negatives: Tensor) -> Tensor:
        asked = self.word_query(negatives) @ keys.mT
        attention = (self.scale * asked).softmax(-1)
        logits = (attention * (self.word_value(negatives) @ values.mT)).sum(-1)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


class Peer(Trained):
    """The model and its training step.

    Args:
        layout: features are rows, so that there is one only.
        threads: of PyTorch.
        options: keyword arguments of `Grounding`.
        weights: arrays by the name of the module.
        batch: arrays of features.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        layout: str,
        threads: int,
        options: Mapping[str, int],
        weights: Mapping[str, Sequence[np.ndarray]],
        batch: Mapping[str, np.ndarray],
        learning_rate: float,
    ) -> None:
        super().__init__(threads)
        self.net = Grounding(**options).train()
        self.copy(self.net, weights)
        self.batch = tensors_of(batch)
        parameters = self.net.parameters()
        self.optimizer = torch.optim.Adam(parameters, learning_rate, eps=1e-7, fused=True)
