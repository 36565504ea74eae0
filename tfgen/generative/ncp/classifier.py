"""The network of one latent group: log r(z, c), the log-ratio of aggregate posterior and prior.

It never forms a probability: its output *is* log r, and D = sigmoid(log r - log nu) only stands in
the training loss. It sees z, its whitened form (z - mu) / sigma, and what
the prior of the group is conditioned on. Everything that does not depend on z is computed by
`context` once and shared by all proposals.
"""

import numpy as np
import tensorflow as tf

from tfgen.generative.latent import GroupPrior
from tfgen.layers import Cell, ParameterBank, Residual
from tfgen.ops.pointwise import swish
from tfgen.ops.random_streams import fold_in

SMALLEST_GRID = 4  # feature maps are not reduced below this
DENSE_LAYERS = 4
# From the bank's bound fan_in ** -0.5 to He's, for which activations keep their size from layer to
# layer. With smaller ones the network starts out nearly linear, and nothing linear tells the
# classes apart.
HE_GAIN = 6**0.5


def make_classifier(bank: ParameterBank, name, latent_shape, context_shape, options, trunk=None):
    """The classifier that fits a group: of grids for `(H, W, C)`, else of vectors.

    Args:
        bank: the `ParameterBank` where its parameters are declared.
        name: string, the group's name.
        latent_shape: tuple, shape of the group without the batch.
        context_shape: tuple, shape of what the group is conditioned on, or None.
        options: dict of `width`, `num_cells`, `num_directions`, `dropout`, `quadratic`.
        trunk: a `Trunk` to share with other groups of the same grid, or None.
    """
    width, quadratic = options["width"], options["quadratic"]
    if is_dense(latent_shape, options):
        directions = f"directions_{name}", options["num_directions"]
        return VectorClassifier(
            bank, latent_shape, context_shape, width, options["dropout"], quadratic, *directions
        )
    cells = options["num_cells"]
    return GridClassifier(bank, latent_shape, context_shape, width, cells, quadratic, trunk, name)


def is_dense(latent_shape, options) -> bool:
    """Whether a group's classifier is one of vectors."""
    return len(latent_shape) != 3 or options["num_directions"] > 0


class _Classifier:
    """What both kinds share: whitening, and the quadratic term.

    The quadratic term is linear in the coordinates of the whitened latents and their squares. It
    alone tilts every coordinate's marginal to another Normal, and leaves the rest to the network.
    It starts at zero, as the network's head does: before training log r is 0.
    """

    def __init__(self, bank, latent_shape, quadratic, directions="", num_directions=0):
        self.size = self.num_coordinates = int(np.prod(latent_shape))
        self.directions = None
        if num_directions:
            self.num_coordinates = min(self.size, num_directions)
            shape = (self.size, self.num_coordinates)
            self.directions = bank.free(directions, shape, trainable=False)
        self.quadratic = bank.dense(2 * self.num_coordinates, 1, gain=0.0) if quadratic else None

    def __call__(self, w, z, prior: GroupPrior, context, dropout_seed=None) -> tf.Tensor:
        """log r of `z`.

        Args:
            w: the group's view of the weights, `LiveWeights` or `FoldedWeights`.
            z: `[B, m, *latent_shape]`, m proposals for each of B contexts.
            prior: of the group, `[B, ...]`.
            context: tensor or None, `self.context(w, prior)`.
            dropout_seed: `[2]` int32, in training; None drops nothing.

        Returns:
            `[B, m]` float32.
        """
        loc, scale = tf.expand_dims(prior.loc, 1), tf.expand_dims(prior.scale, 1)
        white = (z - loc) / scale
        coordinates = tf.reshape(white, [-1, self.size])
        if self.directions is not None:
            coordinates = tf.matmul(coordinates, tf.cast(w.free(self.directions), tf.float32))
        logits = self._network(w, z, white, coordinates, context, dropout_seed)
        if self.quadratic is not None:
            both = [coordinates, 0.5 * (tf.square(coordinates) - 1.0)]
            logits += tf.cast(w.dense(self.quadratic, tf.concat(both, axis=1)), tf.float32)
        return tf.reshape(logits, [-1, z.shape[1] or tf.shape(z)[1]])


class FlatRatio:
    """log r = 0, of a group that keeps its prior."""

    def context(self, w, prior: GroupPrior):
        """None: it needs none."""
        del w, prior

    def __call__(self, w, z, prior: GroupPrior, context, dropout_seed=None) -> tf.Tensor:
        """Zeros `[B, m]` for `z` `[B, m, *latent_shape]`."""
        del w, prior, context, dropout_seed
        return tf.zeros(tf.shape(z)[:2])


