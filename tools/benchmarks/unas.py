"""UNAS's search step against an equivalent PyTorch supernet.

    python tools/benchmarks/unas.py --config small medium --threads 2

A step is that of the paper's search on CIFAR-10: an architecture for every image, relaxed and
discrete; training and validation images through both; the gradient of the shared weights, clipped,
and UNAS's gradient of the logits; Adam for both. Both sides have the same supernet with the same
weights and run every operation; see `turns.py` for how they are compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turns import LAYOUTS, Tfgen, compare, parser, run, tfgen_side, torch_sides

HERE = Path(__file__).resolve().parent
# Of `CellSupernet`; the last is the paper's.
CONFIGS: dict[str, dict[str, Any]] = {
    "small": dict(num_channels=16, num_cells=3, num_nodes=2),
    "medium": dict(num_channels=16, num_cells=5),
    "cifar10": dict(num_channels=16, num_cells=8),
}
IMAGE_SHAPE, NUM_CLASSES = (32, 32, 3), 10
# Of `UNAS`, and learning rates of weights and logits.
SEARCH = dict(temperature=0.4, gap_coefficient=0.5, duplicate_coefficient=0.2, clip_norm=5.0)
PENALTIES = dict(weight_penalty=3e-4, logit_penalty=1e-6)
RATES = dict(weights=6e-4, architecture=2e-3)


def supernet_options(config: str) -> dict[str, Any]:
    """Keyword arguments of the supernet, the same for both sides."""
    return dict(CONFIGS[config], num_classes=NUM_CLASSES, skip_below=0.0)


def random_batch(size: int) -> dict[str, Any]:
    """Images of both halves, `[N, H, W, C]` in [0, 1], with labels; random takes the same time."""
    import numpy as np

    rng = np.random.default_rng(0)
    found = {}
    for kind in ("", "validation_"):
        found[f"{kind}images"] = rng.random((size, *IMAGE_SHAPE), dtype=np.float32)
        found[f"{kind}labels"] = rng.integers(0, NUM_CLASSES, size).astype(np.int32)
    return found


class Ours(Tfgen):
    """The search of a configuration.

    Args:
        config: one of `CONFIGS`.
        batch_size: images of each half.
    """

    def __init__(self, config: str, batch_size: int) -> None:
        from tfgen.optimizers import Adam
        from tfgen.search.unas import UNAS
        from tfgen.training import JointOptimizer

        supernet = {"name": "cells", "image_shape": IMAGE_SHAPE, **supernet_options(config)}
        self.model = UNAS(supernet, **SEARCH, **PENALTIES)
        self.model.compile(JointOptimizer({part: Adam(rate) for part, rate in RATES.items()}))
        self.batch = random_batch(batch_size)

    def weights(self) -> dict[str, list]:
        """Arrays of every layer with weights, by its name."""
        layers = self.model.supernet._flatten_layers()
        return {layer.name: layer.get_weights() for layer in layers if _has_own_weights(layer)}

    def uniforms(self) -> dict[str, Any]:
        """Noise of architectures, `[N, factors, choices]` by group."""
        import numpy as np

        rng, size = np.random.default_rng(1), len(self.batch["images"])
        groups = self.model.distribution.groups
        return {k: rng.random((size, *shape), dtype=np.float32) for k, shape in groups.items()}

    def loss(self) -> float:
        """The cross-entropy of the training images under relaxed architectures of `uniforms`."""
        import tensorflow as tf

        from tfgen.search.unas.weights import put_back, running_statistics, values_of

        statistics = values_of(running_statistics(self.model.supernet))
        relaxed = self.model.distribution.draw(self.uniforms()).relaxed
        images, labels = self.model._half(self.model.batch_of(dict(self.batch)))
        losses = self.model._cross_entropies(images, tf.cast(labels, tf.int32), relaxed)
        put_back(statistics)
        return float(tf.reduce_mean(losses))

    def estimate(self) -> dict[str, Any]:
        """UNAS's gradient of the logits for `uniforms`, by group."""
        distribution = self.model.distribution
        sample = distribution.sample
        distribution.sample = lambda *_, **__: distribution.draw(self.uniforms())
        try:
            _, gradients = self.model.compute_gradients(self.model.batch_of(dict(self.batch)))
        finally:
            distribution.sample = sample
        found = {id(v): g for v, g in zip(self.model.trainable_variables, gradients)}
        return {key: found[id(v)].numpy() for key, v in distribution.logits.items()}


def _has_own_weights(layer) -> bool:
    import keras

    return bool(layer.weights) and not isinstance(layer, keras.Model)


def measure(config: str, arguments) -> dict[str, Any]:
    """The row of a configuration."""
    threads, size = arguments.threads, arguments.batch_size
    with tfgen_side(__file__, config, size) as ours:
        peers = torch_sides(
            HERE / "unas_torch.py",
            LAYOUTS,
            supernet_options(config),
            ours.call("weights"),
            random_batch(size),
            ours.call("uniforms"),
            {**SEARCH, **PENALTIES},
            RATES,
            threads=threads,
        )
        case = dict(benchmark="unas", case=f"search step, {config}", batch_size=size)
        return compare(ours, peers, arguments, **case)


if __name__ == "__main__":
    run("unas.py", measure, parser(__doc__, CONFIGS, 32).parse_args(), small_operations=True)
