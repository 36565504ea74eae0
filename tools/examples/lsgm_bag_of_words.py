r"""LSGM on data that are no images: rows of counts, an encoder and a decoder of one's own.

    python tools/examples/lsgm_bag_of_words.py

The 1,797 digits that scikit-learn ships count how much ink lies in each of 64 places; here every
row is a document of a vocabulary of 64 words, whose order means nothing. A VAE with a multinomial
decoder and a vector of latents learns them with its Normal prior; then LSGM trains the same VAE
together with a diffusion prior. Both are scored on rows that neither has seen, with standard
errors; so is their difference, row by row. Scores are negative ELBOs, LSGM's with its own bound of
the prior; `--num_importance_samples=4` adds importance-weighted likelihoods by the density of the
prior's ODE, for which a few states need thousands of evaluations.
"""

from __future__ import annotations

import argparse
import functools
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfgen
from tfgen.generative import GroupPrior, LatentGenerator, PosteriorWalk, check_walk
from tfgen.generative.latent import TrainingWalk
from tfgen.metrics import MeanWithStandardError
from tfgen.ops import gaussian, importance

tfd = tfp.distributions

WORDS = 64
HELD_OUT = 200
BATCH = 128
VAE_RATE = 1e-4  # of the VAE once it is trained, with either prior


