"""A classifier around any functional Keras network, as a system: trained, evaluated, exported and
packed like the others. Networks that HANT makes faster, and those that it has made, are such."""

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, reason_of
from tfgen.files.json_file import parse_json, to_json
from tfgen.ops.checks import in_range
from tfgen.ops.labels import class_indices
from tfgen.search.hant.answers import gives_probabilities, log_probabilities
from tfgen.search.hant.chain import at_rest
from tfgen.search.unas.weights import put_back, running_statistics, values_of
from tfgen.serving import PORTABLE, Signature
from tfgen.training import Model, StepOutput

# Of a network's configuration: what follows from the layers or from who trains, and addresses in
# memory.
_UNUSED = ("build_config", "compile_config", "shared_object_id")


@keras.saving.register_keras_serializable(package="tfgen")
class NetworkClassifier(Model):
    """A functional Keras network as a classifier of images.

    It learns from labels; once it has a teacher (`learn_from`) also from that one's outputs, as
    `keras.distillation` does, but resumed to the bit.

    Args:
        network: functional `keras.Model` of images `[B, H, W, C]` in [0, 1] to logits or
            probabilities `[B, num_classes]`, whose weights are copied; or a mapping, what
            `network_config` makes of one, with fresh weights.
        image_shape: sequence `(H, W, C)`; None is the network's.
        label_smoothing: float, share of a label that goes to all classes alike. Defaults to `0.0`.
        temperature: float, by which logits are divided where those of a teacher are compared.
            Defaults to `2.0`.
        student_loss_weight: float, the share of the labels' cross-entropy in the loss beside a
            teacher. Defaults to `0.5`.
        seed: integer, seed of the initial weights and of what training draws. Defaults to `0`.
        name: string, the model's name. Defaults to `"network_classifier"`.

    Call arguments:
        images: `[B, H, W, C]` in [0, 1].

    Returns:
        `[B, num_classes]`, what the network puts out.

    Raises:
        ConfigError: an argument is out of range, or the network is none.
    """

    progress_names = ("loss", "accuracy")

    def __init__(
        self,
        network: Mapping | keras.Model,
        image_shape: Sequence | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 2.0,
        student_loss_weight: float = 0.5,
        seed: int = 0,
        name: str = "network_classifier",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        in_range("label_smoothing", label_smoothing, 0.0, below=1.0)
        in_range("temperature", temperature, 0.0, above=True)
        in_range("student_loss_weight", student_loss_weight, 0.0, most=1.0)
        given = network.get_weights() if isinstance(network, keras.Model) else None
        self.network_config = dict(
            network_config(network) if isinstance(network, keras.Model) else network
        )
        self.network = made_network(self.network_config, self.dtype_policy, seed)
        if given is not None:
            self.network.set_weights(given)
        self.image_shape = tuple(self.network.inputs[0].shape[1:])
        if image_shape is not None and tuple(image_shape) != self.image_shape:
            raise ConfigError(
                f"image_shape is {tuple(image_shape)}, but the network takes {self.image_shape}; "
                "leave it out"
            )
        self.num_classes = int(self.network.outputs[0].shape[-1])
        self.label_smoothing, self.temperature = label_smoothing, temperature
        self.student_loss_weight = student_loss_weight
        self._answer: Callable | None = None

    def build(self, input_shape=None):
        del input_shape
        self.built = True

    def call(self, images, training=False):
        return self.network(self.as_images(images), training=training)

    def learn_from(self, teacher: keras.Model | None) -> None:
        """Trains with a teacher from now on; it is no part of the model.

        Args:
            teacher: functional `keras.Model` of the same images and classes; None has none.

        Raises:
            ConfigError: its inputs or outputs have other shapes.
        """
        if teacher is None:
            self._answer = None
            return
        own, others = ((m.inputs[0].shape, m.outputs[0].shape) for m in (self.network, teacher))
        if own != others:
            raise ConfigError(
                f"the teacher turns {others[0]} into {others[1]}; expected {own[0]} into {own[1]}"
            )
        run, probabilities = at_rest(teacher), gives_probabilities(teacher)
        self._answer = lambda images: log_probabilities(run(images), probabilities)

    def training_loss(self, data):
        images = self.as_images(data["images"])
        labels = class_indices(data["labels"], self.num_classes)
        statistics = running_statistics(self.network)
        before = values_of(statistics)
        log_p = self._log_p(self.network(images, training=True))
        updates = values_of(statistics)
        put_back(before)
        loss = tf.reduce_mean(self._cross_entropies(labels, log_p))
        logs = {"cross_entropy": loss, "accuracy": tf.reduce_mean(_right(labels, log_p))}
        if self._answer is not None:
            divergence = self._divergence(self._answer(images), log_p)
            share = self.student_loss_weight
            loss = share * loss + (1.0 - share) * divergence
            logs["divergence"] = divergence
        return StepOutput(loss, logs, updates)

    def evaluation_logs(self, data):
        labels = class_indices(data["labels"], self.num_classes)
        log_p = self._log_p(self(data["images"]))
        losses = -tf.gather(log_p, labels, axis=1, batch_dims=1)
        return {"loss": losses, "accuracy": _right(labels, log_p)}

    def _cross_entropies(self, labels, log_p):
        losses = -tf.gather(log_p, labels, axis=1, batch_dims=1)
        if not self.label_smoothing:
            return losses
        of_all = -tf.reduce_mean(log_p, axis=-1)
        return (1.0 - self.label_smoothing) * losses + self.label_smoothing * of_all

    def _divergence(self, teacher, student):
        """Between the two softened by the temperature, times its square (Hinton et al., 2015)."""
        teacher, student = (tf.nn.log_softmax(x / self.temperature) for x in (teacher, student))
        found = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
        return self.temperature**2 * tf.reduce_mean(found)

    def _log_p(self, outputs):
        return log_probabilities(outputs, gives_probabilities(self.network))

    def signatures(self):
        """`predict`: images to logits and probabilities."""
        spec = tf.TensorSpec([None, *self.image_shape], tf.float32)
        return {"predict": Signature(self._predict, {"images": spec}, self._example, PORTABLE)}

    def _predict(self, images):
        outputs = tf.cast(self.network(images, training=False), tf.float32)
        if gives_probabilities(self.network):
            return {"logits": tf.math.log(outputs + 1e-12), "probabilities": outputs}
        return {"logits": outputs, "probabilities": tf.nn.softmax(outputs)}

    def _example(self, batch_size, seed):
        shape = (batch_size, *self.image_shape)
        return {"images": np.random.default_rng(seed).random(shape, np.float32)}

    def describe(self):
        return {**super().describe(), "image_shape": list(self.image_shape)}

    def get_config(self):
        return {
            **super().get_config(),
            "network": self.network_config,
            "image_shape": list(self.image_shape),
            "label_smoothing": self.label_smoothing,
            "temperature": self.temperature,
            "student_loss_weight": self.student_loss_weight,
            "seed": self.seed,
        }


def network_config(network: keras.Model) -> dict[str, Any]:
    """A network's architecture in plain values, without weights.

    Args:
        network: functional `keras.Model` of one input and one output.
    """
    config = keras.saving.serialize_keras_object(network)
    return parse_json(to_json(_plain_layers(config)), "a network")


def made_network(config: Mapping, dtype: Any = "float32", seed: int = 0) -> keras.Model:
    """The network of a `network_config`, its weights drawn from a seed.

    Args:
        config: mapping of plain values, what `network_config` makes.
        dtype: string or dtype policy, what its layers compute in. Defaults to `"float32"`.
        seed: integer, of the weights. Defaults to `0`.

    Raises:
        ConfigError: it describes no functional network of one input and one output.
    """
    before, state = keras.config.dtype_policy(), random.getstate()
    # Keras draws the seeds of initializers from Python's generator.
    random.seed(f"network {seed}")
    try:
        keras.config.set_dtype_policy(dtype)
        network = keras.saving.deserialize_keras_object(copy.deepcopy(dict(config)))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"the network cannot be made: {reason_of(error)}") from error
    finally:
        keras.config.set_dtype_policy(before)
        random.setstate(state)
    ends = [getattr(network, name, None) or [] for name in ("inputs", "outputs")]
    if [len(tensors) for tensors in ends] != [1, 1] or len(ends[1][0].shape) != 2:
        raise ConfigError(
            f"the network has {len(ends[0])} inputs and {len(ends[1])} outputs; expected one of "
            "images and one of classes"
        )
    return network


def _plain_layers(value):
    """A configuration without what layers compute in, which is said by who makes them again."""
    if isinstance(value, list | tuple):
        return [_plain_layers(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _plain_layers(item) for key, item in value.items() if key not in _UNUSED}
    if "name" in found:  # of a layer, not of a tensor
        found.pop("dtype", None)
    return found


def _right(labels, log_p):
    return tf.cast(tf.equal(tf.argmax(log_p, axis=-1, output_type=tf.int32), labels), tf.float32)
