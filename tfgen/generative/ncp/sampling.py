"""Sampling a refined prior: group by group, one of M proposals by its weight.

The prior is `p_NCP(z) = prod_k r_k(z_k, c_k) p(z_k|z_<k) / Z_k(z_<k)` (arXiv:2010.02917, the
hierarchical form): k counts latent groups, c_k is what the prior of group k is conditioned on.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfgen.generative.base import NoiseSpec, batch_size_of, group_temperatures
from tfgen.generative.latent import GroupPrior, LatentGenerator
from tfgen.generative.ncp.chains import run_chain
from tfgen.generative.over_vae import OverVAE
from tfgen.ops.random_streams import number
from tfgen.samplers import Resampled, importance_resampling, proposal_noise, resample_lazily
from tfgen.samplers.importance_resampling import BLOCK


@dataclasses.dataclass(frozen=True)
class Ready:
    """A generator and its classifiers, with weights that can be used within one graph.

    Attributes:
        vae: the `LatentGenerator`, which walks.
        views: list of the weights of every group's classifier.
        classifiers: sequence of the classifier of every group.
    """

    vae: LatentGenerator
    views: list
    classifiers: Sequence

    def log_ratio(self, prior: GroupPrior) -> Callable[[tf.Tensor], tf.Tensor]:
        """log r of a group as a function of z `[B, m, ...]`, its context projected once."""
        classifier, w = self.classifiers[prior.index], self.views[prior.index]
        context = classifier.context(w, prior)
        return lambda z: classifier(w, z, prior, context)


class NCPSampling(OverVAE):
    """The generator's side of an NCP-VAE; a subclass provides the attributes and `ready`."""

    num_proposals: Sequence[int]
    chunk_size: int

    def ready(self) -> Ready:
        """Weights to infer with."""
        raise NotImplementedError

    @property
    def sampling_options(self):
        return tuple(self.num_proposals)

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
            drawn = proposal_noise(seeds, number("sampling proposals", index), shape, 0, count)
            noise[name], noise[choice_name(name)] = drawn
        return noise

    def generate(self, noise, temperature=1.0):
        """Images `[B, H, W, C]` in [0, 1] from noise, by resampling in every group.

        Args:
            noise: dict of tensors, as `noise_spec` names them.
            temperature: float or tensor `[L]`, scale on the base prior's standard deviation. The
                ratio was learned at 1: below, the samples are a heuristic.
        """

        def resample(log_weight, index):
            name = self.groups[index]
            if self.num_proposals[index] == 1:
                return noise[name]
            uniforms = noise[choice_name(name)]
            return importance_resampling(
                log_weight, noise[name], uniforms, self.chunk_of(self.num_proposals[index])
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
            temperature: float or tensor `[L]`, see `generate`.
            method: "mala", or "langevin" without correction.
            num_steps: integer, steps of every group's chain.
            step_size: float eta.
            num_adaptation_steps: integer, steps in which MALA adapts the step size.

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

            def propose(first, wanted):
                stream = number("sampling proposals", index)
                return proposal_noise(seeds, stream, self.latent_shapes[name], first, wanted)

            went.append(resample_lazily(log_weight, propose, count, self.chunk_of(count)))
            chosen = went[-1].sample
            return chosen if after is None else after(log_weight, index, chosen)

        images = self._generate(ready, batch_size_of(seeds), resample, temperature)
        return images, went

    def _generate(self, ready: Ready, num_images, resample, temperature):
        """Ancestral sampling; `resample(log_weight of noise, group)` returns the chosen noise."""
        temperatures = group_temperatures(temperature, len(self.groups))

        def choose(prior: GroupPrior):
            scale = prior.scale * temperatures[prior.index]
            log_ratio = ready.log_ratio(prior)

            def log_weight(noise):
                return log_ratio(tf.expand_dims(prior.loc, 1) + tf.expand_dims(scale, 1) * noise)

            return prior.loc + scale * resample(log_weight, prior.index)

        return ready.vae.walk_prior(num_images, choose).mean()

    def chunk_of(self, count: int) -> int:
        """Of `count` proposals, how many are weighed at once: whole blocks, as the noise comes."""
        return min(max(self.chunk_size // BLOCK, 1) * BLOCK, count)


def choice_name(group: str) -> str:
    """The name of the uniforms that choose among a group's proposals."""
    return f"{group}_choice"
