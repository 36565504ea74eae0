"""Phrase grounding against an equivalent PyTorch training step: time and memory.

    python tools/benchmarks/grounding.py --threads 2

A step is the paper's: 50 captions with their images, 30 regions each, negative images and for a
noun of every caption 25 negative words; both losses, Adam. Neither side ever forms the averaged
values of every word with every image. Both have the same weights; see `turns.py` for how they are
compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turns import Tfgen, compare, parser, run, tfgen_side, torch_sides

HERE = Path(__file__).resolve().parent
# Of `PhraseGrounding`: features of scenes that are learnt along, and the paper's of detector and
# BERT.
CONFIGS: dict[str, dict[str, int]] = {
    "small": dict(region_dims=256, word_dims=128, dims=64, num_layers=2),
    "paper": dict(region_dims=2048, word_dims=768, dims=384, num_layers=2),
}
NUM_REGIONS, NUM_WORDS, NUM_NEGATIVES = 30, 12, 25
LEARNING_RATE = 1e-5


def random_batch(options: dict[str, int], size: int) -> dict[str, Any]:
    """Features of regions, words and negatives; random ones take the same time."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {
        "regions": (NUM_REGIONS, options["region_dims"]),
        "words": (NUM_WORDS, options["word_dims"]),
        "negatives": (1 + NUM_NEGATIVES, options["word_dims"]),
    }
    return {k: rng.standard_normal((size, *s)).astype(np.float32) for k, s in shapes.items()}


class Ours(Tfgen):
    """The model of a configuration.

    Args:
        config: one of `CONFIGS`.
        batch_size: captions.
    """

    def __init__(self, config: str, batch_size: int) -> None:
        import tfgen

        self.model = tfgen.PhraseGrounding(num_regions=NUM_REGIONS, **CONFIGS[config])
        self.model.build()
        self.model.compile(tfgen.optimizers.Adam(LEARNING_RATE))
        self.batch = random_batch(CONFIGS[config], batch_size)

    def weights(self) -> dict[str, list]:
        """Arrays of every dense layer and every norm, by the names of its network and its own."""
        found = {}
        for name, network in self.model._networks.items():
            for number, dense in enumerate((*network.hidden, network.last)):
                found[f"{name}_dense_{number}"] = dense.get_weights()
            for number, norm in enumerate(network.norms):
                parts = ("gamma", "beta", "mean", "variance")
                found[f"{name}_norm_{number}"] = [norm[part].numpy() for part in parts]
        return found

    def loss(self) -> float:
        return float(self.model.training_loss(self.model.batch_of(dict(self.batch))).loss)


def measure(config: str, arguments) -> dict[str, Any]:
    """The row of a configuration."""
    threads, size = arguments.threads, arguments.batch_size
    with tfgen_side(__file__, config, size) as ours:
        peers = torch_sides(
            HERE / "grounding_torch.py",
            ("rows",),
            CONFIGS[config],
            ours.call("weights"),
            random_batch(CONFIGS[config], size),
            LEARNING_RATE,
            threads=threads,
        )
        case = dict(benchmark="grounding", case=f"training step, {config}", batch_size=size)
        return compare(ours, peers, arguments, **case)


if __name__ == "__main__":
    run("grounding.py", measure, parser(__doc__, CONFIGS, 50).parse_args())
