"""Standard normals of one generator: the peer of `random_rows.py`, in its own process."""

from __future__ import annotations

import torch
from timing import Timed


class Peer(Timed):
    """`[num_seeds, size]` numbers, without seeds."""

    def __init__(self, num_seeds: int, size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._shape = num_seeds, size

    def step(self) -> None:
        torch.randn(self._shape)
