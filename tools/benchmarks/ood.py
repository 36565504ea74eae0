"""Multi-task out-of-distribution detection against an equivalent PyTorch training step.

    python tools/benchmarks/ood.py --config small_cnn resnet18 --threads 2

A step is one of `MultiTaskOOD` with classes, rotation and translation: every image in eight copies
through the backbone, the heads of both tasks, all losses, SGD with Nesterov momentum. Both sides
have the same weights; see `turns.py` for how they are compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turns import LAYOUTS, Tfgen, compare, parser, run, tfgen_side, torch_sides

HERE = Path(__file__).resolve().parent
# Backbones: that of `configs/ood/cifar10.py:cpu`, a ResNet-18 of a quarter of the width, and the
# paper's.
CONFIGS: dict[str, dict[str, Any]] = {
    "small_cnn": {"name": "small_cnn", "widths": (16, 32, 32, 64), "strides": (1, 2, 1, 2)},
    "resnet18": {"name": "resnet18", "width": 16},
    "resnet18_paper": {"name": "resnet18", "width": 64},
}
IMAGE_SHAPE, NUM_CLASSES = (32, 32, 3), 10
SHIFT = 8  # pixels of a translation
MEAN, STD = 0.5, 0.25
SGD = dict(learning_rate=0.05, momentum=0.9, weight_decay=5e-4)


def random_batch(size: int) -> dict[str, Any]:
    """Images `[B, H, W, C]` in [0, 1] with labels; random ones take the same time."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.random((size, *IMAGE_SHAPE), dtype=np.float32)
    return {"images": images, "labels": rng.integers(0, NUM_CLASSES, size).astype(np.int32)}


class Ours(Tfgen):
    """The model of a configuration.

    Args:
        config: one of `CONFIGS`.
        batch_size: images before they are transformed.
    """

    def __init__(self, config: str, batch_size: int) -> None:
        import tfgen

        axes = {"name": "translation", "pairs": "axes", "joint": True, "shift": SHIFT}
        self.model = tfgen.MultiTaskOOD(
            dict(CONFIGS[config]),
            ["rotation", axes],
            IMAGE_SHAPE,
            num_classes=NUM_CLASSES,
            mean=MEAN,
            std=STD,
        )
        self.model.compile(tfgen.optimizers.SGD(**SGD))
        self.batch = random_batch(batch_size)

    def weights(self) -> dict[str, list]:
        """Arrays of every layer with weights, by its name."""
        network = self.model.network
        heads = (*network.ssl.values(), *network.supervised.values())
        layers = [network.main, *network.backbone.layers, *(x for h in heads for x in h.layers)]
        return {layer.name: layer.get_weights() for layer in layers if layer.weights}

    def loss(self) -> float:
        return float(self.model.training_loss(self.model.batch_of(dict(self.batch))).loss)


def measure(config: str, arguments) -> dict[str, Any]:
    """The row of a configuration."""
    threads, size = arguments.threads, arguments.batch_size
    with tfgen_side(__file__, config, size) as ours:
        peers = torch_sides(
            HERE / "ood_torch.py",
            LAYOUTS,
            CONFIGS[config],
            ours.call("weights"),
            random_batch(size),
            (MEAN, STD, SHIFT),
            SGD,
            threads=threads,
        )
        case = dict(benchmark="ood", case=f"training step, {config}", batch_size=size)
        return compare(ours, peers, arguments, **case)


if __name__ == "__main__":
    run("ood.py", measure, parser(__doc__, CONFIGS, 32).parse_args())
