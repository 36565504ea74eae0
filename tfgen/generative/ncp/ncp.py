"""NCP-VAE: noise-contrastive priors for trained VAEs (Aneja et al., 2021, arXiv:2010.02917).

The prior of a VAE has mass where no image is encoded, and samples from there decode badly. Here a
trained generator is frozen; one binary classifier per latent group learns to tell its posterior
samples from its prior samples; their log-ratio log r reweights the prior, towards the aggregate
posterior. Samples come by importance resampling.
"""

from collections.abc import Sequence

import keras

from tfgen.errors import ConfigError
from tfgen.generative.ncp.classifier import FlatRatio, is_dense, make_classifier
from tfgen.generative.ncp.frozen import FrozenNCPVAE, visit
from tfgen.generative.ncp.inference import NCPInference, Ready
from tfgen.generative.ncp.training import NCPTraining
from tfgen.generative.over_vae import OverVAEModel
from tfgen.layers import FoldedWeights, LiveWeights, ParameterBank
from tfgen.ops.checks import in_range, whole_number

_MOST_CELLS = 1_000  # of one classifier; the largest recipe has 3


@keras.saving.register_keras_serializable(package="tfgen")
class NCPVAE(NCPInference, NCPTraining, OverVAEModel):
    """A trained VAE whose prior is reweighted by contrastive classifiers.

    Args:
        vae: a trained generator with latent groups, `NVAE` or another `LatentGenerator` that is a
            `keras.Model`. It is frozen: no training changes it.
        width: integer, channels of a classifier of grids, units of one of vectors. Defaults to
            `64`.
        num_cells: integer, residual cells at each grid size. Defaults to `2`.
        num_directions: integer; above 0, every classifier is one of vectors, which sees the
            whitened latents along so many directions, those in which the posterior means vary most.
            Takes little time and finds what is hidden among latents of noise; for groups up to some
            thousand. Defaults to `0`.
        refined_groups: integer, how many groups, top first, get a classifier; the others keep their
            prior. None: all. Holes are mostly at the top, and the fewer groups, the faster the
            sampling.
        dropout: float, share of units dropped in training by classifiers of vectors. Defaults to
            `0.1`.
        quadratic: whether to add a term linear in the whitened latents and their squares. Defaults
            to `True`.
        shared: whether one trunk serves all groups of the same grid, told apart by an embedding;
            saves parameters where groups are many. Defaults to `False`.
        num_negatives: integer nu, prior samples per posterior sample in training. Defaults to `1`.
        num_proposals: integer M of resampling, or a sequence of one per group; 1 leaves a group as
            it is. Defaults to `100`.
        chunk_size: integer, proposals weighed at once when sampling; changes no image. Defaults to
            `64`.
        evaluation_proposals: integer, prior samples of every held-out image. Defaults to `16`.
        seed: integer, seed of the initial weights and the training noise. Defaults to `0`.
        name: string, the model's name.

    Call arguments:
        images: `[B, H, W, C]` float32 in [0, 1].

    Returns:
        Reconstructions, which are those of `vae`.

    Example:

    >>> model = tfgen.NCPVAE(tfgen.from_preset("nvae_mnist"))  # doctest: +SKIP
    >>> model.compile(keras.optimizers.AdamW(1e-3))  # doctest: +SKIP
    >>> model.fit(pipeline.dataset(), steps_per_epoch=900, epochs=5)  # doctest: +SKIP
    >>> images = model.sample(64)  # doctest: +SKIP
    """

    def __init__(
        self,
        vae,
        width=64,
        num_cells=2,
        num_directions=0,
        refined_groups: int | None = None,
        dropout=0.1,
        quadratic=True,
        shared=False,
        num_negatives=1,
        num_proposals: int | Sequence[int] = 100,
        chunk_size=64,
        evaluation_proposals=16,
        seed=0,
        name="ncp_vae",
        **kwargs,
    ):
        super().__init__(vae, name=name, seed=seed, **kwargs)
        self._options = dict(
            width=width,
            num_cells=num_cells,
            num_directions=num_directions,
            refined_groups=refined_groups,
            dropout=dropout,
            quadratic=quadratic,
            shared=shared,
            num_negatives=num_negatives,
            chunk_size=chunk_size,
            evaluation_proposals=evaluation_proposals,
            seed=seed,
        )
        self._check_options()
        self.num_negatives, self.chunk_size = num_negatives, chunk_size
        self.set_num_proposals(num_proposals)
        self._declare()

    def _check_options(self):
        smallest = dict(
            width=2,
            num_cells=0,
            num_directions=0,
            num_negatives=1,
            chunk_size=1,
            evaluation_proposals=1,
        )
        for name, least in smallest.items():
            whole_number(name, self._options[name], least)
        if self._options["num_cells"] > _MOST_CELLS:
            raise ConfigError(
                f"num_cells is {self._options['num_cells']:,}; expected at most {_MOST_CELLS:,}"
            )
        if not 1 <= self.num_refined_groups <= len(self.vae.groups):
            raise ConfigError(
                f"refined_groups is {self._options['refined_groups']!r}; expected None or a number "
                f"from 1 to {len(self.vae.groups)}, the latent groups"
            )
        in_range("dropout", self._options["dropout"], 0.0, below=1.0)

    def set_num_proposals(self, num_proposals: int | Sequence[int]) -> None:
        """Sets M, a number or one per group, for the samples to come.

        Raises:
            ConfigError: not a number of at least 1 for every group.
        """
        number = len(self.vae.groups)
        counts = num_proposals
        if isinstance(num_proposals, int):
            refined = self.num_refined_groups
            counts = [num_proposals] * refined + [1] * (number - refined)
        counts = [int(count) for count in counts]
        if len(counts) != number or min(counts) < 1:
            raise ConfigError(
                f"num_proposals is {num_proposals!r}; expected a number of at least 1, or one for "
                f"each of {number} latent groups"
            )
        self.num_proposals = tuple(counts)  # which Keras does not wrap

    def _declare(self):
        """A classifier per group; one bank of parameters each, or one for all if shared."""
        shared = self._options["shared"]
        seed = self._options["seed"]
        refined = self.num_refined_groups
        count = 1 if shared else refined
        self.banks = [ParameterBank(seed=seed + k, name=f"classifier_{k}") for k in range(count)]
        trunks, classifiers = {}, []
        for index, (name, shape) in enumerate(self.vae.latent_shapes.items()):
            if index >= refined:
                classifiers.append(FlatRatio())
                continue
            bank = self.banks[0 if shared else index]
            context = self.vae.context_shapes[name]
            grid = not is_dense(shape, self._options)
            key = (tuple(shape), context is None) if grid else None
            trunk = trunks.get(key) if shared else None
            classifier = make_classifier(bank, name, shape, context, self._options, trunk)
            if shared and key is not None:
                trunks[key] = classifier.trunk
            classifiers.append(classifier)
        self.classifiers = tuple(classifiers)  # which Keras does not wrap
        self.groups_of_bank = [list(range(refined))] if shared else [[k] for k in range(refined)]

    @property
    def num_refined_groups(self) -> int:
        """Latent groups with a classifier."""
        refined, number = self._options["refined_groups"], len(self.vae.groups)
        return number if refined is None else refined

    # -- variables and weights ---------------------------------------------------------------------

    def build(self, input_shape=None):
        if self.built:
            return
        self.build_vae()
        for bank in self.banks:
            bank.build()
        self.build_training_state()
        if self._options["num_directions"]:
            self.directions_known = self.add_weight(
                name="directions_known", shape=(), initializer="zeros", trainable=False
            )
        self.built = True

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, declared or built."""
        return sum(bank.num_parameters for bank in self.banks)

    def measuring_pass(self, view) -> None:
        """What a training step computes for one image, with `view(bank)` instead of weights.

        The frozen pass keeps nothing for the backward pass.
        """
        views = [view(bank) for bank in self.banks]
        ready = Ready(self.vae, self._view_of_group(views), self.classifiers)
        visit(ready, self.vae, 1 + self.num_negatives)

    def _view_of_group(self, views):
        last = len(views) - 1  # a group without a classifier looks at no weights
        return [views[min(k, last)] for k in range(len(self.classifiers))]

    def ready(self) -> Ready:
        self.ensure_built()
        # In float32 under every policy: rounding of log r would bias the choice of proposals.
        views = [FoldedWeights(LiveWeights(bank)) for bank in self.banks]
        ready = Ready(self.vae.prepared(), self._view_of_group(views), self.classifiers)
        visit(ready, self.vae)
        return ready

    def frozen(self, storage: str = "float32") -> FrozenNCPVAE:
        """A copy for inference, all normalisation multiplied into the kernels.

        Args:
            storage: string, dtype that the copy keeps its weights in; it computes in float32.
                Defaults to `"float32"`.
        """
        return FrozenNCPVAE(self, storage)

    def call(self, images, training=False):
        del training
        return self.vae(images, training=False)

    # -- batch norm of the decoder ------------------------------------------------------

    def recalibrate_batch_norm(
        self, temperature=1.0, num_passes: int = 500, batch_size: int = 16, seed: int = 0
    ):
        """Refreshes the generator's running statistics on refined samples.

        This changes contexts that the classifiers were trained on: measure log Z again afterwards.
        See `NVAE.recalibrate_batch_norm`.
        """

        def sampler(view, seeds, temperature):
            ready = self.ready()
            return self._from_seeds(Ready(view, ready.views, ready.classifiers), seeds, temperature)

        self.vae.recalibrate_batch_norm(temperature, num_passes, batch_size, seed, sampler)

    def get_config(self):
        return {
            **super().get_config(),
            "num_proposals": list(self.num_proposals),
            **self._options,
        }