class GridClassifier(_Classifier):
    """Convolutional classifier of latents `[H, W, C]`, of NVAE's residual cells.

    Projections of z and context, concatenated; cells; a cell that halves the grid while that is
    larger than 4 x 4, and cells again; batch norm, swish, mean over space, dense.

    Args:
        bank: the `ParameterBank` where its parameters are declared.
        latent_shape: `(H, W, C)`.
        context_shape: `(H, W, C')`, or None.
        width: integer, channels at full size; they double when the grid halves.
        num_cells: integer, cells at each size.
        quadratic: whether the quadratic term is added.
        trunk: a `Trunk` to share with other groups of the same grid.
        name: string, the group's name, for its embedding when the trunk is shared.
    """

    def __init__(
        self, bank, latent_shape, context_shape, width, num_cells, quadratic, trunk=None, name=""
    ):
        super().__init__(bank, latent_shape, quadratic)
        self.latent_shape, channels = tuple(latent_shape), latent_shape[-1]
        conditional = context_shape is not None
        half = width // 2 if conditional else width
        self.project_z = bank.conv(2 * channels, half, 3)
        self.project_context = None
        if conditional:
            self.project_context = bank.conv(context_shape[-1] + 2 * channels, width - half, 1)
        self.embedding = bank.free(f"embedding_{name}", (width,)) if trunk else None
        self.trunk = trunk or Trunk(bank, latent_shape[:2], width, num_cells)

    def context(self, w, prior: GroupPrior):
        """Projected context `[B, H, W, C/2]`, or None; the same for every z."""
        if self.project_context is None:
            return None
        raw = [prior.context, prior.loc, tf.math.log(prior.scale)]
        x = tf.concat([tf.cast(part, w.dtype) for part in raw], axis=-1)
        return w.conv(self.project_context, x)

    def _network(self, w, z, white, coordinates, context, dropout_seed):
        del coordinates, dropout_seed
        x = tf.cast(tf.concat([z, white], axis=-1), w.dtype)
        count = x.shape[1] or tf.shape(x)[1]
        x = w.conv(self.project_z, tf.reshape(x, [-1, *x.shape[2:]]))
        if context is not None:
            x = tf.concat([x, tf.repeat(context, count, axis=0)], axis=-1)
        if self.embedding is not None:
            x += w.free(self.embedding)
        return self.trunk(w, x)


class Trunk:
    """From features `[N, H, W, width]` to logits `[N, 1]`."""

    def __init__(self, bank, grid, width, num_cells):
        self.cells = [Cell(bank, Residual(), width, width) for _ in range(num_cells)]
        size = min(grid)
        while size // 2 >= SMALLEST_GRID and size % 2 == 0:
            self.cells.append(Cell(bank, Residual(), width, 2 * width, "down"))
            width, size = 2 * width, size // 2
            self.cells += [Cell(bank, Residual(), width, width) for _ in range(num_cells)]
        self.norm = bank.batch_norm(width)
        self.head = bank.dense(width, 1, gain=0.0)

    def __call__(self, w, x):
        for cell in self.cells:
            x = cell(w, x)
        x = tf.cast(w.norm(self.norm, x, "swish"), tf.float32)
        return w.dense(self.head, tf.reduce_mean(x, axis=[1, 2]))


class VectorClassifier(_Classifier):
    """Dense classifier: four swish layers with dropout.

    It sees z and its whitened form, or, with `num_directions`, only the coordinates of the latter
    along directions that `informative_directions` finds.
    """

    def __init__(
        self,
        bank,
        latent_shape,
        context_shape,
        width,
        dropout,
        quadratic,
        directions="",
        num_directions=0,
    ):
        super().__init__(bank, latent_shape, quadratic, directions, num_directions)
        self.dropout = dropout
        inputs = self.num_coordinates if num_directions else 2 * self.size
        self.first = bank.dense(inputs, width, HE_GAIN)
        self.project_context = None
        if context_shape is not None:
            inputs = int(np.prod(context_shape))
            if num_directions:
                # Few enough that the network does not know single contexts by heart.
                self.narrow_context = bank.dense(inputs, num_directions)
                self.project_context = bank.dense(num_directions, width)
            else:
                self.project_context = bank.dense(inputs + 2 * self.size, width)
        self.layers = [bank.dense(width, width, HE_GAIN) for _ in range(DENSE_LAYERS - 1)]
        self.head = bank.dense(width, 1, gain=0.0)

    def context(self, w, prior: GroupPrior):
        """Projected context `[B, width]`, or None; the same for every z."""
        if self.project_context is None:
            return None
        if self.directions is not None:
            return w.dense(self.project_context, w.dense(self.narrow_context, _flat(prior.context)))
        raw = [_flat(prior.context), _flat(prior.loc), _flat(tf.math.log(prior.scale))]
        return w.dense(self.project_context, tf.concat(raw, axis=-1))

    def _network(self, w, z, white, coordinates, context, dropout_seed):
        count = z.shape[1] or tf.shape(z)[1]
        if self.directions is None:
            parts = [tf.reshape(part, [-1, self.size]) for part in (z, white)]
            coordinates = tf.concat(parts, axis=-1)
        x = w.dense(self.first, coordinates)
        if context is not None:
            x += tf.repeat(context, count, axis=0)
        for index, layer in enumerate(self.layers):
            x = swish(x)
            if dropout_seed is not None and self.dropout:
                seed = fold_in(dropout_seed, index)
                x = tf.nn.experimental.stateless_dropout(x, self.dropout, seed, rng_alg="philox")
            x = w.dense(layer, x)
        return w.dense(self.head, swish(x))


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(x, tf.float32), [-1, int(np.prod(x.shape[1:]))])
