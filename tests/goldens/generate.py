"""Writes the golden outputs of every shipped preset: what `test_goldens.py` compares with.

python tests/goldens/generate.py [PRESET ...]

Run it only for a new preset, or where outputs change on purpose; say so in the changelog. One npz
per preset, all with `images` (fixed, uniform bits or grey levels). Of generators: `seeds` [4],
`samples` and `cool_samples` (temperature 0.7) of these, of the images `reconstructions`, `nelbo`,
`kl` [4], `kl_per_group` [4, L] and the mean and standard deviation of every latent group (`latents`
[L, 2]). Of detectors: `probabilities` [4, C], `score_NAME` [4] of every score, `threshold`. Of a
model of phrase grounding: `token_ids`, and of these `attention` [4, T, M] and `scores` [4, T]. Of a
classifier: 16 images and what it answers to `predict`.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from tfgen.generative import Generator

FOLDER = pathlib.Path(__file__).resolve().parent
SEEDS = np.array([0, 1, 2**20, 2**31 - 1], np.int32)


def outputs(model) -> dict[str, np.ndarray]:
    """What a preset makes of fixed seeds and fixed images."""
    if hasattr(model, "ground"):
        return of_grounding(model)
    if hasattr(model, "accepts"):
        return of_detector(model)
    return of_generator(model) if isinstance(model, Generator) else answers(model)


def of_grounding(model) -> dict[str, np.ndarray]:
    """Attention and scores of fixed pictures and captions."""
    given = model.signatures()["ground_image"].example(len(SEEDS), 20261129)
    found = model(given)
    return {**given, "attention": found.attention.numpy(), "scores": found.logits.numpy()}


def of_detector(model) -> dict[str, np.ndarray]:
    """All scores of fixed images, the served probabilities, and the threshold."""
    rng = np.random.default_rng(20261129)
    images = (rng.integers(0, 256, (len(SEEDS), *model.image_shape)) / 255).astype(np.float32)
    served = model.signatures()["score"].function(images)
    known = [name for name in model.scores if name not in model.unfitted]
    scores = {f"score_{name}": model.ood_score(images, name) for name in known}
    probabilities = np.asarray(served["probabilities"])
    threshold = np.asarray(model.threshold)
    return {"images": images, "probabilities": probabilities, "threshold": threshold, **scores}


def of_generator(model) -> dict[str, np.ndarray]:
    """Samples of fixed seeds, and what is made of fixed images."""
    rng = np.random.default_rng(20261129)
    binary = (
        model.image_shape[-1] == 1 and getattr(model, "vae", model).image_decoder.kind != "normal"
    )
    shape = (len(SEEDS), *model.image_shape)
    images = rng.integers(0, 2, shape) if binary else rng.integers(0, 256, shape) / 255
    images = images.astype(np.float32)
    bound = model.negative_elbo(images, SEEDS)
    latents = model.encode(images, SEEDS)
    return {
        "seeds": SEEDS,
        "samples": np.asarray(model.generate_from_seeds(SEEDS, 1.0)),
        "cool_samples": np.asarray(model.generate_from_seeds(SEEDS, 0.7)),
        "images": images,
        "reconstructions": np.asarray(model.reconstruct(images, SEEDS)),
        "nelbo": np.asarray(bound["nelbo"]),
        "kl": np.asarray(bound["kl"]),
        "kl_per_group": np.asarray(model.kl_per_group(images, SEEDS)),
        "latents": np.array([[np.mean(z), np.std(z)] for z in latents.values()], np.float32),
    }


def answers(model) -> dict[str, np.ndarray]:
    """What a preset that is served `predict` says of examples of its own."""
    signature = model.signatures()["predict"]
    example = signature.example(16, 20261129)
    found = signature.function(**{k: tf.constant(v) for k, v in example.items()})
    return example | {name: np.asarray(value) for name, value in found.items()}


def main(names) -> None:
    """Writes one file per preset."""
    import tfgen
    from tfgen.systems import presets

    for name in names or presets.list_presets():
        np.savez_compressed(FOLDER / f"{name}.npz", **outputs(tfgen.from_preset(name)))
        print(FOLDER / f"{name}.npz")


if __name__ == "__main__":
    main(sys.argv[1:])
