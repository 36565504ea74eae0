"""NVAE: a deep hierarchical variational autoencoder (Vahdat & Kautz, 2020, arXiv:2007.03898)."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.data.elements import images_of
from tfgen.errors import ConfigError
from tfgen.generative.base import batch_size_of
from tfgen.generative.latent import TrainingWalk
from tfgen.generative.nvae.architecture import check_options, groups_per_scale
from tfgen.generative.nvae.decoder import ImageDecoder
from tfgen.generative.nvae.frozen import FrozenNVAE, NVAEView, fold
from tfgen.generative.nvae.inference import NVAEInference
from tfgen.generative.nvae.network import Network
from tfgen.layers import DataDependentWeights, LiveWeights, ParameterBank
from tfgen.ops.philox import stateless_normals
from tfgen.ops.random_streams import number
from tfgen.training import schedules
from tfgen.training.model import Model
from tfgen.training.step_output import StepOutput

POWER_ITERATIONS = 4


@keras.saving.register_keras_serializable(package="tfgen")
class NVAE(NVAEInference, Model):
    """Deep hierarchical VAE over images in [0, 1].

    Args:
        image_shape: `(H, W, C)`; H and W plus padding divide by `2**(preprocess_blocks + num_scales
            - 1)`. Defaults to `(28, 28, 1)`.
        decoder: "bernoulli", "logistic_mixture" or "normal" (appendix A). Defaults to
            `"bernoulli"`.
        num_bits: integer, bit depth that a logistic mixture models. Defaults to `8`.
        num_mixtures: integer, components of a logistic mixture. Defaults to `10`.
        edge: "exact", or "nvae2020" for the published code's treatment of level 254. Defaults to
            `"exact"`.
        padding: integer, zero pixels added on every side; they never count in the likelihood.
            Defaults to `2`.
        num_channels: integer, channels of the stem; they double whenever the grid halves. Defaults
            to `32`.
        num_scales: integer, latent grids. Defaults to `2`.
        num_groups: integer, latent groups on the finest grid. Defaults to `10`.
        ada_groups: whether every coarser grid has half as many groups. Defaults to `True`.
        min_groups: integer, fewest groups of a grid, with `ada_groups`. Defaults to `1`.
        latent_channels: integer, channels of every z. Defaults to `20`.
        encoder_cells: integer, residual cells per group in the encoder. Defaults to `2`.
        decoder_cells: integer, likewise in the decoder. Defaults to `2`.
        preprocess_blocks: integer, blocks before the encoder, each halving the grid. Defaults to
            `2`.
        preprocess_cells: integer, cells of each of these blocks. Defaults to `3`.
        postprocess_blocks: integer, blocks after the decoder, each doubling the grid. Defaults to
            `2`.
        postprocess_cells: integer, cells of each of these blocks. Defaults to `3`.
        architecture: string, the kind of cells, see `ARCHITECTURES`. Defaults to `"res_mbconv"`.
        squeeze_excite: whether cells rescale their channels. Defaults to `True`.
        residual_posterior: whether the posterior is relative to the prior (equation 2). Defaults to
            `True`.
        num_flows: integer, pairs of autoregressive flow steps after each posterior (section 3.2).
            Defaults to `0`.
        conditional_flow: whether the flow sees encoder features (the published one does not).
            Defaults to `False`.
        spectral_coefficient: float lambda of spectral regularisation (section 3.2); 0 is none.
            Defaults to `0.01`.
        spectral_initial: float where lambda starts when it is annealed along the KL warm-up; None
            keeps it constant.
        batch_norm_coefficient: float, weight of the penalty on batch-norm scales; None is lambda.
        kl_warmup_fraction: float, part of `total_steps` over which beta rises (appendix A).
            Defaults to `0.3`.
        kl_constant_fraction: float, part of `total_steps` before the rise. Defaults to `1e-4`.
        kl_minimum: float, smallest beta. Defaults to `1e-4`.
        kl_balance: "square", "linear", "sqrt" or "equal" (appendix A), or None. Defaults to
            `"square"`.
        total_steps: integer, training steps of the whole run; None trains without warm-up.
        recompute: whether to recompute cells in the backward pass instead of keeping their
            activations. Defaults to `False`.
        seed: integer, seed of the initial weights and the training noise. Defaults to `0`.
        name: string, the model's name.

    Call arguments:
        images: `[B, H, W, C]` float32 in [0, 1].

    Returns:
        Reconstructions, like the images.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28, 1),
        decoder="bernoulli",
        num_bits=8,
        num_mixtures=10,
        edge="exact",
        padding=2,
        num_channels=32,
        num_scales=2,
        num_groups=10,
        ada_groups=True,
        min_groups=1,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=2,
        preprocess_cells=3,
        postprocess_blocks=2,
        postprocess_cells=3,
        architecture="res_mbconv",
        squeeze_excite=True,
        residual_posterior=True,
        num_flows=0,
        conditional_flow=False,
        spectral_coefficient=1e-2,
        spectral_initial: float | None = None,
        batch_norm_coefficient: float | None = None,
        kl_warmup_fraction=0.3,
        kl_constant_fraction=1e-4,
        kl_minimum=1e-4,
        kl_balance: str | None = "square",
        total_steps: int | None = None,
        recompute=False,
        seed=0,
        name="nvae",
        **kwargs,
    ):
        options = {
            k: v for k, v in locals().items() if k not in ("self", "kwargs", "name", "__class__")
        }
        check_options(options)
        # Under mixed precision Keras would round the pixels before anyone has seen them.
        super().__init__(name=name, seed=seed, autocast=False, **kwargs)
        options["image_shape"] = tuple(image_shape)
        self._options = options
        self.image_shape = options["image_shape"]
        self.residual_posterior = residual_posterior
        self.image_decoder = ImageDecoder(
            decoder, self.image_shape, padding, num_bits, num_mixtures, edge
        )
        scales = groups_per_scale(num_scales, num_groups, ada_groups, min_groups)
        self.bank = ParameterBank(seed=seed, name="parameters")
        self.network = Network(
            self.bank,
            self._checked_grid(),
            self.image_shape[-1],
            self.image_decoder.head_channels,
            scales,
            options,
        )
        self.alpha = schedules.group_weights(scales, kl_balance or "equal")

    def _checked_grid(self) -> tuple[int, int]:
        options = self._options
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ConfigError(
                f"image_shape is {self.image_shape}; expected (height, width, channels)"
            )
        grid = tuple(size + 2 * options["padding"] for size in self.image_shape[:2])
        factor = 2 ** (options["preprocess_blocks"] + options["num_scales"] - 1)
        if any(size % factor for size in grid):
            raise ConfigError(
                f"image_shape {self.image_shape} with padding {options['padding']} gives a grid of "
                f"{grid[0]}x{grid[1]}, which must divide by {factor} = "
                "2**(preprocess_blocks + num_scales - 1); change padding, blocks or scales"
            )
        return grid

    # -- variables and weights --------------------------------------------------------------------

    def build(self, input_shape=None):
        if self.built:
            return
        self.bank.build()
        self.singular_vectors_ready = self.add_weight(
            name="singular_vectors_ready",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
        )
        self.built = True

    def weights_view(self, training: bool = False) -> LiveWeights:
        """The variables as one pass sees them."""
        if not self.built:
            self.build()
        recompute = training and self._options["recompute"]
        return LiveWeights(self.bank, training, self.compute_dtype, recompute)

    def weights_for_inference(self) -> LiveWeights:
        return self.weights_view(training=False)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, whether they are variables yet or not."""
        return self.bank.num_parameters

    def measuring_pass(self, view: Callable) -> None:
        """What a training step computes for one image, with `view(bank)` instead of weights."""
        noise = [tf.zeros((1, *shape)) for shape in self.network.latent_shapes]
        self.posterior_pass(view(self.bank), tf.zeros((1, *self.image_shape)), noise)

    @takes_images
    def call(self, images, training=False):
        result = self.posterior_pass(self.weights_view(training), images, None)
        return self.image_decoder.mean(self.image_decoder.distribution(result.head))

    def frozen(self, storage: str = "float32") -> FrozenNVAE:
        """A copy for inference: weight norm and batch norm multiplied into the kernels, no
        training.

        Args:
            storage: string, dtype that the copy keeps its weights in; "float16" halves what it
                takes, and it still computes in float32. Defaults to `"float32"`.
        """
        return FrozenNVAE(self, storage)

    def prepared(self) -> NVAEView:
        """A view with today's weights, folded within the graph that asks for it."""
        return NVAEView(self, fold(self, self.compute_dtype))

    def generate_from_seeds(self, seeds, temperature=1.0):
        # Fold inside the graph: sampling sees today's weights and still runs plain convolutions.
        return self.prepared().generate(self.draw_noise(seeds), temperature)

    # -- training ---------------------------------------------------------------------------------

    @takes_images
    def initialize_from_data(self, images) -> None:
        """Sets gains and biases of the cells without batch norm from a batch of images.

        What the architecture "res_elu" starts from; other architectures have no such cells and stay
        as they are.

        Args:
            images: `[B, H, W, C]` in [0, 1]; a few training batches together.
        """
        if not self.built:
            self.build()
        convs = self.network.convs_without_norm()
        self.posterior_pass(DataDependentWeights(self.bank, convs), images, None)

    def kl_coefficient(self, step) -> tf.Tensor:
        """beta at a training step (appendix A)."""
        options = self._options
        if options["total_steps"] is None:
            return tf.ones([])
        warmup = schedules.KLWarmup(
            options["total_steps"],
            options["kl_constant_fraction"],
            options["kl_warmup_fraction"],
            options["kl_minimum"],
        )
        return tf.cast(warmup(step), tf.float32)

    def regularization_coefficient(self, beta) -> tf.Tensor:
        """lambda at KL coefficient `beta` (appendix A)."""
        final, initial = (self._options[k] for k in ("spectral_coefficient", "spectral_initial"))
        if initial is None:
            return tf.constant(final, tf.float32)
        return schedules.anneal_coefficient(beta, initial, final)

    def training_loss(self, data):
        """The training objective of one batch: the bound with KL balancing, and the penalties."""
        images = images_of(data)
        w = self.weights_view(training=True)
        result = self.posterior_pass(w, images, self._training_noise(batch_size_of(images)))
        log_px = self.image_decoder.log_prob(result.head, images)
        beta = self.kl_coefficient(self.train_steps)
        gamma = tf.ones([self.network.num_groups])
        if self._options["kl_balance"] is not None:
            mean_abs = tf.reduce_mean(tf.abs(result.kl), axis=0)
            gamma = schedules.balance_coefficients(mean_abs, self.alpha, beta)
        balanced = tf.linalg.matvec(result.kl, gamma)
        kl = tf.reduce_sum(result.kl, axis=1)
        penalty, updates = self._penalty(w, beta)
        loss = tf.reduce_mean(beta * balanced - log_px) + penalty
        logs = {
            "nelbo": tf.reduce_mean(kl - log_px),
            "reconstruction": -tf.reduce_mean(log_px),
            "kl": tf.reduce_mean(kl),
            "kl_coefficient": beta,
            "regularization": penalty,
            "kl_per_group": tf.reduce_mean(result.kl, axis=0),
        }
        return StepOutput(loss, logs, w.statistics_updates() + updates)

    def _training_noise(self, batch_size):
        shapes = [(batch_size, *shape) for shape in self.network.latent_shapes]
        groups = range(len(shapes))
        seeds = [self.step_seed(number("group posterior", group)) for group in groups]
        return stateless_normals(shapes, seeds)

    def _penalty(self, w: LiveWeights, beta):
        """lambda times spectral sum plus batch-norm scales, and new singular vectors."""
        coefficient = self.regularization_coefficient(beta)
        batch_norm = self._options["batch_norm_coefficient"]
        batch_norm = coefficient if batch_norm is None else tf.constant(batch_norm, tf.float32)
        penalty, updates = batch_norm * self.bank.scale_penalty(), []
        if self._options["spectral_coefficient"]:
            spectral, updates = w.spectral_sum(POWER_ITERATIONS)
            penalty += coefficient * spectral
        return penalty, updates

    def training_walk(self, images, noise):
        w = self.weights_view(training=True)
        walk = self.walk_with(w, images, noise)
        penalty, updates = self._penalty(w, tf.ones([]))
        return TrainingWalk(walk, penalty, w.statistics_updates() + updates)

    def prepare_training(self):
        if int(self.singular_vectors_ready.numpy()) == 0:
            self.initialize_singular_vectors()

    def make_train_function(self, force=False):
        if not self.built:
            self.build()
        self.build_optimizer()  # within the first trace its variables would cost a second one
        self.prepare_training()
        return super().make_train_function(force)

    def initialize_singular_vectors(self):
        """Forty power iterations before the first step, as in the published code."""
        self.weights_view().initialize_singular_vectors()
        self.singular_vectors_ready.assign(1)

    def evaluation_logs(self, data):
        """Negative ELBO, its parts and the KL of each group, per image, with running statistics.

        The `loss`, which callbacks watch, is the negative ELBO: without balance or penalties.
        """
        images = images_of(data)
        batch_size = batch_size_of(images)
        # A fixed stream, so that evaluations of one model agree; fresh noise for every image.
        shapes = [(batch_size, *shape) for shape in self.network.latent_shapes]
        noise = stateless_normals(shapes, [(self.seed, index) for index in range(len(shapes))])
        result = self.posterior_pass(self.weights_view(), images, noise)
        kl = tf.reduce_sum(result.kl, axis=1)
        log_px = self.image_decoder.log_prob(result.head, images)
        return {
            "loss": kl - log_px,
            "nelbo": kl - log_px,
            "reconstruction": -log_px,
            "kl": kl,
            "kl_per_group": result.kl,
        }

    # -- batch norm -------------------------------------------------------------------------------

    def recalibrate_batch_norm(
        self,
        temperature=1.0,
        num_passes: int = 500,
        batch_size: int = 16,
        seed: int = 0,
        sampler: Callable | None = None,
    ):
        """Refreshes the decoder's running statistics on its own samples (section 4.2).

        The authors recommend it before sampling at low temperature. The encoder's stay untouched.

        Args:
            temperature: float at which samples will be drawn. Defaults to `1.0`.
            num_passes: integer, batches drawn. Defaults to `500`.
            batch_size: integer, images in each batch. Defaults to `16`.
            seed: integer, seed of their noise. Defaults to `0`.
            sampler: function of `(view of this model, seeds, temperature)` that walks the view's
                prior; None samples plainly. A refined prior passes its own.
        """
        if sampler is None:
            sampler = NVAEView.generate_from_seeds

        @tf.function(autograph=False)
        def refresh(seeds):
            w = self.weights_view(training=True)
            sampler(NVAEView(self, w), seeds, temperature)
            for variable, value in w.statistics_updates():
                variable.assign(value)

        seeds = self.seeds_for(num_passes * batch_size, seed).reshape(num_passes, batch_size)
        for row in seeds:
            refresh(tf.constant(row))

    def get_config(self):
        return {**super().get_config(), **self._options, "image_shape": list(self.image_shape)}
