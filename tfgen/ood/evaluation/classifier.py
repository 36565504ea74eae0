"""Any Keras classifier as a function from images to logits and features."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ood.scores import Head
from tfgen.privacy.network import outputs as graphs
from tfgen.privacy.network.forward import layers_of, replaced_calls

_NUM_PROBES = 8
_SMALLEST = np.finfo(np.float32).tiny


class Classifier:
    """A Keras classifier, functional, sequential, nested or subclassed, seen from its last layer.

    Its logits and the features behind them are read off the graph of its forward pass, so a softmax
    may be a layer, an activation or missing. A single sigmoid becomes two classes.

    Args:
        model: a `keras.Model` that was built, from images to one vector `[B, C]`.
        image_shape: tuple `(H, W, C)` of the images.
        feature_layer: string, the name of a layer whose outputs are the features instead (maps are
            averaged over space); None: what the last dense layer takes.
        preprocess: function from images in [0, 1] to what the model takes; None: the same.

    Attributes:
        model: the `keras.Model`.
        image_shape: tuple `(H, W, C)`.
        num_classes: integer C, at least 2.
        head: the last dense layer as a `Head` of float32 arrays; None where there is none, or the
            features are those of another layer.

    Raises:
        UserError: the model is no such classifier, or has no such layer.
    """

    def __init__(
        self,
        model: keras.Model,
        image_shape: tuple[int, ...],
        feature_layer: str | None = None,
        preprocess: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self.model, self.image_shape = model, tuple(image_shape)
        self._preprocess = preprocess or (lambda images: images)
        _check_input(model, self.image_shape, preprocess)
        self._feature_layer = None if feature_layer is None else _named(model, feature_layer)
        self._ending = None
        spec = tf.TensorSpec((None, *self.image_shape), tf.float32, "images")
        self.outputs = tf.function(self._outputs, autograph=False).get_concrete_function(spec)
        self._check_unknown()
        self.head = self._head() if feature_layer is None else None
        self.num_classes = int(self.outputs.structured_outputs["logits"].shape[-1])

    def _outputs(self, images):
        """{"logits": [B, C], "features": [B, D]} float32, as far as they are there."""
        features = []
        with self._watching(features), keras.StatelessScope():
            inputs = self._preprocess(images)
            outputs = self.model(inputs, training=False)
        self._check_output(outputs)
        self._ending = ending = graphs.follow(outputs, images, self.model.variables)
        if ending.dense is not None and not features:
            features = [ending.dense.features]
        found = {"logits": self._logits(outputs, ending)}
        if features:
            found["features"] = tf.cast(_pooled(features[0]), tf.float32)
        return found

    def _logits(self, outputs, ending):
        if ending.kind == graphs.SIGMOID and outputs.shape[-1] != 1:
            raise UserError(
                f"{self.model.name!r} ends in {outputs.shape[-1]} sigmoids, which name any number "
                "of classes at once; expected one class an image, a softmax"
            )
        if ending.kind != graphs.SIGMOID and outputs.shape[-1] == 1:
            raise UserError(
                f"{self.model.name!r} returns 1 number an image; expected a vector of classes, or "
                "a sigmoid for two of them"
            )
        if ending.dense is not None:
            kernel, bias = _affine(ending.dense)
            logits = tf.cast(ending.dense.features, tf.float32) @ kernel + bias
        elif ending.kind in (graphs.PROBABILITIES, graphs.SIGMOID, graphs.UNKNOWN):
            logits = tf.math.log(tf.maximum(tf.cast(outputs, tf.float32), _SMALLEST))
        else:
            logits = tf.cast(outputs, tf.float32)
        if ending.kind == graphs.SIGMOID:
            if ending.dense is None:
                rest = tf.math.log(tf.maximum(1.0 - tf.cast(outputs, tf.float32), _SMALLEST))
                return tf.concat([rest, logits], axis=-1)
            return tf.concat([tf.zeros_like(logits), logits], axis=-1)
        return logits

    def _head(self):
        if self._ending.dense is None:
            return None
        kernel, bias = (x.numpy() for x in _affine(self._ending.dense))
        if self._ending.kind == graphs.SIGMOID:
            kernel, bias = (np.concatenate([0.0 * x, x], axis=-1) for x in (kernel, bias))
        return Head(kernel, bias)

    def _watching(self, found):
        """Notes what the layer of features returns, when there is one that was named."""
        if self._feature_layer is None:
            return replaced_calls({})
        original = self._feature_layer.call

        def call(*args, **kwargs):
            found.append(original(*args, **kwargs))
            return found[-1]

        return replaced_calls({self._feature_layer: call})

    def _check_output(self, outputs):
        if keras.tree.is_nested(outputs) or outputs.shape.rank != 2:
            many = [tuple(x.shape) for x in keras.tree.flatten(outputs)]
            raise UserError(
                f"{self.model.name!r} returns outputs of shape {', '.join(map(str, many))}; "
                "expected one vector of classes an image: give a model of that output alone"
            )

    def _check_unknown(self):
        """Where the graph does not tell what the outputs are, some values must."""
        if self._ending.kind != graphs.UNKNOWN:
            return
        noise = np.random.default_rng(0).random((_NUM_PROBES, *self.image_shape), np.float32)
        outputs = np.asarray(self.model(self._preprocess(tf.constant(noise)), training=False))
        if outputs.min() < -1e-6 or np.abs(outputs.sum(axis=1) - 1.0).max() > 1e-3:
            raise UserError(
                f"what {self.model.name!r} returns ends in {self._ending.source}, which gives "
                "neither logits nor probabilities; expected a dense layer last, with or without "
                "softmax"
            )


def _affine(dense) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and bias of logits, with what scales and shifts them."""
    kernel = tf.cast(tf.convert_to_tensor(dense.kernel), tf.float32)
    kernel = tf.reshape(kernel, kernel.shape[-2:])
    bias = 0.0 if dense.bias is None else tf.cast(tf.convert_to_tensor(dense.bias), tf.float32)
    scale, shift = (tf.constant(x, tf.float32) for x in (dense.scale, dense.shift))
    return kernel * scale, tf.broadcast_to(bias * scale + shift, kernel.shape[-1:])