def documents(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts to train on and counts held out, `[N, 1, WORDS, 1]` float32 each."""
    from sklearn.datasets import load_digits

    counts = load_digits().data.astype(np.float32).reshape(-1, 1, WORDS, 1)
    counts = counts[np.random.default_rng(seed).permutation(len(counts))]
    return counts[HELD_OUT:], counts[:HELD_OUT]


class Multinomial(tfd.Multinomial):
    """Counts of words as rows `[B, 1, WORDS, 1]`, whose mean the generator returns."""

    def mean(self):
        return tf.reshape(super().mean(), [-1, 1, WORDS, 1])


class TopicVAE(LatentGenerator, tfgen.training.Model):
    """z ~ N(0, I); the words of a document ~ Multinomial(its length, softmax(decoder(z))).

    Args:
        dims: integer, latents. Defaults to `8`.
        width: integer, units of the hidden layers. Defaults to `256`.
        dropout: float, share of units dropped in training. Defaults to `0.1`.
        warmup_steps: integer, steps until the KL counts in full. Defaults to `1000`.
        seed: integer, seed of weights and draws. Defaults to `0`.
    """

    image_shape = (1, WORDS, 1)
    typical_length = 312.0  # words of a document that is made up

    def __init__(self, dims=8, width=256, dropout=0.1, warmup_steps=1000, seed=0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.dims, self.warmup_steps = dims, warmup_steps

        def network(inputs, outputs, offset):
            layers = keras.layers
            hidden = []
            for index in range(2):
                start = keras.initializers.GlorotUniform(seed=100 * seed + offset + index)
                hidden.append(layers.Dense(width, "silu", kernel_initializer=start))
                hidden.append(layers.Dropout(dropout, seed=100 * seed + offset + index))
            start = keras.initializers.GlorotUniform(seed=100 * seed + offset + 9)
            return keras.Sequential(
                [layers.Input((inputs,)), *hidden, layers.Dense(outputs, kernel_initializer=start)]
            )

        self.encoder, self.decoder = network(WORDS, 2 * dims, 0), network(dims, WORDS, 10)
        self.built = True

    @property
    def latent_shapes(self):
        return {"z": (self.dims,)}

    @property
    def context_shapes(self):
        return {"z": None}

    def as_images(self, images, where="the array of counts"):
        return tf.cast(images, tf.float32)  # any counts: no picture

    def as_images_in_dataset(self, images, where="a batch of counts"):
        return self.as_images(images, where)

    def call(self, images, training=False):
        return self._encoded(images, training)[0]

    def _encoded(self, images, training=False):
        x = tf.math.log1p(tf.reshape(images, [-1, WORDS]))
        loc, log_scale = tf.split(self.encoder(x, training=training), 2, axis=1)
        return loc, tf.exp(tf.clip_by_value(log_scale, -5.0, 5.0))

    def _decoded(self, z, lengths, training=False):
        return Multinomial(lengths, logits=self.decoder(z, training=training))

    def walk_prior(self, num_images, choose):
        zeros = tf.zeros((num_images, self.dims))
        z = choose(GroupPrior(0, zeros, tf.ones_like(zeros), None))
        return self._decoded(z, tf.fill([tf.shape(z)[0]], self.typical_length))

    def walk_posterior(self, images, noise, training=False):
        counts = tf.reshape(images, [-1, WORDS])
        loc, scale = self._encoded(images, training)
        z = loc + scale * noise["z"]
        prior = GroupPrior(0, tf.zeros_like(z), tf.ones_like(z), None)
        log_q, log_p = (
            tf.reduce_sum(gaussian.log_prob(z, *normal), axis=1)
            for normal in ((loc, scale), (prior.loc, prior.scale))
        )
        kl = 0.5 * (tf.square(loc) + tf.square(scale) - 1.0) - tf.math.log(scale)
        decoded = self._decoded(z, tf.reduce_sum(counts, axis=1), training)
        return PosteriorWalk(
            [z],
            [prior],
            tf.reduce_sum(kl, axis=1, keepdims=True),
            log_q,
            log_p,
            decoded.log_prob(counts),
        )

    def training_walk(self, images, noise):
        """Under LSGM the VAE learns on with its dropout."""
        return TrainingWalk(self.walk_posterior(images, noise, True), tf.zeros([]), ())

    def training_loss(self, data):
        """The ELBO, with a KL that sets in slowly."""
        images = data["images"]
        shape = (tf.shape(images)[0], self.dims)
        noise = tf.random.stateless_normal(shape, self.step_seed("posterior"))
        walk = self.walk_posterior(images, {"z": noise}, training=True)
        kl, log_px = tf.reduce_mean(walk.kl), tf.reduce_mean(walk.log_px)
        weight = tf.minimum(tf.cast(self.train_steps, tf.float32) / self.warmup_steps, 1.0)
        return weight * kl - log_px, {"kl": kl, "nelbo": kl - log_px}


def fit(model, counts: np.ndarray, num_steps: int, seed: int) -> None:
    """Steps over shuffled batches."""
    data = tf.data.Dataset.from_tensor_slices({"images": counts})
    data = data.shuffle(len(counts), seed=seed).repeat().batch(BATCH)
    model.fit(data, steps_per_epoch=num_steps, epochs=1, verbose=0, shuffle=False)


def adamw(rate: float, num_steps: int, **options):
    """AdamW whose rate rises for 100 steps and falls along a cosine."""
    rate = tfgen.training.WarmupCosine(rate, min(100, num_steps // 2), num_steps, 1)
    return keras.optimizers.AdamW(rate, weight_decay=1e-2, **options)


def train_vae(counts: np.ndarray, num_steps: int, seed: int = 0) -> TopicVAE:
    """The VAE with its Normal prior."""
    vae = TopicVAE(warmup_steps=num_steps // 3, seed=seed)
    check_walk(vae, tf.constant(counts[:3]), tf.range(3))
    vae.compile(adamw(2e-3, num_steps))
    fit(vae, counts, num_steps, seed)
    return vae


def train_lsgm(vae: TopicVAE, counts: np.ndarray, num_steps: int, seed: int = 0):
    """The same VAE with a diffusion prior, both trained on one bound."""
    model = tfgen.LSGM(vae, dict(width=64, num_blocks=2), prediction="velocity", seed=seed)
    prior = adamw(2e-3, num_steps, use_ema=True, ema_momentum=0.995)
    joint = {"prior": prior, "vae": adamw(VAE_RATE, num_steps)}
    model.compile(tfgen.training.JointOptimizer(joint))
    fit(model, counts, num_steps, seed + 1)
    return model


def score(model, counts: np.ndarray, num_draws: int = 8) -> np.ndarray:
    """Negative ELBO of every row `[N]` in nats, a mean over posterior draws."""
    run = tf.function(lambda x, seeds: model.negative_elbo(x, seeds)["nelbo"], autograph=False)
    copies = np.tile(counts, (num_draws, 1, 1, 1))
    nelbo = run(tf.constant(copies), tf.constant(model.seeds_for(len(copies), 1)))
    return tf.reduce_mean(tf.reshape(nelbo, [num_draws, len(counts)]), axis=0).numpy()


def importance_weighted(model, counts: np.ndarray, num_draws: int) -> np.ndarray:
    """Importance-weighted -log p(x) of every row `[N]` in nats; LSGM's prior by its ODE."""

    @functools.partial(tf.function, autograph=False)
    def log_weights(x, seeds):
        if isinstance(model, tfgen.LSGM):
            return model.log_weights(x, seeds)
        walk = model.walk_posterior(x, model.draw_noise(seeds))
        return walk.log_px + walk.log_p - walk.log_q

    seeds = model.seeds_for(num_draws * len(counts), 1).reshape(num_draws, -1)
    weights = [log_weights(tf.constant(counts), tf.constant(row)) for row in seeds]
    return -importance.iw_bound(tf.stack(weights)).numpy()


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean, and its standard error."""
    metric = MeanWithStandardError("mean")
    metric.update_state(values)
    found = metric.result()
    return float(found["mean"]), float(found["mean_standard_error"])


def run(
    vae_steps: int = 1000,
    lsgm_steps: int = 800,
    num_importance_samples: int = 0,
    held_out: int = HELD_OUT,
    seed: int = 0,
) -> dict[str, dict[str, tuple[float, float]]]:
    """Trains and scores all.

    The VAE is trained on with its Normal prior for as long as LSGM is, so that the gain is that of
    the prior.

    Returns:
        `vae`; `vae trained on`; `lsgm`; and `gain`, the difference of the last two row by row:
        `(mean, standard error)` in nats of `nelbo`, and with importance samples of `nll`.
    """
    train, rest = documents(seed)
    rest = rest[:held_out]

    def scores(model):
        found = {"nelbo": score(model, rest)}
        if num_importance_samples:
            found["nll"] = importance_weighted(model, rest, num_importance_samples)
        return found

    vae = train_vae(train, vae_steps, seed=seed)
    found = {"vae": scores(vae)}
    start = vae.get_weights()
    vae.compile(adamw(VAE_RATE, lsgm_steps))
    fit(vae, train, lsgm_steps, seed + 1)
    found["vae trained on"] = scores(vae)
    vae.set_weights(start)
    model = train_lsgm(vae, train, lsgm_steps, seed=seed)
    with tfgen.training.averaged_weights(model):
        found["lsgm"] = scores(model)
    found["gain"] = {k: found["vae trained on"][k] - v for k, v in found["lsgm"].items()}
    return {
        name: {k: mean_and_error(values) for k, values in rows.items()}
        for name, rows in found.items()
    }


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vae_steps", type=int, default=1000)
    parser.add_argument("--lsgm_steps", type=int, default=800)
    parser.add_argument("--num_importance_samples", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    results = run(**vars(arguments))
    print(f"nats a row of {HELD_OUT} held out: {', '.join(results['gain'])}")
    for name, found in results.items():
        cells = "   ".join(f"{mean:8.2f} +- {error:.2f}" for mean, error in found.values())
        print(f"  {name:15s} {cells}")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
