"""The base of every model that is trained: a `keras.Model` whose step cannot poison itself."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops import random_streams
from tfgen.training.joint_optimizer import JointOptimizer
from tfgen.training.keras_methods import KerasMethods
from tfgen.training.replicas import (
    is_multi_worker,
    mean_over_replicas,
    mean_updates,
    num_replicas,
    replica_id,
    sum_over_replicas,
)
from tfgen.training.running_means import RunningMeans
from tfgen.training.step_output import StepOutput
from tfgen.training.update import (
    apply_gradients,
    apply_or_skip,
    reject_gradients,
    sum_of_squares,
)

_COUNTERS = {
    "train_steps": 0,
    "skipped_steps": 0,
    "consecutive_skips": 0,
    "first_skipped_step": -1,
    "last_skipped_step": -1,
}


class Model(KerasMethods):
    """A `keras.Model` with the training step that deep generative models need.

    A subclass implements `training_loss`; `compile` takes any Keras optimizer and no loss, and
    `fit` does the rest. What this adds to Keras:

    - **Guard.** If the loss or any gradient is not finite, the whole update is skipped: weights,
      optimizer state, weight averages and `StepOutput.updates` stay as they were, and the step
      is counted. `tfgen.training.NonFiniteGuard` stops a run that skips too often.
    - **Counter.** `train_steps` counts every consumed batch, skipped or not. Random numbers
      (`step_seed`), the position in the data and loss schedules derive from it alone, so a
      resumed run continues as if it had never stopped.
    - **Logs.** Scalars returned by `training_loss` are averaged over the epoch's accepted steps
      and shown by `fit`. Vectors (KL per latent group, say) are averaged as well but not shown:
      callbacks read them from `vector_logs()`.
    - **Strategies.** The same step runs under `MirroredStrategy`, `MultiWorkerMirroredStrategy`
      (which Keras 3's `fit` alone does not), with `jit_compile`, and on one replica with
      `steps_per_execution`.

    State that layers assign directly during the forward pass, such as Keras's own
    `BatchNormalization` statistics, is outside the guard; return it in `StepOutput.updates`.

    A model of several losses overrides `compute_gradients`; one whose parts have optimizers of
    their own is compiled with a `JointOptimizer` and says in `variable_groups` which is which.

    Args:
        seed: integer, seed of all random numbers drawn in training. Defaults to `0`.
        **kwargs: keyword arguments of `keras.Model`, such as `name` and `dtype`.

    Attributes:
        train_steps: int64 variable, batches consumed.
        skipped_steps: int64 variable, batches whose update was skipped.
        consecutive_skips: int64 variable, length of the current run of skips.
        first_skipped_step: int64 variable, `train_steps` at the start of the latest run of skips,
            -1 before any.
        last_skipped_step: int64 variable, `train_steps` at the latest skip, -1 before any.
    """

    def __init__(self, *args, seed: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed = int(seed)
        for name, start in _COUNTERS.items():
            setattr(self, name, self._add_counter(name, start))
        self._train_means = RunningMeans()
        self._test_means = RunningMeans()

    # What a subclass implements.

    def training_loss(self, data) -> StepOutput:
        """The loss of one batch and what to report about it.

        Args:
            data: arrays of one batch by name, such as `data["images"]`, whatever form the data
                set has them in; see `tfgen.data.elements`.

        Returns:
            A `StepOutput`; a plain tuple of loss and logs will do where there is no more.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define training_loss(data).")

    def compute_gradients(self, data) -> tuple[StepOutput, list]:
        """What a step computes from one batch: `training_loss` and its gradients.

        Models of several losses override this: each loss is `scaled` within the tape and
        differentiated in the variables that are to follow it. Nothing is assigned here.

        Args:
            data: arrays of one batch by name, such as `data["images"]`, whatever form the data
                set has them in; see `tfgen.data.elements`.

        Returns:
            The output, and the gradients of the scaled losses in the order of
            `trainable_variables`. If the output's loss or any gradient is not finite, nothing of
            the step is applied.
        """
        with tf.GradientTape() as tape:
            output = StepOutput(*self.training_loss(data))
            loss = self.scaled(output.loss)
        return output, tape.gradient(loss, self.trainable_variables)

    def after_step(self, extras, accepted: tf.Tensor) -> None:
        """Called at the end of every step, in replica context.

        Args:
            extras: those of this step's `StepOutput`, of any structure.
            accepted: boolean scalar, the same on all replicas: whether the step was applied.
        """
        del extras, accepted

    # Names in `training_state` that checkpoints did not always hold: where they are missing, they
    # stay as in a new run.
    later_training_state: tuple[str, ...] = ()
    # Likewise of the model itself, by its path behind the model's name.
    later_state: tuple[str, ...] = ()

    def variable_groups(self) -> dict[str, list[keras.Variable]]:
        """The trainable variables of every part that has an optimizer of its own, by the names of
        the `JointOptimizer` the model is compiled with."""
        return {}

    @property
    def training_state(self) -> list[keras.Variable]:
        """Variables worth nothing once training is over: checkpoints hold them only beside the
        optimizer's, and presets do not."""
        return []

    def evaluation_logs(self, data) -> dict[str, tf.Tensor]:
        """Values of each example of one batch, which `evaluate` averages over the data set.

        Args:
            data: arrays of one batch by name, such as `data["images"]`, whatever form the data
                set has them in; see `tfgen.data.elements`.

        Returns:
            A dict of `[B]` (shown) or `[B, N]` (kept for `vector_logs(training=False)`). What is
            called `loss` is what Keras's callbacks watch by default, as `val_loss`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define evaluation_logs(data).")

    # What a subclass may add for `tfgen-train`.

    progress_names: tuple[str, ...] = ("loss", "nelbo", "kl")  # scalars that the progress bar shows

    def training_callbacks(self, held_out, directory=None) -> list[keras.callbacks.Callback]:
        """Callbacks of this system, run before those that record.

        Args:
            held_out: a data set of the images set aside, or None.
            directory: `Path` of the run's folder, or None where this process may not write.
        """
        del held_out, directory
        return []

    def ended_early(self) -> str | None:
        """Why a run is over before its last epoch, or None; it is the same of a restored model."""
        return None

    def finish(self) -> bool:
        """Called once a run has reached its end; returns whether this changed any weights."""
        return False

    # What `fit` calls.

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """One guarded update; returns the means of the reported scalars so far in this epoch."""
        output, gradients = self.compute_gradients(self.batch_of(data))
        variables = self.trainable_variables
        updates = mean_updates(output.updates)
        with tf.init_scope():
            self.build_optimizer()

        loss = tf.cast(output.loss, tf.float32)
        square_norm = sum_of_squares(gradients)
        norm = tf.sqrt(square_norm) / self.scaled(tf.constant(1.0))
        logs = {"loss": loss, **output.logs, "gradient_norm": norm}
        finite = tf.math.is_finite(loss) & tf.math.is_finite(square_norm)
        # One reduction carries the replicas' verdicts and all they report.
        packed = self._train_means.pack(logs)
        packed = tf.concat([[tf.cast(finite, tf.float32)], packed], axis=0)
        packed = mean_over_replicas(packed)
        accept = tf.equal(packed[0], 1.0)

        def apply(gradients, values):
            apply_gradients(self.optimizer, gradients, variables)
            for (variable, _), value in zip(updates, values):
                variable.assign(tf.cast(value, variable.dtype))

        apply_or_skip(
            accept,
            apply,
            lambda: reject_gradients(self.optimizer),
            arguments=(gradients, [value for _, value in updates]),
        )
        self._count(accept)
        reported = tf.where(accept, packed[1:], tf.zeros_like(packed[1:]))
        self._train_means.update(reported, weight=tf.cast(accept, tf.float32))
        self.after_step(output.extras, accept)
        return self._step_logs(self._train_means)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """Adds one batch to the means of `evaluation_logs` over the data set."""
        logs = {
            name: tf.cast(value, tf.float32)
            for name, value in self.evaluation_logs(self.batch_of(data)).items()
        }
        batch_size = tf.shape(next(iter(logs.values())))[:1]
        sums = {name: tf.reduce_sum(value, axis=0) for name, value in logs.items()}
        packed = tf.concat([tf.cast(batch_size, tf.float32), self._test_means.pack(sums)], axis=0)
        packed = sum_over_replicas(packed)
        self._test_means.update(packed[1:], weight=packed[0])
        return self._step_logs(self._test_means)

    def build_optimizer(self) -> None:
        """Makes the optimizer's variables, once all of the model's own exist.

        Raises:
            ConfigError: the model is not compiled.
        """
        if getattr(self, "optimizer", None) is None:
            raise ConfigError("The model has no optimizer; call compile(optimizer=...) first.")
        if self.optimizer.built:
            return
        with self.distribute_strategy.scope():
            joint = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            if isinstance(joint, JointOptimizer):
                joint.assign_groups(self.variable_groups())
            self.optimizer.build(self.trainable_variables)

    def reset_metrics(self) -> None:
        """Starts the means of a new epoch or evaluation."""
        super().reset_metrics()
        self._train_means.reset()
        self._test_means.reset()

    # What callbacks and subclasses use.

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """A loss as it is differentiated: times the loss scale, over the number of replicas.

        Optimizers add the replicas' gradients, so each contributes its part of the mean.
        """
        loss = tf.cast(loss, tf.float32)
        scaled = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        return scaled / num_replicas()

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(int(np.prod(variable.shape)) for variable in self.trainable_variables)

    def measuring_pass(self, view: Callable) -> None:
        """What a training step computes for one example, with `view(bank)` instead of the weights
        of every `ParameterBank`; memory is estimated from it. By default nothing is counted."""

    def describe(self) -> dict:
        """The model in plain values, for plans and model cards: at least `parameters`."""
        return {"parameters": self.num_parameters}

    def vector_logs(self, training: bool = True) -> dict[str, np.ndarray]:
        """Means of the reported vectors since the start of the epoch or evaluation.

        Args:
            training: whether to take those of `training_loss`; otherwise of `evaluation_logs`.
                Defaults to `True`.

        Returns:
            A dict of float32 `[N]`.
        """
        return (self._train_means if training else self._test_means).vectors()

    def counters(self) -> dict[str, int]:
        """The counters of steps and skips as Python integers, under any strategy."""
        return {name: int(getattr(self, name).numpy()) for name in _COUNTERS}

    def step_seed(self, stream: int | str = 0, *index) -> tf.Tensor:
        """A seed for stateless random numbers that is different in every step.

        It is a function of `seed`, `train_steps`, the replica and the stream, and of nothing else.

        Args:
            stream: integer or string that tells apart the draws of one step: a number, or a name
                (those of this library stand in `tfgen.ops.random_streams`). Defaults to `0`.
            *index: integer, which number of a named stream, such as a latent group.

        Returns:
            int32 `[2]`, for `tf.random.stateless_*` and `tf.random.split`. (The seed itself is the
            same everywhere; from it XLA draws other floating-point numbers than the plain graph.)
        """
        word = random_streams.hashed(stream, *index) if isinstance(stream, str) else stream
        seed = tf.constant([self.seed % 2**31, word % 2**31], tf.int32)
        return random_streams.fold_in(seed, self.train_steps.value, replica_id())

    # Internals.

    def _add_counter(self, name, start):
        return self.add_weight(
            shape=(),
            dtype="int64",
            initializer=keras.initializers.Constant(start),
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def _count(self, accepted):
        one, step = tf.constant(1, tf.int64), self.train_steps.value
        run = self.consecutive_skips.value
        first, last = self.first_skipped_step.value, self.last_skipped_step.value
        starts = ~accepted & tf.equal(run, 0)
        self.first_skipped_step.assign(tf.where(starts, step, first))
        self.last_skipped_step.assign(tf.where(accepted, last, step))
        self.consecutive_skips.assign(tf.where(accepted, 0 * one, run + one))
        self.skipped_steps.assign_add(tf.where(accepted, 0 * one, one))
        # Else a batch that cannot be read would count, since one does not need it.
        with tf.control_dependencies([accepted]):
            self.train_steps.assign_add(one)

    def _step_logs(self, means):
        logs = means.scalars()
        if is_multi_worker(self.distribute_strategy):
            # Keras reduces a multi-worker step's logs over axis 0, which scalars do not have.
            logs = {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras would reduce a batch of all replicas on the host to call the model on it, which
        # fails with several workers. A model that is built needs none of this.
        if self.built:
            if self.optimizer is not None:
                self.build_optimizer()
        elif self._distribute_strategy is not None:
            raise ConfigError(
                f"{self.name} has no variables yet; under a distribution strategy, call it on a "
                "batch inside strategy.scope() before fit."
            )