def _pooled(features):
    if features.shape.rank == 4:
        return tf.reduce_mean(features, axis=[1, 2])
    return tf.reshape(features, [tf.shape(features)[0], int(np.prod(features.shape[1:]))])


def _named(model, name):
    found = [layer for layer in layers_of(model) if layer.name == name]
    if len(found) != 1:
        known = ", ".join(sorted({layer.name for layer in layers_of(model)}))
        raise UserError(
            f"{model.name!r} has {len(found) or 'no'} layer{'s' * (len(found) > 1)} {name!r}; it "
            f"has {known}"
        )
    return found[0]


def _check_input(model, image_shape, preprocess):
    if not isinstance(model, keras.Model):
        raise UserError(
            f"the model is a {type(model).__name__}; expected a keras.Model that classifies, or an "
            "object with ood_score(images)"
        )
    if not model.built:
        raise UserError(f"{model.name!r} is not built; call it on a batch of images first")
    shape = getattr(model, "input_shape", None)
    count = len(keras.tree.flatten(getattr(model, "inputs", None) or [None]))
    if count != 1:
        raise UserError(
            f"{model.name!r} takes {count} inputs; expected the images alone: give a model of one "
            "input"
        )
    if preprocess is None and isinstance(shape, tuple) and len(shape) == 4:
        wanted = tf.TensorShape(shape[1:])
        if not wanted.is_compatible_with(image_shape):
            raise UserError(
                f"{model.name!r} takes images of shape {shape[1:]}, and these are of shape "
                f"{image_shape}; resize or convert them, all sets by the same filter"
            )
