"""One step of training as a pure function, which writes nothing and differentiates twice."""

import contextlib

import keras
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.forward import (
    Statistics,
    exact_moments,
    layers_of,
    pure_batch_norms,
    random_states,
    redrawn,
    smooth_unit_norms,
)
from tfgen.privacy.network.losses import ClientLoss


class _Scope(keras.StatelessScope):
    """Within, what layers assign in a call is no part of its derivative, as in Keras.

    A variable of which more was read after an assignment, as spectral normalisation does with its
    kernel, has the gradient by its value then.
    """

    def add_update(self, update):
        variable, value = update
        before = self.get_current_value(variable)
        if before is None or not value.dtype.is_floating:
            before, change = tf.zeros_like(value), value
        else:
            change = value - before
        super().add_update((variable, before + tf.stop_gradient(change)))


class PureStep:
    """Loss, gradient and batch-norm statistics of a model.

    Args:
        model: a built `keras.Model`.
        training: whether it is called for training.

    Attributes:
        variables: list of the variables that the gradient is taken by.
        batch_norms: list of the batch-norm layers.
        random_states: of the generators that layers draw from in training.
        dtype: of inputs and gradients: float32, or float64 of a float64 model.
        loss: what is differentiated; to be set.

    Raises:
        UserError: the model has nothing to train.
    """

    loss: ClientLoss

    def __init__(self, model: keras.Model, training: bool):
        self.model, self.training = model, training
        self.variables = list(model.trainable_variables)
        if not self.variables:
            raise UserError("the model has no trainable variables; a gradient of it says nothing")
        double = any(v.dtype == "float64" for v in self.variables)
        self.dtype = tf.float64 if double else tf.float32
        self.batch_norms = [
            x for x in layers_of(model) if isinstance(x, keras.layers.BatchNormalization)
        ]
        self.random_states = random_states(model)

    @property
    def frozen_batch_norms(self) -> str:
        """Which batch norms use moving averages in training too: "none", "some" or "all"."""
        frozen = [not layer.trainable for layer in self.batch_norms]
        return "none" if not any(frozen) else "all" if all(frozen) else "some"

    @property
    def mixes_images(self) -> bool:
        """Whether images of a batch change each other's gradients: batch norm does in training."""
        return self.training and bool(self.batch_norms) and self.frozen_batch_norms != "all"

    @property
    def draws_at_random(self) -> bool:
        """Whether a step of training draws at random, as dropout does."""
        return self.training and bool(self.random_states)

    def compute(
        self,
        inputs: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[Statistics]]:
        """One step of a client, as a pure and differentiable function.

        Args:
            inputs: `[K, H, W, C]`, normalised.
            labels: `[K, N]`, one-hot or soft.
            seed: integers `[2]`, of dropout masks in train mode. None: those that the states of
                the model's generators give, the same in every call.
            sample_weight: factors on the loss of each image, `[K]`; None: all one.

        Returns:
            The loss; its gradient by every trainable variable, float32 (float64 of a float64
            network); the mean and biased variance of the input of every batch-norm layer, in the
            order of the forward pass.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = [v.value for v in self.variables]
            tape.watch(weights)
            loss, statistics = self.forward(inputs, labels, seed, sample_weight)
        gradients = tape.gradient(loss, weights)
        if all(g is None for g in gradients):
            raise UserError(
                "the loss cannot be differentiated by any weight of the model; give a function "
                "made of TensorFlow or Keras operations"
            )
        # A weight that the loss does not reach is shared as zeros.
        gradients = [tf.zeros(v.shape) if g is None else g for g, v in zip(gradients, weights)]
        return loss, [tf.cast(g, self.dtype) for g in gradients], statistics

    def forward(
        self,
        inputs: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, list[Statistics]]:
        """Loss and batch-norm statistics of a batch; see `compute`."""
        statistics: list[Statistics] = []
        with self._pure(statistics, seed):
            outputs = self.model(inputs, training=self.training)
            loss = self.loss(inputs, labels, outputs, self.training, sample_weight)
        return tf.reduce_sum(loss), statistics  # without a reduction Keras differentiates the sum

    def loss_of_outputs(
        self, inputs: tf.Tensor, labels: tf.Tensor, outputs: tf.Tensor
    ) -> tf.Tensor:
        """The loss that outputs would have, without a forward pass; see `compute`."""
        with self._pure([]):
            return tf.reduce_sum(self.loss(inputs, labels, outputs, self.training))

    @contextlib.contextmanager
    def _pure(self, statistics, seed=None):
        """Within, a call of the model writes nothing, and notes what batch norms see."""
        # Regularisers see nothing but variables whose values the scope is told.
        values = [(variable, variable.value) for variable in self.variables]
        if self.draws_at_random and seed is not None:
            values += redrawn(self.random_states, seed)
        with (
            _Scope(values, collect_losses=True),
            pure_batch_norms(self.batch_norms, self.training, statistics),
            exact_moments(),
            smooth_unit_norms(self.model),
        ):
            yield
