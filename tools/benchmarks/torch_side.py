"""What the sides of PyTorch in unas_torch, ood_torch and grounding_torch have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from timing import Timed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_Norm = nn.BatchNorm1d | nn.BatchNorm2d
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def tensors_of(batch: Mapping[str, np.ndarray], layout: str = "NCHW") -> dict[str, Tensor]:
    """Arrays as tensors: of four axes `[N, H, W, C]` as `[N, C, H, W]`, integers as int64."""
    found = {}
    for name, array in batch.items():
        if array.ndim == 4:
            array = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        tensor = torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "i" else array)
        if tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=LAYOUTS[layout])
        found[name] = tensor
    return found


class TorchSide(Timed):
    """A model that is trained, with weights from tfgen.

    Args:
        threads: of PyTorch.
    """

    layouts = LAYOUTS

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)

    def version(self) -> str:
        return f"PyTorch {torch.__version__}"

    @staticmethod
    def copy(net: nn.Module, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Gives every module the arrays of the Keras layer of its name, dots being underscores.

        Raises:
            KeyError: there are none, or some are left over.
        """
        left = dict(weights)
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear | _Norm):
                _copy(module, left.pop(name.replace(".", "_")))
        if left:
            raise KeyError(f"no modules for {sorted(left)}")

    @staticmethod
    @contextlib.contextmanager
    def unmoved(net: nn.Module) -> Iterator[None]:
        """Puts statistics of batch norms back."""
        before = {name: value.clone() for name, value in net.named_buffers()}
        try:
            yield
        finally:
            for name, value in net.named_buffers():
                value.copy_(before[name])

    @staticmethod
    def counted(run: Callable[[], object]) -> float:
        """1e9 operations of the matrix products and convolutions of what is run."""
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 1e9


class Trained(TorchSide):
    """One network, `net`, whose answer to `batch` is the loss that `optimizer` lowers."""

    net: nn.Module
    batch: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer

    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    def loss(self) -> float:
        with torch.no_grad(), self.unmoved(self.net):
            return float(self.net(**self.batch))

    def gflop(self) -> float:
        with self.unmoved(self.net):
            return self.counted(self.gradients)

    def gradients(self) -> Tensor:
        """The loss, once it is differentiated."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.net(**self.batch)
        loss.backward()
        return loss

    def step(self) -> Tensor:
        loss = self.gradients()
        self.optimizer.step()
        return loss.detach()


def _copy(module: nn.Module, arrays: Sequence[np.ndarray]) -> None:
    first, *others = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    with torch.no_grad():
        if isinstance(module, _Norm):
            own = [module.running_mean, module.running_var]
            for tensor, value in zip(
                [module.weight, module.bias, *own] if module.affine else own, [first, *others]
            ):
                tensor.copy_(value)
            return
        if isinstance(module, nn.Linear):
            module.weight.copy_(first.T)
        else:  # [h, w, in, out], or [h, w, out, 1] of depthwise ones
            order = (3, 2, 0, 1) if module.groups == 1 else (2, 3, 0, 1)
            module.weight.copy_(first.permute(order))
        if others:
            module.bias.copy_(others[0])
