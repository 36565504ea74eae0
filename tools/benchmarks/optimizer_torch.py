"""Fromage by PyTorch's multi-tensor operations: the peer of `optimizer.py`, in its own process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from timing import Timed


class Peer(Timed):
    """Parameters that one step after the other moves along the same gradients.

    Args:
        rate: learning rate.
        parameters: arrays.
        gradients: arrays like the parameters.
        threads: of PyTorch.
    """

    def __init__(
        self,
        rate: float,
        parameters: Sequence[np.ndarray],
        gradients: Sequence[np.ndarray],
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self._rate = rate
        self._parameters = [torch.tensor(p) for p in parameters]
        self._gradients = [torch.tensor(g) for g in gradients]

    def step(self) -> None:
        rate, keep = self._rate, 1.0 / (1.0 + self._rate**2) ** 0.5
        parameter_norms = torch.stack(torch._foreach_norm(self._parameters))
        gradient_norms = torch.stack(torch._foreach_norm(self._gradients))
        both = (parameter_norms > 0) & (gradient_norms > 0)
        ratios = torch.where(both, parameter_norms / gradient_norms, 1.0)
        steps = torch._foreach_mul(self._gradients, (-rate * keep * ratios).tolist())
        torch._foreach_mul_(self._parameters, keep)
        torch._foreach_add_(self._parameters, steps)

    def values(self) -> list[np.ndarray]:
        return [p.numpy() for p in self._parameters]
