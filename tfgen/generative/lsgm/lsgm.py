"""LSGM: a score-based prior in latent space (Vahdat, Kreis & Kautz, 2021, arXiv:2106.05931).

A VAE whose prior is a diffusion. Both are trained on one bound: the encoder learns to make latents
that the diffusion can model, the diffusion to model what the encoder makes. Samples come by solving
its ODE, in ten or twenty evaluations of a network, and decoding where that ends.
"""

import inspect
from collections.abc import Mapping

import keras
import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.errors import ConfigError
from tfgen.generative.lsgm.encoding import LSGMEncoding
from tfgen.generative.lsgm.frozen import FrozenLSGM
from tfgen.generative.lsgm.inference import LSGMInference, Ready
from tfgen.generative.lsgm.latents import JoinedLatents
from tfgen.generative.lsgm.mixing import PREDICTIONS, NoisePredictor
from tfgen.generative.lsgm.mlp import ScoreMLP
from tfgen.generative.lsgm.objective import Objective
from tfgen.generative.lsgm.score_network import ScoreNetwork, plain_options
from tfgen.generative.lsgm.training import LSGMTraining
from tfgen.generative.lsgm.unet import ScoreUNet
from tfgen.generative.over_vae import OverVAEModel
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.ops.diffusion import SDE, sde_from_config
from tfgen.ops.kinds import config_of
from tfgen.samplers.diffusion import RK45, SOLVERS, FixedStepSolver, solver_from_config

_SAMPLER = {"name": "dpm_solver", "num_steps": 20}


