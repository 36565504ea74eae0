"""Keras's own methods of a model whose losses take one batch of named arrays.

`fit`, `evaluate` and `predict` take what they take of any Keras model: arrays, `tf.data` sets of
images, of (images, labels) or of dicts, and a `Pipeline` of this library as well. What would
change nothing or the wrong thing is refused in one sentence.
"""

import inspect
import warnings

import keras

from tfgen.data.doors import TakesImages
from tfgen.data.elements import Batch, by_name
from tfgen.errors import ConfigError, DataError, plain_user_errors
from tfgen.training.given import NO_BATCH, check_steps, checked, is_array, opened

INITIAL_LOSS_SCALE = 2.0**10  # the recipe of NVAE; Keras would start at 2**15


class KerasMethods(TakesImages, keras.Model):
    """The part of `tfgen.training.Model` that Keras's users call."""

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """Keras's `compile`, without losses and metrics: a model has its own.

        Under `mixed_float16` the loss scale starts at 2**10.

        Raises:
            ConfigError: a loss or metrics are given.
        """
        self._refuse_losses(
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
        )
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if auto_scale_loss and self.dtype_policy.name == "mixed_float16" and not scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, initial_scale=INITIAL_LOSS_SCALE
            )
        if steps_per_execution > 1 and self.distribute_strategy.num_replicas_in_sync > 1:
            warnings.warn(
                "Keras 3 cannot run several steps per execution on several replicas; "
                f"steps_per_execution={steps_per_execution} becomes 1.",
                stacklevel=2,
            )
            steps_per_execution = 1
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=False,
        )
        # Keras averages the loss here, but only its own train_step feeds it: it would report 0.
        self._loss_tracker = None

    def compile_from_config(self, config):
        """Compiles a loaded model as it was compiled when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.build_optimizer()

    def before_fit(self, x) -> None:
        """Called by `fit` before anything else, for what starts from data.

        Args:
            x: what `fit` was given, with the images checked: a dict of arrays, or what yields
                batches.
        """
        del x

    def fit(self, *args, **kwargs):
        """Keras's `fit`.

        Args:
            *args: as of `keras.Model.fit`. `x` may also be a `tfgen.data.Pipeline`; its batches
                begin where `train_steps` stands. Images that are given are scaled or refused like
                everywhere (`tfgen.data.ranges`). Labels reach losses as `data["labels"]`.
            **kwargs: keyword arguments, likewise. `sample_weight` and `class_weight` mean nothing
                here.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ConfigError: an argument that would have no effect; a data set without end and no
                `steps_per_epoch`; steps that are no multiple of `steps_per_execution`.
            DataError: no batch, one without images, or images that are not in [0, 1] or 0..255.
        """
        given = _named(keras.Model.fit, args, kwargs)
        self._refuse_weights(given)
        start = int(self.train_steps.numpy())
        given["x"] = self._open(given, "x", "steps_per_epoch", start)
        if given.get("validation_data") is not None:
            given["validation_data"] = self._open(given, "validation_data", "validation_steps")
        if not is_array(given["x"]) and not isinstance(given["x"], keras.utils.PyDataset):
            given.setdefault("shuffle", False)  # else Keras warns of its own default
        with plain_user_errors():
            self.before_fit(given["x"])
            history = super().fit(**given)
        stood_still = int(self.train_steps.numpy()) == start and "loss" not in history.history
        if history.epoch and stood_still:
            raise DataError(NO_BATCH)
        return history

    def evaluate(self, *args, **kwargs):
        """Keras's `evaluate`: means of `evaluation_logs`, as a list `loss` first; see `fit`."""
        if kwargs.get("_use_cached_eval_dataset"):  # from within fit, which has checked it
            return super().evaluate(*args, **kwargs)
        given = _named(keras.Model.evaluate, args, kwargs)
        self._refuse_weights(given)
        given["x"] = self._open(given, "x", "steps")
        as_dict = given.pop("return_dict", False)
        with plain_user_errors():
            logs = super().evaluate(**given, return_dict=True)
        if not logs:
            raise DataError(NO_BATCH)
        return logs if as_dict else _listed(logs)

    def predict(self, *args, **kwargs):
        """Keras's `predict`: what the model makes of the images of a data set; see `fit`."""
        given = _named(keras.Model.predict, args, kwargs)
        given["x"] = self._open(given, "x", "steps")
        with plain_user_errors():
            try:
                return super().predict(**given)
            except UnboundLocalError as error:  # of Keras, whose loop reads what no batch has set
                raise DataError(NO_BATCH) from error

    def train_on_batch(self, *args, **kwargs):
        """Keras's `train_on_batch`; a list has the `loss` first."""
        return self._on_batch(super().train_on_batch, args, kwargs)

    def test_on_batch(self, *args, **kwargs):
        """Keras's `test_on_batch`; a list has the `loss` first."""
        return self._on_batch(super().test_on_batch, args, kwargs)

    def predict_on_batch(self, x):
        """Keras's `predict_on_batch`."""
        with plain_user_errors():
            return super().predict_on_batch(checked(x, self))

    def predict_step(self, data):
        return self(self.batch_of(data)["images"], training=False)

    @property
    def metrics_names(self):
        """Names of what the latest `evaluate` returned as a list."""
        return list(_loss_first(self._test_means.scalars()))

    def batch_of(self, data) -> Batch:
        """What a step is handed, as the arrays by name that losses take."""
        batch = by_name(data)
        if "images" in batch:
            batch["images"] = self.as_images(batch["images"])
        return batch

    def _open(self, given, name, steps_name, start_step=0):
        """An argument that yields batches, checked; the number of steps enters the arguments."""
        x, steps = opened(given.get(name), given.get(steps_name), start_step)
        if steps is not None:
            given[steps_name] = steps
        check_steps(steps, self.steps_per_execution)
        if self.image_shape is None:
            return x
        return checked(_with_labels(x, given) if name == "x" else x, self)

    def _on_batch(self, method, args, kwargs):
        given = _named(method, args, kwargs)
        self._refuse_weights(given)
        as_dict = given.pop("return_dict", False)
        with plain_user_errors():
            given["x"] = checked(_with_labels(given["x"], given), self)
            logs = method(**given, return_dict=True)
        return logs if as_dict else _listed(logs)

    def _refuse_weights(self, given):
        for name in ("sample_weight", "class_weight"):
            if given.get(name) is not None:
                raise ConfigError(
                    f"{name} was given, but the loss of {type(self).__name__} takes no weights; "
                    "leave it out, and repeat what should count more in the data set"
                )

    def _refuse_losses(self, **given):
        for name, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"compile got {name}={value!r}, but {type(self).__name__} has a loss of its "
                    "own and reports what belongs to it; leave it out, and measure anything else "
                    "on what predict returns"
                )


def _named(method, args, kwargs) -> dict:
    """Arguments of one of Keras's methods by name."""
    signature = inspect.signature(method)
    first = () if hasattr(method, "__self__") else (None,)
    given = dict(signature.bind(*first, *args, **kwargs).arguments)
    given.pop("self", None)
    return {**given, **given.pop("kwargs", {})}


def _with_labels(x, given):
    """`x` and the `y` among arrays that are given, as one tuple."""
    return (x, given.pop("y")) if is_array(x) and given.get("y") is not None else x


def _loss_first(logs) -> dict:
    """Logs by name, as Keras sorts them but for the loss."""
    return {name: logs[name] for name in sorted(logs, key=lambda name: (name != "loss", name))}


def _listed(logs):
    """Logs as the methods of Keras return them without `return_dict`."""
    values = list(_loss_first(logs).values())
    return values[0] if len(values) == 1 else values
