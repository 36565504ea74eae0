"""What a trained VAEBM can do: sample by a short chain, score, and fill in what is missing.

`VAEBM` (live weights) and `FrozenVAEBM` (folded ones) share this.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.generative.base import NoiseSpec, batch_size_of, draw_noise
from tfgen.generative.latent import LatentGenerator
from tfgen.generative.over_vae import OverVAE
from tfgen.generative.vaebm.noise_space import PIXELS, SMOOTHING, NoiseSpace, noise_shapes
from tfgen.samplers import Chain, ChainNoise, langevin
from tfgen.samplers.noise import NoiseSource


@dataclasses.dataclass(frozen=True)
class Ready:
    """A VAE and an energy whose weights can be used many times within one graph.

    Attributes:
        vae: a `LatentGenerator`, prepared.
        energy: function from images to `[B]`.
    """

    vae: LatentGenerator
    energy: Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """How images are drawn.

    Attributes:
        num_steps: integer, steps of Langevin dynamics.
        step_size: float eta.
        noise_scale: float, factor on sqrt(eta); 1 is matched.
        potential: "exact" or "official".
        output: "mean" or "sample" of the decoder at the chain's end.
        unroll: whether to write the steps out one by one, for runtimes without loops.
    """

    num_steps: int
    step_size: float
    noise_scale: float = 1.0
    potential: str = "exact"
    output: str = "mean"
    unroll: bool = False


def chain_name(name: str) -> str:
    """The input that holds a chain's noise for the noise `name`, `[B, K, ...]`."""
    return f"chain_{name}"


