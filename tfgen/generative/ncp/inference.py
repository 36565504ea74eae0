"""What a trained NCP-VAE can do: sample by resampling, score, and say how likely a latent is.

`NCPVAE` (live weights) and `FrozenNCPVAE` (folded ones) share this. The prior is
`p_NCP(z) = prod_k r_k(z_k, c_k) p(z_k|z_<k) / Z_k(z_<k)` (section 2.5 of the derivation in
arXiv:2010.02917, appendix on hierarchical VAEs).
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from tfgen.generative.base import Generator, NoiseSpec, batch_size_of
from tfgen.generative.latent import GroupPrior, LatentGenerator, PosteriorWalk
from tfgen.generative.ncp.chains import run_chain
from tfgen.samplers import Resampled, importance_resampling, proposal_noise, resample_lazily
from tfgen.samplers.importance_resampling import BLOCK

_SCORING_STREAM = 2**14  # the proposals that score an image are not those that would draw one


@dataclasses.dataclass(frozen=True)
class Ready:
    """A generator and its classifiers, with weights that can be used within one graph.

    Attributes:
        vae: walks.
        views: weights of every group's classifier.
        classifiers: of every group.
    """

    vae: LatentGenerator
    views: list
    classifiers: list

    def log_ratio(self, prior: GroupPrior) -> Callable[[tf.Tensor], tf.Tensor]:
        """log r of a group as a function of z `[B, m, ...]`, its context projected once."""
        classifier, w = self.classifiers[prior.index], self.views[prior.index]
        context = classifier.context(w, prior)
        return lambda z: classifier(w, z, prior, context)


class NCPInference(Generator):
    """Sampling and scoring; a subclass provides the attributes and `ready`."""

    vae: LatentGenerator
    num_proposals: list[int]
    chunk_size: int

    def ready(self) -> Ready:
        """Weights to infer with."""
        raise NotImplementedError

    # -- shape -------------------------------------------------------------------------------------

    @property
    def groups(self) -> list[str]:
        """Names of the latent groups, in the order in which they are drawn."""
        return self.vae.groups

    @property
    def latent_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every group's latents."""
        return self.vae.latent_shapes

    @property
    def latent_dims(self) -> int:
        """Latent variables in all."""
        return sum(math.prod(shape) for shape in self.latent_shapes.values())

    # -- sampling ----------------------------------------------------------------------------------

    def noise_spec(self, num_images=None):
        """Per group, normals for M proposals and M uniforms that choose among them.

        A group with M = 1 has what the generator itself would have, and nothing to choose.
        """
        spec = {}
        for (name, shape), count in zip(self.latent_shapes.items(), self.num_proposals):
            if count == 1:
                spec[name] = NoiseSpec((num_images, *shape))
                continue
            spec[name] = NoiseSpec((num_images, count, *shape))
            spec[choice_name(name)] = NoiseSpec((num_images, count), "uniform")
        return spec

    def draw_noise(self, seeds):
        """Noise for each seed of `[B]` int32.

        With several proposals it takes M times the memory of a latent; `generate_from_seeds` draws
        the same noise in chunks, as it goes.
        """
        seeds = tf.convert_to_tensor(seeds, tf.int32)
        plain = self.vae.draw_noise(seeds)
        noise = {}
        for index, (name, shape) in enumerate(self.latent_shapes.items()):
            count = self.num_proposals[index]
            if count == 1:
                noise[name] = plain[name]
                continue
            drawn = proposal_noise(seeds, index, shape, 0, count)
            noise[name], noise[choice_name(name)] = drawn
        return noise

    def generate(self, noise, temperature=1.0):
        """Images `[B, H, W, C]` in [0, 1] from noise, by resampling in every group.

        Args:
            noise: as `noise_spec` names it.
            temperature: scale on the base prior's standard deviation, a number or `[L]`. The ratio
                was learned at 1: below, the samples are a heuristic.
        """

        def resample(log_weight, index):
            name = self.groups[index]
            if self.num_proposals[index] == 1:
                return noise[name]
            uniforms = noise[choice_name(name)]
            return importance_resampling(
                log_weight, noise[name], uniforms, self._chunk(index)
            ).sample

        num_images = batch_size_of(noise[self.groups[0]])
        return self._generate(self.ready(), num_images, resample, temperature)

    def generate_from_seeds(self, seeds, temperature=1.0):
        """`generate` on the noise of `seeds` `[B]`, drawn in chunks."""
        return self._from_seeds(self.ready(), seeds, temperature)[0]

    def sample_with_diagnostics(self, seeds, temperature=1.0):
        """Images of seeds `[B]`, and how the resampling of each group went.

        Returns:
            The images, and a dict of `[B, L]`: `effective_sample_size` (1 to M),
            `log_mean_weight` (log Z estimated from below), `log_ratio` of the chosen latents and
            `index` of the chosen proposals.
        """
        images, went = self._from_seeds(self.ready(), seeds, temperature)
        names = ("effective_sample_size", "log_mean_weight", "log_weight", "index")
        stacked = {name: tf.stack([getattr(r, name) for r in went], axis=1) for name in names}
        stacked["log_ratio"] = stacked.pop("log_weight")
        return images, stacked

    def sample_by_chain(
        self,
        seeds,
        temperature=1.0,
        method: str = "mala",
        num_steps: int = 30,
        step_size=0.05,
        num_adaptation_steps: int = 15,
    ):
        """Images of seeds `[B]` by whitened Langevin chains that start from resampled latents.

        Args:
            seeds: `[B]` int32; an image depends on its own alone (with MALA, on the batch as well
                while the step size adapts).
            temperature: see `generate`.
            method: "mala", or "langevin" without correction.
            num_steps: of every group's chain.
            step_size: eta.
            num_adaptation_steps: of MALA.

        Returns:
            The images, and the traces of the groups' chains.
        """
        seeds, traces = tf.convert_to_tensor(seeds, tf.int32), []

        def after(log_weight, index, start):
            chain = run_chain(
                log_weight, start, seeds, index, method, num_steps, step_size, num_adaptation_steps
            )
            traces.append(chain.trace)
            return chain.state

        images, _ = self._from_seeds(self.ready(), seeds, temperature, after)
        return images, traces

    def _from_seeds(self, ready: Ready, seeds, temperature, after=None):
        """Images and every group's `Resampled`; `after` may move what was chosen."""
        seeds = tf.convert_to_tensor(seeds, tf.int32)
        plain = self.vae.draw_noise(seeds) if 1 in self.num_proposals else None
        went: list[Resampled] = []

        def resample(log_weight, index):
            name, count = self.groups[index], self.num_proposals[index]
            if count == 1:
                one, zeros = plain[name], tf.zeros_like(seeds, tf.float32)
                log_r = log_weight(tf.expand_dims(one, 1))[:, 0]
                went.append(Resampled(one, tf.zeros_like(seeds), log_r, log_r, zeros + 1.0))
                return one if after is None else after(log_weight, index, one)

            def propose(first, number):
                return proposal_noise(seeds, index, self.latent_shapes[name], first, number)

            went.append(resample_lazily(log_weight, propose, count, self._chunk(index)))
            chosen = went[-1].sample
            return chosen if after is None else after(log_weight, index, chosen)

        images = self._generate(ready, batch_size_of(seeds), resample, temperature)
        return images, went

    def _generate(self, ready: Ready, num_images, resample, temperature):
        """Ancestral sampling; `resample(log_weight of noise, group)` returns the chosen noise."""
        temperatures = tf.ones([len(self.groups)]) * tf.cast(temperature, tf.float32)

        def choose(prior: GroupPrior):
            scale = prior.scale * temperatures[prior.index]
            log_ratio = ready.log_ratio(prior)

            def log_weight(noise):
                return log_ratio(tf.expand_dims(prior.loc, 1) + tf.expand_dims(scale, 1) * noise)

            return prior.loc + scale * resample(log_weight, prior.index)

        return ready.vae.walk_prior(num_images, choose).mean()

    def _chunk(self, index: int) -> int:
        """Proposals weighed at once: whole blocks, as the noise comes."""
        return min(max(self.chunk_size // BLOCK, 1) * BLOCK, self.num_proposals[index])

    # -- scoring -----------------------------------------------------------------------------------

    def log_ratio(self, latents: dict[str, tf.Tensor]) -> tf.Tensor:
        """log r of every group, `[B, L]` nats: low where the prior has mass and the data have none.

        Args:
            latents: `{group: [B, ...]}`, of `encode` or from anywhere else.
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
            num_proposals: n prior draws of every group.

        Returns:
            The walk, `[B, L]` and `[B, L, n]`.
        """
        ready, seeds = self.ready(), tf.convert_to_tensor(seeds, tf.int32)
        walk = ready.vae.walk_posterior(images, self.vae.draw_noise(seeds))
        positive, negative = [], []
        for index, (z, prior) in enumerate(zip(walk.latents, walk.priors)):
            shape, stream = prior.loc.shape[1:], _SCORING_STREAM + index
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
            num_proposals: M for all groups; by default the sampler's own.
            features: of `encoder_features(images)`, to spare the encoder.
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

    def proposals_at(self, log_ratio, prior: GroupPrior, seeds, index, count, stream=0):
        """Proposals of one group under a given context, resampled; the sample is their noise."""
        loc, scale = tf.expand_dims(prior.loc, 1), tf.expand_dims(prior.scale, 1)
        stream = _SCORING_STREAM + 2**10 * stream + index

        def propose(first, number):
            return proposal_noise(seeds, stream, prior.loc.shape[1:], first, number)

        chunk = max(self.chunk_size // BLOCK, 1) * BLOCK
        return resample_lazily(lambda eps: log_ratio(loc + scale * eps), propose, count, chunk)

    def log_likelihood(self, images, seeds) -> dict[str, tf.Tensor]:
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

    def kl_per_channel(self, images, seeds) -> tf.Tensor:
        """That of the generator underneath, against its own prior."""
        return self.ready().vae.kl_per_channel(images, seeds)

    # -- what the generator underneath does ------------------------------------------------------

    def encoder_features(self, images):
        """What the encoder makes of images; the same for every posterior draw."""
        return self.ready().vae.encoder_features(images)

    def encode(self, images, seeds=None):
        """Latents of images; the refined prior changes no posterior."""
        return self.ready().vae.encode(images, seeds)

    def reconstruct(self, images, seeds=None):
        """Decoder mean at the encoded latents, `[B, H, W, C]` in [0, 1]."""
        return self.ready().vae.reconstruct(images, seeds)

    def interpolate(self, first, second, num_steps: int = 8):
        """Images on the way from each of `first` to its partner in `second`."""
        return self.ready().vae.interpolate(first, second, num_steps)


@dataclasses.dataclass(frozen=True)
class PosteriorTerms:
    """One posterior draw, seen by the refined prior.

    Attributes:
        walk: of the generator underneath.
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


def choice_name(group: str) -> str:
    """The name of the uniforms that choose among a group's proposals."""
    return f"{group}_choice"


def joined(log_r, log_mean, count: int):
    """log of the mean of one r and `count - 1` others, of which the log-mean is given."""
    if count == 1:
        return log_r
    others = log_mean + math.log(count - 1.0)
    return tf.reduce_logsumexp(tf.stack([log_r, others]), axis=0) - math.log(float(count))
