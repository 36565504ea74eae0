"""Small networks of the kinds that HANT takes apart, with weights that say something."""

import keras
import numpy as np
from keras import layers


def randomized(model, seed=0):
    """Random batch norms and biases as well, so that a lost one shows."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.dtype == "float32" and len(variable.shape) == 1:
            offset = 1.0 if "variance" in variable.path or "gamma" in variable.path else 0.0
            variable.assign(offset + 0.3 * rng.uniform(-1, 1, variable.shape))
        elif variable.path == "logits/kernel":  # so that classes differ from image to image
            variable.assign(4.0 * variable)
    return model


def conv_norm(x, filters, kernel, stride=1, act=True, name=None):
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_act")(x) if act else x


def mbconv(x, filters, stride=1, squeeze=False, name=None):
    """An inverted bottleneck, perhaps with squeeze-and-excitation, as Keras writes it."""
    y = conv_norm(x, 2 * x.shape[-1], 1, name=f"{name}_expand")
    y = layers.ZeroPadding2D(1, name=f"{name}_pad")(y)
    y = layers.DepthwiseConv2D(3, stride, use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.ReLU(name=f"{name}_act")(layers.BatchNormalization(name=f"{name}_bn")(y))
    if squeeze:
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(y)
        gate = layers.Conv2D(y.shape[-1], 1, activation="sigmoid", name=f"{name}_excite")(gate)
        y = layers.multiply([y, gate], name=f"{name}_gated")
    y = conv_norm(y, filters, 1, act=False, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y


def classifier(x, num_classes=5):
    x = conv_norm(x, 8, 1, name="top")
    return layers.Dense(num_classes, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))


def mobile(side=8, widths=(4, 4, 6, 6), squeeze=True):
    """An EfficientNet in small: a stem, four blocks of which two have a shortcut, a head."""
    x = images = keras.Input((side, side, 3), name="images")
    x = conv_norm(layers.Rescaling(2.0, -1.0, name="scale")(x), 4, 3, name="stem")
    for number, width in enumerate(widths):
        stride = 2 if number == len(widths) // 2 else 1
        x = mbconv(x, width, stride, squeeze, name=f"block{number}")
    return randomized(keras.Model(images, classifier(x), name="mobile"))


def residual(side=8, num_blocks=3, width=4, num_classes=5):
    """A ResNet in small, whose blocks end with an activation."""
    x = images = keras.Input((side, side, 3), name="images")
    x = conv_norm(x, width, 3, name="stem")
    for number in range(num_blocks):
        y = conv_norm(x, width, 3, name=f"b{number}a")
        y = conv_norm(y, width, 3, act=False, name=f"b{number}b")
        x = layers.ReLU(name=f"b{number}_out")(layers.Add(name=f"b{number}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomized(
        keras.Model(images, layers.Dense(num_classes, name="logits")(x), name="residual")
    )


def plain(side=8):
    """Convolutions with their activation inside, as in VGG."""
    x = images = keras.Input((side, side, 3), name="images")
    for number in range(4):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        if number == 1:
            x = layers.MaxPooling2D(name="halve")(x)
    x = layers.Flatten(name="flatten")(x)
    return randomized(keras.Model(images, layers.Dense(5, name="logits")(x), name="plain"))


def nested():
    """A classifier around a model that is one of its layers."""
    inner = mobile()
    features = keras.Model(inner.inputs, inner.get_layer("block3_add").output, name="backbone")
    images = keras.Input((8, 8, 3), name="pictures")
    x = layers.GlobalAveragePooling2D(name="pooled")(features(images))
    return keras.Model(images, layers.Dense(2, name="scores")(x), name="nested")


def around_models(wrapped=True):
    """Blocks that are models with equal names inside, in models of either kind; or none of them."""
    keras.utils.set_random_seed(0)

    def run(x, parts, name):
        if wrapped:
            return keras.Sequential(parts, name=name)(x)
        for part in parts:
            x = part(x)
        return x

    def block(x, number):
        conv = layers.Conv2D(4, 3, padding="same", name="conv" if wrapped else f"conv{number}")
        return run(x, [conv, layers.BatchNormalization(), layers.ReLU()], f"block{number}")

    images = keras.Input((8, 8, 3))
    x = block(images, 0)
    x = layers.Add(name="sum")([x, block(x, 1)])
    ends = [layers.GlobalAveragePooling2D(), layers.Dense(3), layers.Softmax()]
    if not wrapped:
        return randomized(keras.Model(images, run(block(x, 2), ends, "ends"), name="flat"))
    backbone = keras.Model(images, x, name="backbone")
    last = keras.Input(x.shape[1:])
    parts = [backbone, keras.Model(last, run(block(last, 2), ends, "ends"), name="head")]
    return randomized(keras.Sequential([layers.Input((8, 8, 3)), *parts], name="around"))


def images(count=4, side=8, seed=0):
    return np.random.default_rng(seed).random((count, side, side, 3)).astype(np.float32)
