"""How much memory a training step needs, estimated without computing anything."""

import tensorflow as tf

from tfgen.layers.bank import BatchNorm, Conv, Dense, GroupNorm

METHOD = (
    "per device: 4 bytes x parameters x (weights, gradients, optimizer slots, average), plus the "
    "outputs of all convolutions and normalisations that the backward pass reads, x batch; "
    "without recomputation, and without what the kernels use while they run"
)


class MeasuringWeights:
    """A view of a parameter bank that computes nothing and counts what a pass would keep.

    Stands where `LiveWeights` stands; its layers put out zeros of the right shape.

    Attributes:
        elements: integer, numbers kept so far, per image.
    """

    training = True
    recompute = False
    dtype = "float32"

    def __init__(self, bank):
        self.bank = bank
        self.elements = 0

    def conv(self, conv: Conv, x, before=None, after=None, activation=None):
        if before is not None:
            self._keep(x)
        batch, height, width, _ = x.shape
        grid = (-(-height // conv.stride), -(-width // conv.stride))
        y = self._keep(tf.zeros((batch, *grid, conv.filters)))
        return y if after is None and activation is None else self._keep(y)

    def pooled_conv(self, conv: Conv, x):
        batch, height, width, _ = x.shape
        return self._keep(tf.zeros((batch, height // 2, width // 2, conv.filters)))

    def phase_conv(self, convs, x):
        batch, height, width, _ = x.shape
        filters = sum(conv.filters for conv in convs)
        return self._keep(tf.zeros((batch, height // 2, width // 2, filters)))

    def norm(self, norm: BatchNorm, x, activation=None):
        del norm, activation
        return self._keep(x)

    def group_norm(self, norm: GroupNorm, x, activation=None, shift=None):
        del norm, activation, shift
        return self._keep(x)

    def dense(self, dense: Dense, x, activation=None):
        del activation
        return self._keep(tf.zeros((x.shape[0], dense.units)))

    def free(self, name: str) -> tf.Tensor:
        return tf.zeros(self.bank.free_shapes[name])

    def kernel(self, conv: Conv) -> tf.Tensor:
        return tf.zeros(self.bank.stacks[conv.stack].shape)

    def bias(self, conv: Conv) -> tf.Tensor | None:
        return None if conv.bias_row is None else tf.zeros([conv.filters])

    def _keep(self, x):
        self.elements += x.shape[1:].num_elements()
        return x


def activation_elements(model) -> int:
    """Numbers per image that the backward pass of a model reads.

    A model says what a step computes: `measuring_pass(view_of_bank)` runs it on zeros with whatever
    view of its parameter banks it is handed.
    """
    views = []

    def view(bank):
        views.append(MeasuringWeights(bank))
        return views[-1]

    with tf.Graph().as_default():
        model.measuring_pass(view)
    return sum(weights.elements for weights in views)


def training_gib(
    model, images_per_device: int, precision: str = "float32", averaged: bool = False
) -> float:
    """Memory of one training step on one device, in GiB; `METHOD` says what counts.

    Args:
        model: a `Model` with `num_parameters` and `measuring_pass`; it need not have variables yet.
        images_per_device: integer, images of a batch.
        precision: string, Keras's name of the policy.
        averaged: whether an average of the weights is kept.
    """
    per_activation = 4 if precision == "float32" else 2
    size = 4 * model.num_parameters * (4 + averaged)  # weight, gradient, two moments
    size += per_activation * activation_elements(model) * images_per_device
    return size / 2**30
