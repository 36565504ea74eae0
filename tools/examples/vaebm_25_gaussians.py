r"""VAEBM where it can be seen: 25 Gaussians on a grid, a small VAE, and the energy that mends it.

    python tools/examples/vaebm_25_gaussians.py --output=vaebm_25_gaussians.png

A two-group NVAE over points (images of one pixel and two channels) covers all modes and puts much
of its mass between them. The energy takes that away. Prints, before and after, how many modes are
kept and which fraction of samples lies within three standard deviations of one.
"""

import argparse
import time

import numpy as np
import tensorflow as tf

import tfgen

GRID = np.linspace(0.1, 0.9, 5)  # in [0, 1], as images are
MODES = np.array([(x, y) for x in GRID for y in GRID])
DEVIATION = 0.01


def points(num_points: int, seed: int = 0) -> np.ndarray:
    """Draws of the mixture as images `[N, 1, 1, 2]`."""
    rng = np.random.default_rng(seed)
    draws = MODES[rng.integers(0, len(MODES), num_points)]
    draws = draws + DEVIATION * rng.standard_normal(draws.shape)
    return draws.astype(np.float32).reshape(-1, 1, 1, 2)


def quality(samples: np.ndarray) -> dict[str, float]:
    """Modes with at least a tenth of their share, and the fraction within 3 deviations of one."""
    flat = samples.reshape(-1, 2)
    distances = np.linalg.norm(flat[:, None] - MODES, axis=-1)
    near = distances.min(axis=1) < 3 * DEVIATION
    counts = np.bincount(distances.argmin(axis=1)[near], minlength=len(MODES))
    share = len(flat) / len(MODES)
    return {"modes": int(np.sum(counts > 0.1 * share)), "within_3_sigma": float(np.mean(near))}


def train_vae(num_steps: int, batch_size: int = 256, seed: int = 0) -> tfgen.NVAE:
    """A VAE of two latent groups."""
    vae = tfgen.NVAE(
        image_shape=(1, 1, 2),
        decoder="normal",
        padding=0,
        num_channels=32,
        num_scales=1,
        num_groups=2,
        latent_channels=2,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=0,
        postprocess_blocks=0,
        architecture="res_bnswish",
        squeeze_excite=False,
        spectral_coefficient=0.0,
        kl_balance=None,
        total_steps=num_steps,
        seed=seed,
    )
    vae.compile(tfgen.optimizers.Adamax(tfgen.training.WarmupCosine(5e-3, 100, num_steps, 1)))
    fit(vae, num_steps, batch_size, seed)
    return vae


def train_vaebm(vae: tfgen.NVAE, num_steps: int, batch_size: int = 256, seed: int = 0):
    """The energy over it."""
    model = tfgen.VAEBM(
        vae,
        dict(architecture=[[1, False], [1, False]], num_channels=64),
        num_steps=20,
        sample_steps=60,
        step_size=0.02,
        output="sample",
        spectral_coefficient=0.0,
        energy_coefficient=0.01,
        buffer_size=10_000,
        replay_anneal_steps=num_steps // 4,
        seed=seed,
    )
    rate = tfgen.training.WarmupCosine(1e-3, 50, num_steps, 1)
    model.compile(tfgen.optimizers.ClippedAdam(rate, 0.9, use_ema=True, ema_momentum=0.99))
    fit(model, num_steps, batch_size, seed + 1)
    return model


def fit(model, num_steps, batch_size, seed):
    """Steps over fresh batches."""
    data = tf.data.Dataset.from_tensor_slices({"images": points(batch_size * 400, seed)})
    data = data.batch(batch_size, drop_remainder=True).cache().repeat()
    model.fit(data, steps_per_epoch=num_steps, epochs=1, verbose=0)


def run(vae_steps: int, energy_steps: int, num_samples: int = 5000, seed: int = 0) -> dict:
    """Trains both and measures.

    Returns:
        `vae` and `vaebm`, each the results of `quality` and the `samples`.
    """
    vae = train_vae(vae_steps, seed=seed)
    model = train_vaebm(vae, energy_steps, seed=seed)
    alone = tfgen.VAEBM(vae, model.energy, sample_steps=0, output="sample")
    with tfgen.training.averaged_weights(model):
        after = model.sample(num_samples, batch_size=1000)
    results = {}
    for name, samples in (("vae", alone.sample(num_samples, batch_size=1000)), ("vaebm", after)):
        results[name] = {**quality(samples), "samples": samples.reshape(-1, 2)}
    return results


def draw(results: dict, path: str) -> None:
    """Data, VAE and VAEBM side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), sharex=True, sharey=True)
    panels = [("data", points(3000).reshape(-1, 2), None)]
    panels += [(name.upper(), r["samples"][:3000], r) for name, r in results.items()]
    for axis, (title, xy, result) in zip(axes, panels):
        axis.plot(xy[:, 0], xy[:, 1], ".", markersize=1.5, alpha=0.5)
        if result:
            share = f"{result['within_3_sigma']:.0%} within 3 sigma"
            title = f"{title}: {result['modes']} modes, {share}"
        axis.set_title(title, fontsize=9)
        axis.set_aspect("equal")
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="vaebm_25_gaussians.png")
    parser.add_argument("--vae_steps", type=int, default=2000)
    parser.add_argument("--energy_steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    results = run(arguments.vae_steps, arguments.energy_steps, seed=arguments.seed)
    for name, result in results.items():
        print(
            f"{name:6s} {result['modes']} of {len(MODES)} modes, "
            f"{result['within_3_sigma']:.1%} of samples within 3 sigma"
        )
    draw(results, arguments.output)
    print(f"{arguments.output}, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
