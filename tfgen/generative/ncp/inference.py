"""What a trained NCP-VAE can do: sample by resampling, score, and say how likely a latent is.

`NCPVAE` (live weights) and `FrozenNCPVAE` (folded ones) share this.
"""

import dataclasses
import math

import tensorflow as tf

from tfgen.generative.base import batch_size_of
from tfgen.generative.latent import GroupPrior, PosteriorWalk
from tfgen.generative.ncp.sampling import NCPSampling, Ready
from tfgen.ops.random_streams import number
from tfgen.samplers import proposal_noise, resample_lazily


class NCPInference(NCPSampling):
    """Sampling and scoring; a subclass provides the attributes and `ready`."""

    # -- scoring -----------------------------------------------------------------------------------

    def log_ratio(self, latents: dict[str, tf.Tensor]) -> tf.Tensor:
        """log r of every group, `[B, L]` nats: low where the prior has mass and the data have none.

        Args:
            latents: dict `{group: [B, ...]}`, of `encode` or from anywhere else.
        """
        ready, values, found = self.ready(), [latents[name] for name in self.groups], []

        def choose(prior: GroupPrior):
            z = values[prior.index]
            found.append(ready.log_ratio(prior)(tf.expand_dims(z, 1))[:, 0])
            return z

        ready.vae.walk_prior(batch_size_of(values[0]), choose)
        return tf.stack(found, axis=1)

    def both_classes(self, images, seeds, num_proposals: int):
        """Images encoded, and log r of that posterior draw and of prior draws in its contexts.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32.
            num_proposals: integer n, prior draws of every group.

        Returns:
            The walk, `[B, L]` and `[B, L, n]`.
        """
        ready, seeds = self.ready(), tf.convert_to_tensor(seeds, tf.int32)
        walk = ready.vae.walk_posterior(images, self.vae.draw_noise(seeds))
        positive, negative = [], []
        for index, (z, prior) in enumerate(zip(walk.latents, walk.priors)):
            shape, stream = prior.loc.shape[1:], number("scoring proposals", index)
            eps, _ = proposal_noise(seeds, stream, shape, 0, num_proposals)
            draws = tf.expand_dims(prior.loc, 1) + tf.expand_dims(prior.scale, 1) * eps
            log_r = ready.log_ratio(prior)(tf.concat([tf.expand_dims(z, 1), draws], axis=1))
            positive.append(log_r[:, 0])
            negative.append(log_r[:, 1:])
        return walk, tf.stack(positive, axis=1), tf.stack(negative, axis=1)

    def posterior_terms(self, images, seeds, num_proposals=None, features=None) -> "PosteriorTerms":
        """One posterior draw of images and all that the likelihood of the refined prior needs.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32, of the posterior draw and of the proposals.
            num_proposals: integer M for all groups; None takes the sampler's own.
            features: list of tensors, `encoder_features(images)`, to spare the encoder; None
                computes them.
        """
        ready = self.ready()
        seeds = tf.convert_to_tensor(seeds, tf.int32)
        options = {} if features is None else {"features": features}
        walk = ready.vae.walk_posterior(images, self.vae.draw_noise(seeds), **options)
        log_r, best, lower = [], [], []
        for index, (z, prior) in enumerate(zip(walk.latents, walk.priors)):
            count = self.num_proposals[index] if num_proposals is None else num_proposals
            log_ratio = ready.log_ratio(prior)
            log_r.append(log_ratio(tf.expand_dims(z, 1))[:, 0])
            drawn = self.proposals_at(log_ratio, prior, seeds, index, max(count - 1, 1))
            lower.append(drawn.log_mean_weight)
            best.append(joined(log_r[-1], drawn.log_mean_weight, count))
        return PosteriorTerms(walk, *(tf.stack(values, axis=1) for values in (log_r, best, lower)))

    def proposals_at(self, log_ratio, prior: GroupPrior, seeds, index, count, use="scoring"):
        """Proposals of one group under a given context, resampled; the sample is their noise."""
        loc, scale = tf.expand_dims(prior.loc, 1), tf.expand_dims(prior.scale, 1)
        stream = number(f"{use} proposals", index)

        def propose(first, wanted):
            return proposal_noise(seeds, stream, prior.loc.shape[1:], first, wanted)

        chunk = self.chunk_of(count)
        return resample_lazily(lambda eps: log_ratio(loc + scale * eps), propose, count, chunk)

    def negative_elbo(self, images, seeds) -> dict[str, tf.Tensor]:
        """Negative ELBO and its KL part in nats, `[B]` each, of the sampler as it is.

        Resampling from M proposals is a normalised model; its density obeys

            log p_SIR(z) >= log p(z) + log r(z) - E log((r(z) + sum_{j=2..M} r(z_j)) / M)

        with z_j ~ p, added over groups. So this is a bound without a partition function, whatever
        the classifiers are worth.
        """
        terms = self.posterior_terms(images, seeds)
        kl = tf.reduce_sum(terms.walk.kl - terms.gain, axis=1)
        return {"nelbo": kl - terms.walk.log_px, "kl": kl}

    def log_weights(self, images, seeds, features=None) -> tf.Tensor:
        """`log p(x|z) + log p_SIR(z) - log q(z|x)`, `[B]` nats, at one posterior draw per image.

        `M r(z) p(z) / (r(z) + sum_j r(z_j))` estimates p_SIR(z) without bias, so importance-
        weighted bounds over these weights are bounds of the sampler's own likelihood.
        """
        terms = self.posterior_terms(images, seeds, features=features)
        walk = terms.walk
        return walk.log_px + walk.log_p + tf.reduce_sum(terms.gain, axis=1) - walk.log_q

    def kl_per_group(self, images, seeds) -> tf.Tensor:
        """`[B, L]` nats, against the refined prior."""
        terms = self.posterior_terms(images, seeds)
        return terms.walk.kl - terms.gain

    def base(self):
        return self.vae.prepared()


@dataclasses.dataclass(frozen=True)
class PosteriorTerms:
    """One posterior draw, seen by the refined prior.

    Attributes:
        walk: the `PosteriorWalk` of the generator underneath.
        log_ratio: `[B, L]`, log r of the drawn latents.
        log_mixed: `[B, L]`, log of the mean of r over the drawn latent and M - 1 prior draws.
        log_mean_weight: `[B, L]`, over the prior draws alone: log Z from below.
    """

    walk: PosteriorWalk
    log_ratio: tf.Tensor
    log_mixed: tf.Tensor
    log_mean_weight: tf.Tensor

    @property
    def gain(self) -> tf.Tensor:
        """`[B, L]` nats by which the sampler's prior beats the base, bounded from below."""
        return self.log_ratio - self.log_mixed


def joined(log_r, log_mean, count: int):
    """log of the mean of one r and `count - 1` others, of which the log-mean is given.

    Args:
        log_r: tensor `[...]`, log r of the one.
        log_mean: tensor `[...]`, log of the mean of r over the others.
        count: integer, how many there are in all.

    Returns:
        Tensor `[...]`, like `log_r`.
    """
    if count == 1:
        return log_r
    others = log_mean + math.log(count - 1.0)
    return tf.reduce_logsumexp(tf.stack([log_r, others]), axis=0) - math.log(float(count))


__all__ = ["NCPInference", "PosteriorTerms", "Ready", "joined"]
