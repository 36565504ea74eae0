r"""VAEBM where it can be seen: 25 Gaussians on a grid, a small VAE, and the energy that mends it.

    python tools/examples/vaebm_25_gaussians.py --output=vaebm_25_gaussians.png

A VAE over points (images of one pixel and two channels) covers all modes and puts much of its mass
between them. The energy takes that away. Prints, before and after, how many modes are
kept and which fraction of samples lies within three standard deviations of one.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfgen
from tfgen.distributions import PixelNormal
from tfgen.generative import GroupPrior, LatentGenerator, PosteriorWalk, check_walk

tfd = tfp.distributions

GRID = np.linspace(0.1, 0.9, 5)  # in [0, 1], as images are
MODES = np.array([(x, y) for x in GRID for y in GRID])
DEVIATION = 0.02
SPREAD = 4.0  # of what the VAE's networks see: steep steps are hard to learn within [-1, 1]


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


class PointsVAE(LatentGenerator, tfgen.training.Model):
    """A VAE of one's own through the same contract as NVAE: two latents, two small networks.

    Args:
        width: of the hidden layers.
        warmup_steps: until the KL counts in full.
    """

    image_shape = (1, 1, 2)
    latent_shapes, context_shapes = {"z": (2,)}, {"z": None}

    def __init__(self, width=256, warmup_steps=1000, seed=0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.warmup_steps = warmup_steps

        def network(offset):
            layers = keras.layers

            def dense(units, index, activation=None):
                start = keras.initializers.GlorotUniform(seed=100 * seed + offset + index)
                return layers.Dense(units, activation, kernel_initializer=start)

            hidden = [dense(width, index, "silu") for index in range(3)]
            return keras.Sequential([layers.Input((2,)), *hidden, dense(4, 3)])

        self.encoder, self.decoder = network(0), network(10)
        self.built = True

    def call(self, images, training=False):
        del training
        return self.decoder(self.encoder(tf.reshape(images, [-1, 2]))[:, :2])

    def _decoded(self, z):
        return PixelNormal(tf.reshape(self.decoder(SPREAD * z), [-1, 1, 1, 4]))

    def _prior(self, batch):
        zeros = tf.zeros((batch, 2))
        return GroupPrior(0, zeros, tf.ones_like(zeros), None)

    def walk_prior(self, num_images, choose):
        return self._decoded(choose(self._prior(num_images)))

    def walk_posterior(self, images, noise):
        x = 2.0 * tf.reshape(tf.cast(images, tf.float32), [-1, 2]) - 1.0
        loc, log_scale = tf.split(self.encoder(SPREAD * x), 2, axis=1)
        posterior = tfd.MultivariateNormalDiag(loc, tf.exp(log_scale))
        prior = tfd.MultivariateNormalDiag(tf.zeros_like(loc))
        z = loc + tf.exp(log_scale) * noise["z"]
        return PosteriorWalk(
            latents=[z],
            priors=[self._prior(tf.shape(x)[0])],
            kl=posterior.kl_divergence(prior)[:, None],
            log_q=posterior.log_prob(z),
            log_p=prior.log_prob(z),
            log_px=self._decoded(z).signed_log_prob(images),
        )

    def training_loss(self, data):
        """The ELBO, with a KL that sets in slowly."""
        images = data["images"]
        noise = tf.random.stateless_normal((tf.shape(images)[0], 2), self.step_seed("posterior"))
        walk = self.walk_posterior(images, {"z": noise})
        kl, log_px = tf.reduce_mean(walk.kl), tf.reduce_mean(walk.log_px)
        weight = tf.minimum(tf.cast(self.train_steps, tf.float32) / self.warmup_steps, 1.0)
        return weight * kl - log_px, {"kl": kl, "nelbo": kl - log_px}


def train_vae(num_steps: int, batch_size: int = 256, seed: int = 0) -> PointsVAE:
    """The VAE."""
    vae = PointsVAE(warmup_steps=num_steps // 2, seed=seed)
    check_walk(vae, tf.constant(points(3)), tf.range(3))
    vae.compile(keras.optimizers.Adam(tfgen.training.WarmupCosine(3e-3, 100, num_steps, 1)))
    fit(vae, num_steps, batch_size, seed)
    return vae


def train_vaebm(vae: PointsVAE, num_steps: int, batch_size: int = 256, seed: int = 0):
    """The energy over it."""
    model = tfgen.VAEBM(
        vae,
        dict(architecture=[[1, False], [1, False]], num_channels=64, signed_input=True),
        num_steps=20,
        sample_steps=20,
        step_size=0.005,
        output="sample",
        spectral_coefficient=0.0,
        energy_coefficient=0.2,  # larger energies gain more and lose modes
        seed=seed,
    )
    rate = tfgen.training.WarmupCosine(5e-4, 50, num_steps, 1)
    model.compile(tfgen.optimizers.ClippedAdam(rate, 0.9, use_ema=True, ema_momentum=0.99))
    fit(model, num_steps, batch_size, seed + 1)
    return model


def fit(model, num_steps, batch_size, seed):
    """Steps over fresh batches."""
    data = tf.data.Dataset.from_tensor_slices({"images": points(batch_size * 400, seed)})
    data = data.batch(batch_size, drop_remainder=True).cache().repeat()
    model.fit(data, steps_per_epoch=num_steps, epochs=1, verbose=0)


def run(
    vae_steps: int = 4000, energy_steps: int = 900, num_samples: int = 5000, seed: int = 0
) -> dict:
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
    parser.add_argument("--vae_steps", type=int, default=4000)
    parser.add_argument("--energy_steps", type=int, default=900)
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