class VAEBMInference(OverVAE):
    """Sampling and scoring; a subclass provides the attributes, `log_partition` and `ready`."""

    sampler: SamplerOptions
    smoothing: float = 0.0
    portable_to = ("onnx",)
    why_not_portable = "it has no kernels for the gradients that the chain follows"

    def ready(self) -> Ready:
        """Weights to infer with."""
        raise NotImplementedError

    def log_partition(self) -> tf.Tensor:
        """log Z as it was last estimated, a scalar; 0 before."""
        raise NotImplementedError

    @property
    def sampling_options(self):
        return (self.sampler,)

    # -- shape ------------------------------------------------------------------------------------

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a chain's state by name: latent noise, the pixels', and what smooths."""
        return noise_shapes(self.vae, self.smoothing)

    # -- sampling ---------------------------------------------------------------------------------

    def noise_spec(self, num_images=None):
        """Where a chain starts (one normal per latent group and for the pixels), and what moves it
        on (`chain_NAME`, the same for every one of the K steps)."""
        shapes, steps = self.noise_shapes, self.sampler.num_steps
        spec = {name: NoiseSpec((num_images, *shape)) for name, shape in shapes.items()}
        for name, shape in shapes.items() if steps else ():
            spec[chain_name(name)] = NoiseSpec((num_images, steps, *shape))
        return spec

    def draw_noise(self, seeds):
        """Noise for each seed of `[B]` int32, the same that `generate_from_seeds` draws on its
        way."""
        seeds = tf.convert_to_tensor(seeds, tf.int32)
        start = self.draw_start(seeds)
        if not self.sampler.num_steps:
            return start
        source = NoiseSource(seeds=seeds)
        normals = tf.map_fn(
            lambda k: source.normal(k, start),
            tf.range(self.sampler.num_steps),
            fn_output_signature={
                name: tf.TensorSpec(value.shape, value.dtype) for name, value in start.items()
            },
        )
        return {**start, **{chain_name(n): _swap(normals[n]) for n in start}}

    def generate(self, noise, temperature=1.0):
        """Images `[B, H, W, C]` in [0, 1] from noise, by K steps of Langevin dynamics.

        Args:
            noise: dict of tensors, as `noise_spec` names them.
            temperature: float, scale on the standard deviation of the VAE's prior.
        """
        start = {name: noise[name] for name in self.noise_shapes}
        source = {}
        if self.sampler.num_steps:
            source["noise"] = ChainNoise({n: _swap(noise[chain_name(n)]) for n in start})
        return self._generate(start, temperature, **source)[0]

    def generate_from_seeds(self, seeds, temperature=1.0):
        """`generate` on the noise of `seeds` `[B]`, drawn step by step."""
        return self.sample_with_diagnostics(seeds, temperature)[0]

    def sample_with_diagnostics(self, seeds, temperature=1.0):
        """Images of seeds `[B]`, and the chains that made them (None when K is 0)."""
        seeds = tf.convert_to_tensor(seeds, tf.int32)
        return self._generate(self.draw_start(seeds), temperature, seeds=seeds)

    def draw_start(self, seeds):
        """Where the chains of seeds `[B]` start: noise by name, without that of their steps."""
        spec = {name: NoiseSpec((None, *shape)) for name, shape in self.noise_shapes.items()}
        return draw_noise(spec, seeds)

    def _generate(self, start, temperature, **source):
        ready = self.ready()
        space = NoiseSpace(ready.vae, temperature, self.smoothing)
        chain = None
        if self.sampler.num_steps:
            chain = run_chain(space, ready.energy, start, self.sampler, **source)
            start = chain.state
        distribution, _ = space.decode(start)
        if self.sampler.output == "mean":
            return distribution.mean(), chain
        return distribution.sample_from_noise(start[PIXELS]), chain

    # -- scores -----------------------------------------------------------------------------------

    @takes_images
    def energy_of(self, images, seeds=None) -> tf.Tensor:
        """E(x), `[B]`, of images `[B, H, W, C]` in [0, 1]; with smoothing, E(x + s n).

        Args:
            images: tensor `[B, H, W, C]` to judge.
            seeds: `[B]` int32, seeds of n; None is 0 to B - 1. Without smoothing they change
                nothing.
        """
        if self.smoothing:
            seeds = tf.range(batch_size_of(images)) if seeds is None else seeds
            spec = {SMOOTHING: NoiseSpec((None, *self.image_shape))}
            images += (
                self.smoothing * draw_noise(spec, tf.convert_to_tensor(seeds, tf.int32))[SMOOTHING]
            )
        return self.ready().energy(images)

    @takes_images
    def unnormalized_log_density(self, images, seeds) -> tf.Tensor:
        """A lower bound of log h(x) + log Z, `[B]` nats: the VAE's ELBO minus the energy."""
        return -(self.vae.negative_elbo(images, seeds)["nelbo"] + self.energy_of(images, seeds))

    def ood_score(self, images, seeds) -> tf.Tensor:
        """`[B]`, larger the further from the data: minus `unnormalized_log_density`."""
        return -self.unnormalized_log_density(images, seeds)

    @takes_images
    def negative_elbo(self, images, seeds):
        """Negative bound of log h(x) and the VAE's KL part, `[B]` nats each.

        Counts log Z as it was last estimated (`estimate_log_partition`); before that it is 0, and
        the bound unnormalised.
        """
        terms = self.vae.negative_elbo(images, seeds)
        return {
            "nelbo": terms["nelbo"] + self.energy_of(images, seeds) + self.log_partition(),
            "kl": terms["kl"],
        }

    @takes_images
    def log_weights(self, images, seeds, features=None):
        """`log p(x|z) + log p(z) - log q(z|x) - E(x) - log Z`, `[B]` nats, see `NVAE.log_weights`.

        The energy sees x only, so the VAE's encoder stays the right one: h(z|x) = p(z|x).
        """
        weights = self.vae.log_weights(images, seeds, features)
        return weights - self.energy_of(images, seeds) - self.log_partition()


def run_chain(space: NoiseSpace, energy, start, options: SamplerOptions, **source) -> Chain:
    """Langevin dynamics of noise `{name: [B, ...]}` under an energy of images."""
    return langevin(
        lambda noise: space.potential(energy, noise, options.potential),
        start,
        options.num_steps,
        options.step_size,
        noise_scale=options.noise_scale,
        unroll=options.unroll,
        **source,
    )


def _swap(x):
    """Exchanges the axes of batch and steps."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
