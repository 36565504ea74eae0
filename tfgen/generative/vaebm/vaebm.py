"""VAEBM: a VAE refined by an energy network (Xiao, Kreis, Kautz & Vahdat, 2021, arXiv:2010.00654).

A trained VAE puts its mass around all modes, and some of it between them. An energy network E
multiplies its density, h(x, z) = p(x, z) exp(-E(x)) / Z, and takes that mass away. It learns from
the difference between data and samples of short Langevin chains in the VAE's noise space.
"""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.errors import ConfigError
from tfgen.generative.over_vae import OverVAEModel, check_base
from tfgen.generative.vaebm.energy import EnergyNetwork
from tfgen.generative.vaebm.frozen import FrozenVAEBM
from tfgen.generative.vaebm.inference import Ready, SamplerOptions, VAEBMInference
from tfgen.generative.vaebm.noise_space import POTENTIALS, NoiseSpace
from tfgen.generative.vaebm.partition import log_partition_bounds
from tfgen.generative.vaebm.training import VAEBMTraining
from tfgen.ops.checks import one_of
from tfgen.optimizers import ClippedAdam as _ClippedAdam  # noqa: F401 (saved models name it)
from tfgen.samplers import PartitionBounds, ReplayBuffer


@keras.saving.register_keras_serializable(package="tfgen")
class VAEBM(VAEBMInference, VAEBMTraining, OverVAEModel):
    """A trained VAE whose density is multiplied by that of an energy network.

    Args:
        vae: a trained `NVAE` with a Normal decoder. It is frozen: no training changes it.
        energy: an `EnergyNetwork`, or a dict of its keyword arguments; None is one with its
            defaults.
        num_steps: integer K of the training's chains. Defaults to `10`.
        step_size: float eta, of training and sampling. Defaults to `8e-5`.
        noise_scale: float, factor on the noise sqrt(eta) of the chains; the implied temperature is
            its square. Defaults to `1.0`.
        sample_steps: integer K when images are drawn; 0 gives those of the VAE. Defaults to `16`.
        potential: what chains descend: "exact", E(x) + |eps|^2 / 2, or "official", that of the
            authors' code, which lacks the Jacobian's term. Defaults to `"exact"`.
        smoothing: float, deviation of the noise through which the energy sees images, see
            `tfgen.generative.vaebm.noise_space`; 0 as published. Defaults to `0.0`.
        negatives: shows the energy the decoder's "sample" (CIFAR-10) or "mean" (the other recipes).
            Defaults to `"sample"`.
        output: whether drawn images are the decoder's "mean" (the paper) or "sample". Defaults to
            `"mean"`.
        spectral_coefficient: float, weight alpha_s of the sum of largest singular values. Defaults
            to `0.2`.
        energy_coefficient: float, weight of the mean squared energies, which hold them near zero; 0
            as published. Defaults to `0.0`.
        buffer_size: integer, states of latents that chains may start from again; 0 always starts
            afresh. Defaults to `0`.
        replay_maximum: float, largest probability of starting from the buffer. Defaults to `0.6`.
        replay_anneal_steps: integer, steps over which it rises from 0. Defaults to `5000`.
        data_init_batches: integer, training batches from which `fit` initialises a new energy; 0
            does not. Defaults to `5`.
        seed: integer, seed of the initial weights and the chains. Defaults to `0`.
        name: string, the model's name.

    Call arguments:
        images: `[B, H, W, C]` float32 in [0, 1].

    Returns:
        Energies `[B]`.

    Raises:
        ConfigError: the VAE has another decoder, the energy takes other images, or a number or
            choice is out of range.

    Example:

    >>> model = tfgen.VAEBM(tfgen.from_preset("runs/mnist-vae"))  # doctest: +SKIP
    >>> model.compile(tfgen.optimizers.ClippedAdam(4e-5, weight_decay=3e-5))  # doctest: +SKIP
    >>> model.fit(pipeline.dataset(), steps_per_epoch=900, epochs=5)  # doctest: +SKIP
    >>> images = model.sample(64)  # doctest: +SKIP
    """

    def __init__(
        self,
        vae,
        energy: EnergyNetwork | Mapping | None = None,
        num_steps=10,
        step_size=8e-5,
        noise_scale=1.0,
        sample_steps=16,
        potential="exact",
        smoothing=0.0,
        negatives="sample",
        output="mean",
        spectral_coefficient=0.2,
        energy_coefficient=0.0,
        buffer_size=0,
        replay_maximum=0.6,
        replay_anneal_steps=5000,
        data_init_batches=5,
        seed=0,
        name="vaebm",
        **kwargs,
    ):
        self._check(vae, num_steps, sample_steps, step_size, potential, negatives, output)
        if smoothing < 0:
            raise ConfigError(f"smoothing is {smoothing}; expected a deviation of at least 0")
        super().__init__(vae, name=name, seed=seed, **kwargs)
        if not isinstance(energy, EnergyNetwork):
            options = {"image_shape": self.image_shape, "seed": seed, **_plain(energy)}
            energy = EnergyNetwork(dtype=self.dtype_policy, **options)
        if tuple(energy.image_shape) != self.image_shape:
            raise ConfigError(
                f"the energy takes images {energy.image_shape}, the VAE makes {self.image_shape}"
            )
        self.energy = energy
        self._options = dict(
            num_steps=num_steps,
            step_size=step_size,
            noise_scale=noise_scale,
            sample_steps=sample_steps,
            potential=potential,
            smoothing=smoothing,
            negatives=negatives,
            output=output,
            spectral_coefficient=spectral_coefficient,
            energy_coefficient=energy_coefficient,
            buffer_size=buffer_size,
            replay_maximum=replay_maximum,
            replay_anneal_steps=replay_anneal_steps,
            data_init_batches=data_init_batches,
            seed=seed,
        )
        self.sampler = SamplerOptions(sample_steps, step_size, noise_scale, potential, output)
        self.smoothing = smoothing
        self.buffer = None
        if buffer_size:
            self.buffer = ReplayBuffer(buffer_size, self.vae.latent_shapes, name="buffer")

    @staticmethod
    def _check(vae, num_steps, sample_steps, step_size, potential, negatives, output):
        check_base(vae)
        kind = getattr(getattr(vae, "image_decoder", None), "kind", "normal")
        if kind != "normal":
            raise ConfigError(
                f"the VAE has a {kind} decoder; VAEBM moves pixels along with latents and needs "
                "one trained with decoder='normal'"
            )
        if num_steps < 1 or sample_steps < 0 or not step_size > 0:
            raise ConfigError(
                f"num_steps is {num_steps}, sample_steps {sample_steps} and step_size {step_size}; "
                "expected at least 1, at least 0 and above 0"
            )
        for field, value, known in (
            ("potential", potential, POTENTIALS),
            ("negatives", negatives, ("sample", "mean")),
            ("output", output, ("sample", "mean")),
        ):
            one_of(field, value, known)

    # -- variables and weights --------------------------------------------------------------------

    def build(self, input_shape=None):
        del input_shape
        if self.built:
            return
        self.build_vae()
        if not self.energy.built:
            self.energy.build()
        if self.buffer is not None:
            self.buffer.build()
        options = dict(shape=(), trainable=False, initializer="zeros")
        self.log_z = self.add_weight(name="log_z", dtype="float32", **options)
        self.gap_average = self.add_weight(name="gap_average", dtype="float32", **options)
        self.initialized = self.add_weight(name="initialized", dtype="int32", **options)
        self.built = True

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, declared or built: those of the energy."""
        return self.energy.num_parameters

    def measuring_pass(self, view) -> None:
        """What a training step computes for one image, with `view(bank)` instead of weights."""
        self.energy.energies(view(self.energy.bank), tf.zeros((2, *self.image_shape)))
        self.vae.measuring_pass(view)  # of which a chain's step keeps the decoder

    def ready(self) -> Ready:
        self.ensure_built()
        view, vae = self.energy.folded(), self.vae.prepared()
        # Weights are folded where they are first used, which must not be within a chain's loop; in
        # a graph nothing but the folding is kept of this.
        noise = {name: tf.zeros((1, *shape)) for name, shape in self.latent_shapes.items()}
        NoiseSpace(vae).decode(noise)
        return Ready(vae, lambda images: self.energy.energies(view, images))

    def log_partition(self):
        self.ensure_built()
        return tf.convert_to_tensor(self.log_z)

    def frozen(self, storage: str = "float32") -> FrozenVAEBM:
        """A copy for inference, all normalisation multiplied into the kernels.

        Args:
            storage: string, dtype that the copy keeps its weights in; it computes in float32.
                Defaults to `"float32"`.
        """
        self.ensure_built()
        return FrozenVAEBM(self, storage)

    @takes_images
    def call(self, images):
        return self.energy(images)

    def estimate_log_partition(self, **options) -> PartitionBounds:
        """Bounds log Z, and keeps the upper bound, with which `negative_elbo` stays a bound.

        Where the lower bound lies above it, the walks were too short for the upper one to hold. The
        lower one is kept then, and likelihoods are at best what they seem: take more steps.

        Args:
            **options: keyword arguments of `log_partition_bounds`: chains, steps, seed.
        """
        bounds = log_partition_bounds(self, **options)
        self.log_z.assign(tf.cast(tf.maximum(bounds.lower, bounds.upper), tf.float32))
        return bounds

    def get_config(self):
        network = self.energy.get_config()
        kept = ("image_shape", "architecture", "num_channels", "signed_input", "seed")
        return {
            **super().get_config(),
            "energy": {name: network[name] for name in kept},
            **self._options,
        }


def _plain(energy) -> dict:
    if energy is None:
        return {}
    if isinstance(energy, Mapping):
        return dict(energy)
    raise ConfigError(
        f"energy is {energy!r}; expected an EnergyNetwork or its keyword arguments by name"
    )