@keras.saving.register_keras_serializable(package="tfgen")
class LSGM(LSGMInference, LSGMTraining, LSGMEncoding, OverVAEModel):
    """A VAE with a diffusion prior over the latents of its smallest grid, or over all.

    Args:
        vae: a generator with latent groups, `NVAE` or another `LatentGenerator` that is a
            `keras.Model`; best trained before with its own prior.
        score_network: a `ScoreNetwork`, or a dict of the keyword arguments of `ScoreUNet` (where
            latents are grids) or `ScoreMLP` (where they are vectors); None is one with its
            defaults.
        scope: string, which latents get the diffusion: "smallest_grid", as in the paper, or "all".
            Those of larger grids then join as blocks over the smallest. Defaults to
            `"smallest_grid"`.
        sde: string, dict or `SDE`, the diffusion: "vpsde", "sub_vpsde", "vesde" or
            "geometric_sde". Defaults to `"vpsde"`.
        algorithm: integer, that of the paper by which both learn: 1, from one loss; 2, from two
            draws; 3, from one draw with a weighting each. Defaults to `1`.
        weighting: string, the prior's: "ll" (likelihood), "un" or "re" (better images; with
            algorithm 2 or 3). Defaults to `"ll"`.
        cutoff: float, the time at which the bound's integral starts; 0 needs a diffusion with an
            initial variance. Defaults to `0.01`.
        importance: whether times are drawn by the density that suits the weighting. Defaults to
            `True`.
        spacing: string, how the times of a batch are spread: "independent", "stratified",
            "systematic" or "antithetic". Defaults to `"systematic"`.
        control_variate: whether the bound is drawn as its difference from that of a Normal prior,
            with less noise; ours, False is the paper's. Defaults to `True`.
        prediction: string, what the network predicts: "noise", as in the paper, or "velocity", with
            which it learns sooner where latents are nearly Normal. Defaults to `"noise"`.
        mixing_logit: float, from which the network's share of the mixed score starts, per channel;
            None has the network alone. Defaults to `-6.0`.
        inactive_below: float, nats: channels in which the VAE's first images have fewer are left to
            the Normal prior when training begins, as `deactivate_channels` does; the paper's code
            takes 0.1. None leaves all to the network. Defaults to `None`.
        train_vae: whether the VAE learns along; otherwise training leaves it as it is. Defaults to
            `True`.
        vae_sees_average: whether the VAE learns against the moving average of the prior instead of
            the prior as it is, with algorithm 2 and an optimizer that keeps averages. Defaults to
            `False`.
        kl_initial: float, coefficient of the KL part at the first step. Defaults to `1.0`.
        kl_warmup_fraction: float, part of `total_steps` in which it rises to 1. Defaults to `0.1`.
        spectral_coefficient: float, weight of the spectral regularisation of the score network;
            that of the VAE is its own. Defaults to `0.0`.
        sampler: string, dict or solver of `tfgen.samplers.diffusion`; None is DPM-Solver++ (2M) of
            20 steps.
        num_evaluation_times: integer, times of every image at which the bound is evaluated.
            Defaults to `4`.
        num_density_probes: integer, random probes over which `log_weights` averages the divergence
            of the ODE; each costs as much as the first. Defaults to `1`.
        total_steps: integer, training steps of the whole run; None trains without warm-up.
        seed: integer, seed of the initial weights and the training noise. Defaults to `0`.
        name: string, the model's name.

    Call arguments:
        images: `[B, H, W, C]` float32 in [0, 1].

    Returns:
        Reconstructions, which are those of `vae`.

    Raises:
        ConfigError: the VAE cannot be walked, or a number or choice is out of range.

    Example:

    >>> model = tfgen.LSGM(tfgen.from_preset("nvae_mnist"))  # doctest: +SKIP
    >>> model.compile(keras.optimizers.Adam(3e-4))  # doctest: +SKIP
    >>> model.fit(pipeline.dataset(), steps_per_epoch=900, epochs=5)  # doctest: +SKIP
    >>> images = model.sample(64)  # doctest: +SKIP
    """

    def __init__(
        self,
        vae,
        score_network: ScoreNetwork | Mapping | None = None,
        scope="smallest_grid",
        sde: SDE | Mapping | str = "vpsde",
        algorithm=1,
        weighting="ll",
        cutoff=0.01,
        importance=True,
        spacing="systematic",
        control_variate=True,
        prediction="noise",
        mixing_logit: float | None = -6.0,
        inactive_below: float | None = None,
        train_vae=True,
        vae_sees_average=False,
        kl_initial=1.0,
        kl_warmup_fraction=0.1,
        spectral_coefficient=0.0,
        sampler: FixedStepSolver | RK45 | Mapping | str | None = None,
        num_evaluation_times=4,
        num_density_probes=1,
        total_steps: int | None = None,
        seed=0,
        name="lsgm",
        **kwargs,
    ):
        super().__init__(vae, frozen=not train_vae, name=name, seed=seed, **kwargs)
        sde = sde_from_config(sde)
        self.objective = Objective(
            sde, algorithm, weighting, cutoff, importance, spacing, control_variate
        )
        self.joined = JoinedLatents.of(vae.latent_shapes, scope)
        self._options = dict(
            scope=scope,
            prediction=prediction,
            mixing_logit=mixing_logit,
            inactive_below=inactive_below,
            train_vae=train_vae,
            vae_sees_average=vae_sees_average,
            kl_initial=kl_initial,
            kl_warmup_fraction=kl_warmup_fraction,
            spectral_coefficient=spectral_coefficient,
            total_steps=total_steps,
            num_evaluation_times=num_evaluation_times,
            num_density_probes=num_density_probes,
            seed=seed,
        )
        self._check_options()
        self.num_evaluation_times = num_evaluation_times
        self.num_density_probes = num_density_probes
        self.set_sampler(sampler)
        self.network = self._checked_network(score_network, seed)

    def _check_options(self):
        options = self._options
        one_of("prediction", options["prediction"], PREDICTIONS)
        for field in ("kl_initial", "kl_warmup_fraction"):
            in_range(field, options[field], 0.0, most=1.0)
        in_range("spectral_coefficient", options["spectral_coefficient"], 0.0)
        for field in ("num_evaluation_times", "num_density_probes"):
            whole_number(field, options[field], 1)
        if options["total_steps"] is not None:
            whole_number("total_steps", options["total_steps"], 1)
        if options["vae_sees_average"] and self.objective.algorithm != 2:
            raise ConfigError(
                f"vae_sees_average goes with algorithm 2, which asks the prior once for itself and "
                f"once for the VAE; algorithm is {self.objective.algorithm}"
            )
        if options["inactive_below"] is not None:
            in_range("inactive_below", options["inactive_below"], 0.0)

    def set_sampler(self, sampler: FixedStepSolver | RK45 | Mapping | str | None) -> None:
        """Sets the solver of the samples to come, as the constructor takes it.

        Raises:
            ConfigError: there is no such solver, or it has no such field.
        """
        self.solver = solver_from_config(_SAMPLER if sampler is None else sampler)

    def _checked_network(self, network, seed) -> ScoreNetwork:
        if not isinstance(network, ScoreNetwork):
            kind = ScoreUNet if self.joined.grid else ScoreMLP
            options = {"latent_shape": self.joined.shape, "seed": seed, **plain_options(network)}
            known = {*inspect.signature(kind).parameters, "name"}
            if unknown := set(options) - known:
                raise ConfigError(
                    f"score_network has no {', '.join(sorted(unknown))}; as a {kind.__name__} it "
                    f"has {', '.join(sorted(known - {'kwargs'}))}"
                )
            network = kind(dtype=self.dtype_policy, **options)
        if tuple(network.latent_shape) != self.joined.shape:
            raise ConfigError(
                f"the score network takes latents {network.latent_shape}; those of the VAE for "
                f"the diffusion are {self.joined.shape}"
            )
        return network

    # -- variables and weights ---------------------------------------------------------------------

    def build(self, input_shape=None):
        del input_shape
        if self.built:
            return
        self.build_vae()
        self.network.build()
        channels, logit = self.joined.shape[-1], self._options["mixing_logit"]
        options = dict(shape=(channels,), dtype="float32", autocast=False)
        self.mixing_logit = None
        if logit is not None:
            start = keras.initializers.Constant(logit)
            self.mixing_logit = self.add_weight(name="mixing_logit", initializer=start, **options)
        self.active = self.add_weight(
            name="active_channels", initializer="ones", trainable=False, **options
        )
        flag = dict(shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.singular_vectors_ready = self.add_weight(name="singular_vectors_ready", **flag)
        self.channels_chosen = self.add_weight(name="channels_chosen", **flag)
        self.built = True

    def alpha(self) -> tf.Tensor | None:
        """`[C]`, the network's share of the score in every channel; None where it is all of it."""
        logit = self.mixing_logit
        return None if logit is None else tf.sigmoid(tf.convert_to_tensor(logit))

    def active_channels(self) -> tf.Tensor:
        """`[C]`, 1 where the network sees a channel and 0 where the Normal prior has it alone."""
        return tf.convert_to_tensor(self.active)

    @property
    def predicts_velocity(self) -> bool:
        """Whether the network predicts velocity instead of noise."""
        return self._options["prediction"] == "velocity"

    @property
    def num_score_parameters(self) -> int:
        """Trainable numbers of the score network, mixing included, declared or built."""
        mixing = 0 if self._options["mixing_logit"] is None else self.joined.shape[-1]
        return self.network.num_parameters + mixing

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, declared or built."""
        own = self.num_score_parameters
        return own if self.vae_is_frozen else own + self.vae.num_parameters

    def describe(self):
        return {**super().describe(), "score_network_parameters": self.num_score_parameters}

    def measuring_pass(self, view) -> None:
        """What a training step computes for one image, with `view(bank)` instead of weights."""
        z = tf.zeros((1, *self.joined.shape))
        self.network.predict(view(self.network.bank), z, tf.ones([1]))
        if not self.vae_is_frozen:
            self.vae.measuring_pass(view)

    def ready(self) -> Ready:
        self.ensure_built()
        predict = NoisePredictor(
            self.sde,
            self.network.predict,
            self.network.folded(),
            self.alpha(),
            self.active_channels(),
            self.predicts_velocity,
        )
        return Ready(self.vae.prepared(), predict)

    def frozen(self, storage: str = "float32") -> FrozenLSGM:
        """A copy for inference, all normalisation multiplied into the kernels.

        Args:
            storage: string, dtype that the copy keeps its weights in; it computes in float32.
                Defaults to `"float32"`.
        """
        self.ensure_built()
        return FrozenLSGM(self, storage)

    @takes_images
    def call(self, images, training=False):
        del training
        return self.vae(images, training=False)

    def get_config(self):
        objective = self.objective
        return {
            **super().get_config(),
            "score_network": self.network.options(),
            "sde": objective.sde.get_config(),
            "algorithm": objective.algorithm,
            "weighting": objective.weighting,
            "cutoff": objective.cutoff,
            "importance": objective.importance,
            "spacing": objective.spacing,
            "control_variate": objective.control_variate,
            "sampler": config_of(SOLVERS, self.solver),
            **self._options,
        }
