"""What a trained NVAE can do, given a view of its weights: generate, encode, reconstruct, score.

`NVAE` (live variables) and `FrozenNVAE` (folded weights) share this.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfgen.data.doors import takes_images
from tfgen.data.ranges import as_intensities
from tfgen.distributions import ClampedNormal, ResidualNormal
from tfgen.generative.base import NoiseSpec, batch_size_of, group_temperatures
from tfgen.generative.latent import GroupPrior, LatentGenerator, PosteriorWalk
from tfgen.generative.nvae.decoder import ImageDecoder
from tfgen.generative.nvae.network import Network

tfd = tfp.distributions


@dataclasses.dataclass
class PosteriorPass:
    """One pass of images through encoder and decoder.

    Attributes:
        latents: list of tensors, z of every group, top first, after any flow.
        kl: `[B, L]` nats; where a flow runs, the single-sample estimate log q - log p.
        log_q: `[B]` nats, sum over groups at the drawn latents.
        log_p: `[B]` nats, likewise.
        kl_per_channel: list of `[B, C]`, one per group, nats summed over space.
        head: tensor, the decoder's output.
        priors: list of triples of index, prior and decoder state of every group, given the latents
            before it.
    """

    latents: list[tf.Tensor]
    kl: tf.Tensor
    log_q: tf.Tensor
    log_p: tf.Tensor
    kl_per_channel: list[tf.Tensor]
    head: tf.Tensor
    priors: list[tuple[int, tfd.Distribution, tf.Tensor]]


class NVAEInference(LatentGenerator):
    """Latent-variable methods of NVAE; a subclass provides the three attributes and
    `weights_for_inference`."""

    network: Network
    image_decoder: ImageDecoder
    residual_posterior: bool

    def weights_for_inference(self):
        """The view of the weights to infer with."""
        raise NotImplementedError

    def as_images(self, images, where="the array of images"):
        """Images as float32 in [0, 1], padded or not; see `tfgen.data.doors`."""
        images = as_intensities(images, where)
        self.image_decoder.check(images)
        return images

    @property
    def groups(self) -> list[str]:
        """Names of the latent groups, top (smallest grid) first."""
        return [f"z_{index}" for index in range(self.network.num_groups)]

    @property
    def latent_shapes(self) -> dict[str, tuple[int, int, int]]:
        """`(H, W, C)` of every group."""
        return dict(zip(self.groups, self.network.latent_shapes))

    @property
    def context_shapes(self) -> dict[str, tuple[int, int, int] | None]:
        """`(H, W, C)` of the decoder state from which each group's prior is computed."""
        return dict(zip(self.groups, self.network.context_shapes))

    def noise_spec(self, num_images: int | None = None, pixels: bool = False):
        """One standard normal per latent group; with `pixels`, uniforms that draw the image too."""
        spec = {name: NoiseSpec((num_images, *shape)) for name, shape in self.latent_shapes.items()}
        if pixels:
            for name, shape in self.image_decoder.noise_shapes().items():
                spec[name] = NoiseSpec((num_images, *shape), "uniform")
        return spec

    # -- prior ------------------------------------------------------------------------------------

    def generate(self, noise, temperature=1.0):
        """Images `[B, H, W, C]` in [0, 1] from noise.

        Args:
            noise: dict of tensors, as `noise_spec` names them. Without pixel noise the decoder's
                mean is returned.
            temperature: float or tensor `[L]`, scale on the prior's standard deviation. Defaults to
                `1.0`.
        """
        pixel_noise = {k: v for k, v in noise.items() if k not in self.latent_shapes}
        head = self.generate_head(self.weights_for_inference(), noise, temperature)
        distribution = self.image_decoder.distribution(head)
        if pixel_noise:
            return self.image_decoder.draw(distribution, pixel_noise)
        return self.image_decoder.mean(distribution)

    def generate_head(self, w, noise, temperature=1.0):
        """The decoder's raw output for prior samples made from `noise`."""
        noise = [noise[name] for name in self.groups]
        temperatures = group_temperatures(temperature, len(noise))

        def choose(group, loc_raw, log_scale_raw, _):
            prior = ClampedNormal(loc_raw, log_scale_raw, temperature=temperatures[group])
            return prior.loc + prior.scale * noise[group]

        return self.network.top_down(w, batch_size_of(noise[0]), choose)

    def walk_prior(self, num_images, choose):
        def choose_raw(group, loc_raw, log_scale_raw, state):
            return choose(_group_prior(group, ClampedNormal(loc_raw, log_scale_raw), state))

        head = self.network.top_down(self.weights_for_inference(), num_images, choose_raw)
        return self.image_decoder.distribution(head)

    def decode(self, latents: dict[str, tf.Tensor]) -> tf.Tensor:
        """Images (decoder mean) of given latents, `{group: [B, H, W, C]}`."""
        values = [latents[name] for name in self.groups]
        head = self.network.top_down(
            self.weights_for_inference(), batch_size_of(values[0]), lambda group, *_: values[group]
        )
        return self.image_decoder.mean(self.image_decoder.distribution(head))

    # -- posterior --------------------------------------------------------------------------------

    def posterior_pass(
        self,
        w,
        images,
        noise: list | None,
        keep: Sequence[bool] | None = None,
        features: list | None = None,
    ):
        """Encodes `images` and decodes the latents.

        Args:
            w: a view of the weights, `LiveWeights` or `FoldedWeights`.
            images: `[B, H, W, C]` in [0, 1].
            noise: list of standard normal tensors, one per group, or None for the posterior's
                means.
            keep: sequence of booleans, one per group: False draws z from the prior with the same
                noise instead (its KL is zero). None keeps all.
            features: list of tensors, of `encoder_features`, when they are known already; else
                None.
        """
        batch_size = batch_size_of(images)
        if features is None:
            features = self._features(w, images)
        latents, kls, log_qs, log_ps, priors = [], [], [], [], []

        def choose(group, loc_raw, log_scale_raw, state):
            prior = ClampedNormal(loc_raw, log_scale_raw)
            priors.append((group, prior, state))
            if keep is not None and not keep[group]:
                z = prior.loc if noise is None else prior.loc + prior.scale * noise[group]
                zeros = tf.zeros_like(z)
                return record(z, zeros, zeros, zeros)
            offsets = self.network.posterior_offsets(w, group, features, state)
            if group > 0 and self.residual_posterior:
                posterior = ResidualNormal(prior, *offsets)
            else:
                posterior = ClampedNormal(*offsets)
            z = posterior.loc if noise is None else posterior.loc + posterior.scale * noise[group]
            log_q = posterior.log_prob(z)
            flowed = self.network.flow(w, group, z, features)
            log_p = prior.log_prob(flowed)
            exact = flowed is z  # a flow leaves no closed form
            kl = tfd.kl_divergence(posterior, prior) if exact else log_q - log_p
            return record(flowed, kl, log_q, log_p)

        def record(z, kl, log_q, log_p):
            latents.append(z)
            kls.append(tf.reduce_sum(kl, [1, 2]))
            log_qs.append(tf.reduce_sum(log_q, [1, 2, 3]))
            log_ps.append(tf.reduce_sum(log_p, [1, 2, 3]))
            return z

        head = self.network.top_down(w, batch_size, choose)
        kl = tf.stack([tf.reduce_sum(k, axis=1) for k in kls], axis=1)
        return PosteriorPass(latents, kl, tf.add_n(log_qs), tf.add_n(log_ps), kls, head, priors)

    @takes_images
    def walk_posterior(self, images, noise, features=None):
        return self.walk_with(self.weights_for_inference(), images, noise, features)

    def walk_with(self, w, images, noise: dict[str, tf.Tensor], features=None) -> PosteriorWalk:
        """`walk_posterior` with a given view of the weights."""
        noise = [noise[name] for name in self.groups]
        result = self.posterior_pass(w, images, noise, features=features)
        log_px = self.image_decoder.log_prob(result.head, images)
        priors = [_group_prior(*parts) for parts in result.priors]
        return PosteriorWalk(result.latents, priors, result.kl, result.log_q, result.log_p, log_px)

    @takes_images
    def encoder_features(self, images) -> list[tf.Tensor]:
        """What the encoder makes of images, per group; the same for every posterior draw."""
        return self._features(self.weights_for_inference(), images)

    def _features(self, w, images):
        x = self.image_decoder.to_network(images)
        return self.network.bottom_up(w, tf.cast(x, w.dtype))

    def _pass_from_seeds(self, images, seeds, features=None):
        noise = None if seeds is None else list(self.draw_noise(seeds).values())
        w = self.weights_for_inference()
        return self.posterior_pass(w, images, noise, features=features)

    @takes_images
    def encode(self, images, seeds=None) -> dict[str, tf.Tensor]:
        """Latents of images: posterior means, or draws when `seeds` `[B]` are given."""
        return dict(zip(self.groups, self._pass_from_seeds(images, seeds).latents))

    @takes_images
    def reconstruct(self, images, seeds=None) -> tf.Tensor:
        """Decoder mean at the encoded latents, `[B, H, W, C]` in [0, 1]."""
        head = self._pass_from_seeds(images, seeds).head
        return self.image_decoder.mean(self.image_decoder.distribution(head))

    @takes_images
    def negative_elbo(self, images, seeds) -> dict[str, tf.Tensor]:
        """Negative ELBO and its KL part in nats, `[B]` each, at one posterior draw per image."""
        result = self._pass_from_seeds(images, seeds)
        kl = tf.reduce_sum(result.kl, axis=1)
        log_px = self.image_decoder.log_prob(result.head, images)
        return {"nelbo": kl - log_px, "kl": kl}

    @takes_images
    def log_weights(self, images, seeds, features=None) -> tf.Tensor:
        """`log p(x|z) + log p(z) - log q(z|x)`, `[B]` nats, at one posterior draw per image.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32.
            features: list of tensors, of `encoder_features(images)`, to spare the encoder; None
                computes them.
        """
        result = self._pass_from_seeds(images, seeds, features)
        log_px = self.image_decoder.log_prob(result.head, images)
        return log_px + result.log_p - result.log_q

    @takes_images
    def kl_per_group(self, images, seeds) -> tf.Tensor:
        """`[B, L]` nats."""
        return self._pass_from_seeds(images, seeds).kl

    @takes_images
    def kl_per_channel(self, images, seeds) -> tf.Tensor:
        """`[L, C]` nats: summed over space, mean over the batch. A unit is active above 0.1."""
        kl = self._pass_from_seeds(images, seeds).kl_per_channel
        return tf.stack([tf.reduce_mean(k, axis=0) for k in kl])

    # -- editing ----------------------------------------------------------------------------------

    @takes_images
    def resample(self, images, seeds, num_top: int, which: str = "bottom") -> tf.Tensor:
        """Keeps some latent groups of `images` and draws the others from the prior.

        Args:
            images: `[B, H, W, C]`.
            seeds: `[B]` int32.
            num_top: integer, how many groups, from the top, count as "top".
            which: "bottom" redraws the groups below them (same content, new detail), "top" redraws
                those themselves.

        Returns:
            `[B, H, W, C]`.
        """
        if which not in ("bottom", "top"):
            raise ValueError(f"which is {which!r}; expected 'bottom' or 'top'")
        keep = [(index < num_top) == (which == "bottom") for index in range(len(self.groups))]
        noise = list(self.draw_noise(seeds).values())
        head = self.posterior_pass(self.weights_for_inference(), images, noise, keep).head
        return self.image_decoder.mean(self.image_decoder.distribution(head))

    def interpolate(self, first, second, num_steps: int = 8) -> tf.Tensor:
        """Images on the way from each of `first` to its partner in `second`.

        The path is an arc in the noise space: both ends are encoded, whitened by the prior and
        joined on the sphere, whose shell is where the prior's mass lies.

        Args:
            first: `[B, H, W, C]`.
            second: tensor like `first`.
            num_steps: integer, images on each path, ends included.

        Returns:
            `[B, num_steps, H, W, C]`.
        """
        start, end = (self.whiten(self.encode(images)) for images in (first, second))
        frames = []
        for t in tf.unstack(tf.linspace(0.0, 1.0, num_steps)):
            noise = {name: _arc(start[name], end[name], t) for name in self.groups}
            frames.append(self.generate(noise))
        return tf.stack(frames, axis=1)

    def whiten(self, latents: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The noise from which `generate` makes these latents: the inverse of prior sampling."""
        values = [latents[name] for name in self.groups]
        noise = {}

        def choose(group, loc_raw, log_scale_raw, _):
            prior = ClampedNormal(loc_raw, log_scale_raw)
            noise[self.groups[group]] = (values[group] - prior.loc) / prior.scale
            return values[group]

        self.network.top_down(self.weights_for_inference(), batch_size_of(values[0]), choose)
        return noise


def _group_prior(group, prior, state) -> GroupPrior:
    loc, scale = tf.convert_to_tensor(prior.loc), tf.convert_to_tensor(prior.scale)
    return GroupPrior(group, loc, scale, state if group else None)


def _arc(a, b, t):
    """Great-circle path between two tensors of each image, lengths interpolated linearly."""
    axes = list(range(1, a.shape.rank))
    norms = [tf.sqrt(tf.reduce_sum(v * v, axes, keepdims=True)) + 1e-12 for v in (a, b)]
    units = [a / norms[0], b / norms[1]]
    cosine = tf.clip_by_value(tf.reduce_sum(units[0] * units[1], axes, keepdims=True), -1.0, 1.0)
    angle = tf.acos(cosine * (1 - 1e-6))
    weights = tf.sin((1 - t) * angle), tf.sin(t * angle)
    direction = (weights[0] * units[0] + weights[1] * units[1]) / tf.sin(angle)
    return direction * ((1 - t) * norms[0] + t * norms[1])
