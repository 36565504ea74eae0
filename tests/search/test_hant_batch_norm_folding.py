"""Batch norm goes into the layer before it; what cannot go stays, and the outputs are the same."""

import keras
import numpy as np
import pytest
import small_networks
from keras import layers

from tfgen.errors import ConfigError, UserError
from tfgen.search.hant import fold_batch_norm
from tfgen.search.hant.folded_network import folded_network


def batch_norms(model):
    return [n for n in model._flatten_layers() if isinstance(n, layers.BatchNormalization)]


def everything(x):
    """Every layer that a batch norm can go into, one of them with a bias, one shared."""
    shared = layers.Conv2D(4, 1, name="shared")
    for make in (
        lambda: layers.Conv2D(4, 3, padding="same", use_bias=False),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        lambda: layers.SeparableConv2D(4, 3, depth_multiplier=2, use_bias=False),
        lambda: layers.Conv2DTranspose(5, 3, strides=2),
        lambda: layers.Conv2D(4, 3, groups=1),
        lambda: shared,
        lambda: shared,
    ):
        x = layers.ReLU()(layers.BatchNormalization()(make()(x)))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.BatchNormalization(scale=False)(layers.Dense(6)(x))
    x = layers.ReLU()(layers.BatchNormalization(center=False)(x))
    return layers.Dense(3, name="logits")(x)


def test_every_kind():
    x = keras.Input((8, 8, 3))
    model = small_networks.randomized(keras.Model(x, everything(x)))
    before = [w.copy() for w in model.get_weights()]
    found = fold_batch_norm(model)
    assert not batch_norms(found)
    images = small_networks.images()
    np.testing.assert_allclose(found(images), model(images), rtol=1e-5, atol=1e-5)
    for value, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, old)
    again = keras.Model.from_config(found.get_config())
    again.set_weights(found.get_weights())
    np.testing.assert_array_equal(again(images), found(images))
    split = folded_network(model, everything=True)
    assert not batch_norms(split)
    np.testing.assert_allclose(split(images), model(images), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(n, layers.SeparableConv2D) for n in split.layers)


def test_nested_models_with_padding():
    model = small_networks.nested()
    assert batch_norms(model)
    assert not batch_norms(fold_batch_norm(model, small_networks.images()))


def test_models_in_models():
    """Sequential in functional in sequential, with layers of equal names."""
    model, same = (small_networks.around_models(wrapped) for wrapped in (True, False))
    images, before = small_networks.images(), model.get_weights()
    np.testing.assert_array_equal(model(images), same(images))
    found = fold_batch_norm(model, images)
    assert not batch_norms(found)
    assert [n.name for n in found.layers if "conv" in n.name] == [
        "conv",
        "backbone_block1_conv",
        "head_block2_conv",
    ]
    np.testing.assert_array_equal(found(images), fold_batch_norm(same, images)(images))
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize(
    "between", ["padding", "activation", "branch", "vectors", "first", "training"]
)
def test_what_cannot_go_stays(between):
    x = y = keras.Input((8, 8, 3))
    if between != "first":
        y = z = layers.Conv2D(4, 3, activation="relu" if between == "activation" else None)(x)
    if between == "padding":  # zeros would become what the batch norm makes of zero
        y = layers.ZeroPadding2D()(y)
    options = {"training": True} if between == "training" else {}
    y = layers.BatchNormalization()(y, **options)
    if between == "branch":
        y = layers.Add()([y, z])
    if between == "vectors":
        y = layers.BatchNormalization()(layers.ReLU()(layers.GlobalMaxPooling2D()(z)))
        y = layers.Reshape((1, 1, 4))(y)
    model = small_networks.randomized(keras.Model(x, layers.GlobalAveragePooling2D()(y)))
    assert len(batch_norms(fold_batch_norm(model))) == 1
    if between not in ("training", "first"):
        found = folded_network(model, everything=True)
        assert not batch_norms(found)
        images = small_networks.images()
        np.testing.assert_allclose(found(images), model(images), rtol=1e-5, atol=1e-5)


def test_scaling_of_images_becomes_one_convolution():
    """As EfficientNet begins, and with arithmetic that has no layer."""
    x = keras.Input((8, 8, 3))
    y = layers.Rescaling(1 / 127.5, -1.0)(x)
    y = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.2, 0.3, 0.4])(y)
    y = (y / 2.0 - 1.0) * 3.0
    model = keras.Model(x, layers.Conv2D(2, 3, padding="same")(y))
    found = folded_network(model, everything=True)
    assert [type(n) for n in found.layers[1:]] == [layers.DepthwiseConv2D, layers.Conv2D]
    images = 255 * small_networks.images()
    np.testing.assert_allclose(found(images), model(images), rtol=1e-5, atol=1e-4)


def test_a_network_in_half_precision_is_folded_in_single():
    x = keras.Input((8, 8, 3))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        y = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
        model = keras.Model(x, layers.GlobalAveragePooling2D()(layers.ReLU()(y)))
    finally:
        keras.config.set_dtype_policy(before)
    found = folded_network(model, everything=True)
    assert {n.compute_dtype for n in found.layers} == {"float32"}
    images = small_networks.images()
    np.testing.assert_allclose(found(images), model(images), rtol=0.01, atol=0.01)


def test_one_sentence():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ConfigError, match="the network is a Own"):
        fold_batch_norm(Own())
    x = keras.Input((4, 4, 3))
    layer, norm = layers.Conv2D(2, 1), layers.BatchNormalization()
    model = keras.Model(x, norm(layer(x)))
    layer.bias.assign([1e5, 1e5])  # cancels with the mean: float32 keeps two digits of the rest
    norm.moving_mean.assign([1e5, 1e5])
    with pytest.raises(UserError, match="folding batch norm changes the outputs"):
        fold_batch_norm(model)
