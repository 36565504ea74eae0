"""What a trained LSGM can do: turn noise into images by its solver and back, and score images.

`LSGM` (live weights) and `FrozenLSGM` (folded ones) share this.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.generative.base import NoiseSpec, batch_size_of, group_temperatures
from tfgen.generative.latent import GroupPrior, LatentGenerator, PosteriorWalk
from tfgen.generative.lsgm.control import LSGMControl
from tfgen.generative.lsgm.latents import JoinedLatents, whitened
from tfgen.generative.lsgm.mixing import NoisePredictor
from tfgen.generative.lsgm.objective import Draw, Objective
from tfgen.generative.over_vae import OverVAE
from tfgen.ops.diffusion import SDE
from tfgen.ops.random_streams import number
from tfgen.ops.seeded_rows import seeded_rows
from tfgen.samplers.diffusion import (
    FixedStepSolver,
    flow_log_prob,
    reconstruction_guidance,
    starting_state,
)
from tfgen.serving import PORTABLE

SOLVER_NOISE = "solver"
_FEW = 16  # latents whose divergence is summed exactly
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Ready(NamedTuple):
    """The VAE and the prior with weights that can be used within one graph.

    Attributes:
        vae: the `LatentGenerator`, which walks.
        predict: the `NoisePredictor`, function `(z, t)` -> noise.
    """

    vae: LatentGenerator
    predict: NoisePredictor


class LSGMInference(LSGMControl, OverVAE):
    """Sampling and scoring; a subclass provides the attributes and `ready`."""

    joined: JoinedLatents
    objective: Objective
    solver: Any
    num_evaluation_times: int
    num_density_probes: int

    def ready(self) -> Ready:
        """Weights to infer with."""
        raise NotImplementedError

    def base(self):
        return self.vae.prepared()

    @property
    def sde(self) -> SDE:
        """The diffusion."""
        return self.objective.sde

    @property
    def portable_to(self):
        """Solvers of fixed steps go everywhere; one that chooses its steps stays in TensorFlow."""
        return PORTABLE if isinstance(self.solver, FixedStepSolver) else ()

    why_not_portable = (
        "its solver chooses its steps as it goes; set one of fixed steps, such as "
        "model.set_sampler('dpm_solver')"
    )

    @property
    def encodes_noise(self):
        """Solvers that draw noise cannot be turned round."""
        return self.solver.turns_round(self.sde)

    @property
    def sampling_options(self):
        return (self.solver,)

    # -- from noise to images ----------------------------------------------------------------------

    def noise_spec(self, num_images: int | None = None) -> dict[str, NoiseSpec]:
        """One standard normal per latent group, as of the VAE; those of the diffusion's groups are
        where its solver starts. A solver that draws has its own beside them."""
        spec = dict(self.vae.noise_spec(num_images))
        if draws := self._num_draws:
            spec[SOLVER_NOISE] = NoiseSpec((num_images, draws, *self.joined.shape))
        return spec

    @property
    def _num_draws(self) -> int:
        return self.solver.num_draws(self.sde) if isinstance(self.solver, FixedStepSolver) else 0

    def generate(self, noise, temperature=1.0):
        """Images `[B, H, W, C]` in [0, 1] from noise: the prior's ODE or SDE, then the decoder.

        Args:
            noise: dict of tensors, as `noise_spec` names them.
            temperature: float or tensor `[L]`, scale on the noise of every group. Defaults to
                `1.0`.
        """
        return self.generate_with_count(noise, temperature)[0]

    def generate_with_count(
        self, noise, temperature=1.0, log_likelihood: Callable | None = None, scale: float = 1.0
    ):
        """`generate`, and how often the network was evaluated for each image, `[B]` int32.

        Args:
            noise: dict of tensors, as `noise_spec` names them.
            temperature: float or tensor `[L]`, scale on the noise of every group. Defaults to
                `1.0`.
            log_likelihood: function `(images, variance) -> [B]` towards which the prior is drawn:
                of images decoded from predicted latents, and of the variance around those, `[B]` or
                a scalar; None draws it nowhere.
            scale: float, its weight. Defaults to `1.0`.
        """
        ready, groups = self.ready(), self.groups
        temperatures = group_temperatures(temperature, len(groups))
        scaled = [noise[name] * temperatures[k] for k, name in enumerate(groups)]

        def decode(z):
            first = self.joined.split(tf.cast(z, tf.float32))
            values = [*first, *scaled[len(first) :]]

            def choose(prior: GroupPrior):
                return prior.loc + prior.scale * values[prior.index]

            return ready.vae.walk_prior(batch_size_of(values[0]), choose).mean()

        start, predict = self.joined.join(scaled), ready.predict
        if log_likelihood is not None:
            decode(start)  # weights are folded when first asked for: within a loop it is too late
            predict = reconstruction_guidance(
                self.sde, predict, lambda z, variance: log_likelihood(decode(z), variance), scale
            )
        solution = self._solve(predict, start, noise.get(SOLVER_NOISE))
        return decode(solution.state), solution.num_evaluations

    def generate_from_seeds_with_count(self, seeds, temperature=1.0):
        return self.generate_with_count(self.draw_noise(seeds), temperature)

    def _solve(self, predict, start, draws):
        state = starting_state(self.sde, start)
        if not isinstance(self.solver, FixedStepSolver):
            return self.solver.solve(self.sde, predict, tf.cast(state, tf.float64))
        options = {"noise": _swapped(draws)} if self._num_draws else {}
        return self.solver.solve(self.sde, predict, state, **options)

    # -- from images to noise ----------------------------------------------------------------------

    @takes_images
    def encode_noise(self, images, seeds=None) -> dict[str, tf.Tensor]:
        """The noise from which `generate` makes these images again, as `reconstruct` shows them:
        the encoder, then the ODE backwards.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32 of posterior draws; None takes posterior means.

        Returns:
            `{group: [B, ...]}`, as `noise_spec` names them.

        Raises:
            UserError: the solver draws noise, so that it cannot be turned round.
        """
        ready = self.ready()
        noise = ready.vae.posterior_noise(images, seeds)
        values = whitened(ready.vae.walk_posterior(images, noise))
        state = self.joined.join(values)
        if not isinstance(self.solver, FixedStepSolver):
            state = tf.cast(state, tf.float64)
        end = self.solver.encode(self.sde, ready.predict, state).state
        end = tf.cast(end, tf.float32) / self.sde.final_variance**0.5
        first = self.joined.split(end)
        return dict(zip(self.groups, [*first, *values[len(first) :]]))

    # -- likelihood --------------------------------------------------------------------------------

    def posterior_terms(self, images, seeds) -> tuple[PosteriorWalk, tf.Tensor]:
        """A posterior draw of images, and the KL of every group against LSGM's prior.

        The prior's cross entropy is estimated at `num_evaluation_times` times of every image, by
        which it stays an unbiased estimate of a bound.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32, of the posterior draw, the times and the noise.

        Returns:
            The walk and `[B, L]` nats.
        """
        ready, seeds = self.ready(), tf.convert_to_tensor(seeds, tf.int32)
        walk = ready.vae.walk_posterior(images, self.vae.draw_noise(seeds))
        values = whitened(walk)[: len(self.joined.names)]
        entropies = self._cross_entropies(ready.predict, self.joined.join(values), seeds)
        normal = tf.stack([normal_cross_entropy(value) for value in values], axis=1)
        # The VAE's KL has the cross entropy against its own prior, a standard Normal of these.
        first = walk.kl[:, : len(values)] + entropies - normal
        return walk, tf.concat([first, walk.kl[:, len(values) :]], axis=1)

    def _cross_entropies(self, predict: Callable, z, seeds) -> tf.Tensor:
        """`[B, groups of the diffusion]` nats, means over times that divide the interval evenly."""
        count, times = self.num_evaluation_times, self.objective.bound_times
        offset = seeded_rows(seeds, number("diffusion times"), 1, "uniform")[:, 0]
        size = math.prod(self.joined.shape)

        def at(k):
            rho = tf.math.floormod(tf.cast(offset, tf.float64) + k / count, 1.0)
            eps = seeded_rows(seeds, number("diffusion noise", k), size)
            draw = Draw(times.times(rho), tf.reshape(eps, tf.shape(z)))
            return self.objective.cross_entropies(predict, z, draw, list(self.joined.channels))

        return tf.add_n([at(k) for k in range(count)]) / count

    @takes_images
    def negative_elbo(self, images, seeds) -> dict[str, tf.Tensor]:
        """Negative ELBO and its KL part in nats, `[B]` each, at one posterior draw per image.

        The prior counts with its own bound, that of denoising score matching (LSGM, theorem 1).
        """
        walk, kl = self.posterior_terms(images, seeds)
        kl = tf.reduce_sum(kl, axis=1)
        return {"nelbo": kl - walk.log_px, "kl": kl}

    @takes_images
    def log_weights(self, images, seeds, features=None) -> tf.Tensor:
        """`log p(x|z) + log p(z) - log q(z|x)`, `[B]` nats, at one posterior draw per image.

        The prior's density is that of its ODE, by an adaptive solver: hundreds of evaluations of
        the network and its gradient. Its divergence is exact for few latents; for many it comes by
        `num_density_probes` probes of random signs, whose error an importance-weighted bound counts
        as if it were the posterior's, see `density_variance`.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32, of the posterior draw and of the probe.
            features: list of tensors, of `encoder_features(images)`, to spare the encoder; None
                computes them.
        """
        options = {} if features is None else {"features": features}
        walk, z, density = self._density(images, seeds, self.num_density_probes, **options)
        # The VAE's own prior is a standard Normal of these latents.
        gain = tf.cast(density.log_prob, tf.float32) + normal_cross_entropy(z)
        return walk.log_px + walk.log_p + gain - walk.log_q

    @takes_images
    def density_variance(self, images, seeds) -> tf.Tensor:
        """Estimates of the variance that probes leave in `log_weights`, `[B]` squared nats.

        With K draws of every image, an importance-weighted bound comes out too good by up to half
        of it (Jensen's inequality, for errors that are nearly Normal). 0 where the divergence is
        exact.

        Args:
            images: `[B, H, W, C]` in [0, 1].
            seeds: `[B]` int32, of the posterior draw and of the probes.
        """
        *_, density = self._density(images, seeds, 2 * self.num_density_probes)
        return 2.0 * tf.cast(tf.square(density.standard_error), tf.float32)

    def _density(self, images, seeds, num_probes, **options):
        """A posterior walk, the latents of the diffusion, and their log-density."""
        ready, seeds = self.ready(), tf.convert_to_tensor(seeds, tf.int32)
        walk = ready.vae.walk_posterior(images, self.vae.draw_noise(seeds), **options)
        z = self.joined.join(whitened(walk))
        few = math.prod(self.joined.shape) <= _FEW
        how = {"divergence": "exact"} if few else {"seeds": seeds, "num_probes": num_probes}
        return walk, z, flow_log_prob(self.sde, ready.predict, z, **how)

    @takes_images
    def kl_per_group(self, images, seeds) -> tf.Tensor:
        """`[B, L]` nats, against LSGM's prior."""
        return self.posterior_terms(images, seeds)[1]


def normal_cross_entropy(z) -> tf.Tensor:
    """`[B]` nats of a standard Normal at `z` `[B, ...]`: minus its log-density."""
    terms = 0.5 * tf.square(z) + _HALF_LOG_TWO_PI
    return tf.reduce_sum(terms, axis=list(range(1, z.shape.rank)))


def _swapped(x):
    """Exchanges the axes of batch and steps."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
