"""The two sides of `nvae.py`, each a process of its own that times what its parent asks for.

Separate processes make peak memory attributable, and because a worker sleeps on its pipe until
asked, the parent can let the two take turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import KEEP_FREED_MEMORY, as_the_binaries_do, share_cores_as_the_binaries_do
from process import Process
from timing import peak_gib

HERE = Path(__file__).resolve().parent
BATCH_SIZE = 16
LEARNING_RATE = 1e-4  # any value takes the same time; this one keeps activations ordinary
TOTAL_STEPS = 100_000  # so that KL warm-up and balancing are at work

# Keyword arguments of `tfgen.NVAE`; its defaults are the MNIST recipe.
CONFIGS: dict[str, dict[str, Any]] = {
    "mnist": {
        "num_channels": 32,
        "num_scales": 2,
        "num_groups": 10,
        "ada_groups": True,
        "encoder_cells": 2,
        "decoder_cells": 2,
        "preprocess_cells": 3,
        "postprocess_cells": 3,
    },
    "cpu": {
        "num_channels": 16,
        "num_scales": 2,
        "num_groups": 2,
        "ada_groups": False,
        "encoder_cells": 2,
        "decoder_cells": 2,
        "preprocess_cells": 2,
        "postprocess_cells": 2,
    },
}


def binary_images(layout: str) -> Any:
    """A fixed random batch of binary 28x28 images, float32, "NHWC" or "NCHW"."""
    import numpy as np

    images = np.random.default_rng(0).random((BATCH_SIZE, 28, 28, 1)) < 0.3
    images = images.astype(np.float32)
    return images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


class TorchSide:
    """The PyTorch peer. `options`: `channels_last`, `compile`, `threads`."""

    def __init__(self, config: str, options: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(options["threads"])
        import nvae_torch_training as training

        self.baseline_gib = peak_gib()
        torch.manual_seed(0)
        self._trainer = training.Trainer(
            torch_architecture(config),
            channels_last=options["channels_last"],
            learning_rate=LEARNING_RATE,
            total_steps=TOTAL_STEPS,
        )
        if options["compile"]:
            compile_cells(self._trainer.model)
        self._images, self._threads = torch.from_numpy(binary_images("NCHW")), options["threads"]
        self.parameters = sum(p.numel() for p in self._trainer.model.parameters())
        self.info = {"version": f"PyTorch {torch.__version__}"}

    def train(self) -> float:
        return self._trainer.step(self._images).item()

    def prepare_sampling(self, fixed: bool, parts: bool) -> None:
        """Evaluation mode; `fixed` computes the weight-normalised kernels once, not per call;
        `parts` makes images side by side, one thread each."""
        self._trainer.model.eval()
        self._trainer.model.freeze_kernels(fixed)
        self._parts = parts

    def sample(self) -> None:
        from torch_parts import side_by_side

        sample = self._trainer.model.sample
        if self._parts:
            side_by_side(lambda rows: sample(rows.stop - rows.start), BATCH_SIZE, self._threads)
        else:
            sample(BATCH_SIZE)


class TfgenSide:
    """tfgen. `options`: `threads`, `recompute`."""

    def __init__(self, config: str, options: dict[str, Any]) -> None:
        share_cores_as_the_binaries_do(options["threads"], small_operations=True)
        import tensorflow as tf

        import tfgen

        # Touched here, for the package loads its parts when they are first used.
        model_class, optimizer_class = tfgen.NVAE, tfgen.optimizers.Adamax
        self.baseline_gib = peak_gib()
        self._model = model_class(
            **CONFIGS[config], total_steps=TOTAL_STEPS, recompute=options["recompute"]
        )
        optimizer = optimizer_class(LEARNING_RATE, epsilon=1e-3, weight_decay=3e-4)
        self._model.compile(optimizer=optimizer)
        batch = {"images": tf.constant(binary_images("NHWC"))}
        self._data = tf.data.Dataset.from_tensors(batch).repeat()
        self._batches = None
        self._sampler = self._model
        self.info = {"version": f"TensorFlow {tf.__version__}"}

    @property
    def parameters(self) -> int:
        return sum(int(v.shape.num_elements()) for v in self._model.trainable_variables)

    def train(self) -> float:
        if self._batches is None:
            # `fit` builds and traces; its compiled step is then called as `fit` calls it.
            history = self._model.fit(self._data, steps_per_epoch=1, shuffle=False, verbose=0)
            self._batches = iter(self._data)
            return float(history.history["loss"][0])
        return float(self._model.train_function(self._batches)["loss"])

    def prepare_sampling(self, fixed: bool, parts: bool) -> None:
        """`fixed` folds weight norm and batch norm into the kernels, once."""
        self._sampler = self._model.frozen() if fixed else self._model

    def sample(self) -> None:
        self._sampler.sample(BATCH_SIZE)


def compile_cells(model: Any) -> None:
    """torch.compile for every residual cell.

    Cells of equal shape share their code, so the wait does not grow with the number of groups as it
    would for the whole model.
    """
    import torch
    from nvae_torch_layers import Cell

    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.accumulated_recompile_limit = 4096
    for module in model.modules():
        if isinstance(module, Cell):
            module.compile(dynamic=False)


def torch_architecture(config: str) -> Any:
    """The same architecture for the PyTorch model, whose `groups` are listed coarsest first."""
    from nvae_torch import Architecture

    kwargs = dict(CONFIGS[config])
    groups = [kwargs.pop("num_groups")]
    halve = kwargs.pop("ada_groups")
    for _ in range(kwargs.pop("num_scales") - 1):
        groups.insert(0, max(1, groups[0] // 2) if halve else groups[0])
    return Architecture(groups=tuple(groups), **kwargs)


def convolution_gflop(config: str) -> dict[str, float]:
    """1e9 operations of the convolutions of one forward pass, by kind."""
    import nvae_torch

    return nvae_torch.convolution_gflop(torch_architecture(config), BATCH_SIZE)


SIDES = {"torch": TorchSide, "tfgen": TfgenSide}


def _timed(run: Callable[[], Any], count: int) -> tuple[list[float], Any]:
    seconds, result = [], None
    for _ in range(count):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return seconds, result


class Measured:
    """A side in its process: does what it is asked, and says how long it took and its peak."""

    def __init__(self, side: str, config: str, options: dict[str, Any]) -> None:
        self._config = config
        self._side = SIDES[side](config, options)

    def ask(
        self, what: str, count: int = 1, fixed: bool = False, parts: bool = False
    ) -> dict[str, Any]:
        """Answers "info", "train", "count_convolutions", "prepare_sampling", "sample", "peak"."""
        side, answer = self._side, {}
        if what == "info":
            answer = {"baseline_gib": side.baseline_gib, **side.info}
        elif what == "train":
            answer["seconds"], answer["loss"] = _timed(side.train, count)
            answer["parameters"] = side.parameters
        elif what == "count_convolutions":
            answer["gflop"] = convolution_gflop(self._config)
        elif what == "prepare_sampling":
            side.prepare_sampling(fixed, parts)
        elif what == "sample":
            answer["seconds"], _ = _timed(side.sample, count)
        return {**answer, "peak_gib": peak_gib()}


class Worker:
    """A side in its own process, as the parent sees it."""

    def __init__(
        self, side: str, config: str, threads: int, label: str | None = None, **options: Any
    ) -> None:
        self.side, self.label = side, label or side
        as_the_binaries_do()
        environment = {
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": str(threads),
            **KEEP_FREED_MEMORY,
        }
        self._process = Process(
            Path(__file__).resolve(),
            "Measured",
            side,
            config,
            {"threads": threads, **options},
            python=sys.executable if side == "tfgen" else None,
            environment=environment,
        )
        self.info = self.ask("info")

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Sends one request and waits for its answer."""
        return self._process.call("ask", what, **arguments)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def take_turns(workers: list[Worker], what: str, rounds: int, count: int) -> dict[str, list[float]]:
    """Seconds of every step by label; the workers alternate, `count` steps at a time."""
    seconds: dict[str, list[float]] = {worker.label: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            time.sleep(0.05)  # idle threads of the other side stop spinning
            seconds[worker.label] += worker.ask(what, count=count)["seconds"]
    return seconds
