"""Levels of transformations: group laws, exact shifts, identities to the last bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfgen.errors import ConfigError
from tfgen.ood import transformations
from tfgen.ood.transformations import TRANSFORMATIONS, build

IMAGES = np.random.default_rng(0).random((3, 12, 12, 3)).astype(np.float32)


def level(spec, index, images=IMAGES, **kwargs):
    return build(spec).level(tf.constant(images), index, **kwargs).numpy()


@pytest.mark.parametrize("name", sorted(TRANSFORMATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_levels_keep_range_and_shape_and_the_first_is_the_image(name, channels):
    images = tf.constant(IMAGES[..., :channels])
    layer = build(name)
    found = layer(images)
    assert found.shape == (layer.num_levels, *images.shape)
    np.testing.assert_array_equal(found[0], images)
    assert np.min(found) >= 0
    assert np.max(found) <= 1
    for k in range(1, layer.num_levels):
        assert np.abs(found[k] - images).max() > 1e-3, k
    np.testing.assert_array_equal(found, layer(images))  # nothing is drawn without a seed
    assert layer.level_labels.shape[0] == layer.num_levels
    assert not layer.level_labels[0].any()


def test_rotations_are_a_group():
    quarter = IMAGES
    for _ in range(4):
        quarter = level("rotation", 1, quarter)
    np.testing.assert_array_equal(quarter, IMAGES)
    np.testing.assert_array_equal(level("rotation", 3, level("rotation", 1)), IMAGES)
    for k in range(4):
        np.testing.assert_array_equal(level("rotation", k), np.rot90(IMAGES, k, (1, 2)))


@pytest.mark.parametrize(("name", "count"), [("perm", 4), ("flip", 2)])
@pytest.mark.parametrize("size", [12, 11])
def test_involutions(name, count, size):
    images = IMAGES[:, :size]
    for k in range(count):
        np.testing.assert_array_equal(level(name, k, level(name, k, images)), images)


def test_translation_moves_a_pixel_exactly():
    images = np.zeros((1, 32, 32, 1), np.float32)
    images[0, 16, 15, 0] = 1.0
    layer = build("translation")
    assert layer.head_sizes == (3, 3)
    for k, (x, y) in enumerate(layer.level_labels):
        dx, dy = ((0, 8, -8)[each] for each in (x, y))
        rows, columns = np.nonzero(layer.level(tf.constant(images), k).numpy()[0, :, :, 0])
        assert (rows.tolist(), columns.tolist()) == ([16 + dy], [15 + dx])


def test_translation_borders():
    row = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1) / 4
    images = np.repeat(row, 4, 1)
    for border, expected in (
        ("reflect", [1, 0, 1, 2]),
        ("zero", [0, 0, 1, 2]),
        ("wrap", [3, 0, 1, 2]),
    ):
        layer = {"name": "translation", "shift": 1, "border": border, "pairs": "axes"}
        np.testing.assert_array_equal(4 * level(layer, 1, images)[0, 0, :, 0], expected)
        moved = {**layer, "shift": 2}
        expected = {"reflect": [2, 3, 2, 1], "zero": [2, 3, 0, 0], "wrap": [2, 3, 0, 1]}[border]
        np.testing.assert_array_equal(4 * level(moved, 2, images)[0, 0, :, 0], expected)


def test_magnitudes_follow_the_image_size():
    layer = build("translation")
    for size, shift in ((32, 8), (224, 56), (28, 7)):
        image = np.zeros((1, size, size, 1), np.float32)
        image[0, 0, size // 2] = 1
        assert np.argmax(layer.level(tf.constant(image), 3)[0, 0]) == size // 2 + shift
    for size, stddevs in ((32, (0.7, 1.4)), (224, (2.0, 4.0))):
        image = np.random.default_rng(0).random((1, size, size, 1)).astype(np.float32)
        for k, stddev in enumerate(stddevs, 1):
            radius = int(np.ceil(3 * stddev))
            wanted = ndimage.gaussian_filter(
                image[0, :, :, 0].astype(np.float64), stddev, mode="mirror", radius=radius
            )
            np.testing.assert_allclose(level("blur", k, image)[0, :, :, 0], wanted, atol=1e-5)


def test_colours_turn_and_grey_stays_grey():
    grey = np.repeat(IMAGES[..., :1], 3, -1)
    found = level("color_jitter", 2, grey)
    assert np.ptp(found, axis=-1).max() < 1e-3
    np.testing.assert_allclose(found[..., :1], level("color_jitter", 2, IMAGES[..., :1]), atol=1e-3)
    red = np.zeros((1, 4, 4, 3), np.float32)
    red[..., 0] = 0.5
    assert np.argmax(level("color_jitter", 2, red)[0, 0, 0]) != 0


def test_noise_is_fresh_by_seed_and_one_pattern_without():
    same = np.full((3, 8, 8, 1), 0.5, np.float32)
    fixed = level("noise", 2, same)
    np.testing.assert_array_equal(fixed[0], fixed[1])
    first = level("noise", 2, same, seed=tf.constant([1, 2]))
    second = level("noise", 2, same, seed=tf.constant([1, 3]))
    assert np.abs(first - second).max() > 0.1 < np.abs(first[0] - first[1]).max()
    assert 0.07 < np.std(first) < 0.13  # 192 draws of 0.1: six standard errors each way


def test_cutout_is_one_quadrant():
    for k in range(1, 5):
        mask = level("cutout", k, np.ones((1, 12, 12, 1), np.float32))[0, :, :, 0]
        assert mask.sum() == 144 - 36
        rows, columns = np.nonzero(mask == 0)
        assert (rows.min(), columns.min()) == (6 * ((k - 1) // 2), 6 * ((k - 1) % 2))


def test_entropy_is_the_loss_of_knowing_nothing():
    for name, count in (("flip", 2), ("blur", 3), ("rotation", 4), ("cutout", 5)):
        assert build(name).entropy == pytest.approx(np.log(count), abs=1e-12)
    assert build("translation").entropy == pytest.approx(np.log(3), abs=1e-12)
    assert build({"name": "translation", "joint": True}).entropy == pytest.approx(
        2.197225, abs=1e-6
    )
    axes = {"name": "translation", "pairs": "axes", "joint": True}
    assert build(axes).entropy == pytest.approx(1.609438, abs=1e-6)


def brighter(images, index):
    return tf.clip_by_value(images + 0.1 * (index + 1), 0.0, 1.0)


def test_ones_own():
    transformations.register("brighter", brighter, 3)
    try:
        layer = build("brighter")
        assert layer.num_levels == 3
        assert not layer.identity_first
        np.testing.assert_allclose(layer(IMAGES)[1], np.minimum(IMAGES + 0.2, 1), atol=1e-6)
        assert transformations.spec_of(layer) == {"name": "brighter"}
        transformations.register("brighter", brighter, 3)  # again the same, as a notebook does
        with pytest.raises(ConfigError, match="'brighter' already"):
            transformations.register("brighter", lambda images, index: images, 3)
    finally:
        TRANSFORMATIONS.pop("brighter", None)
    bad = transformations.FunctionTransformation(lambda images, index: images[:, 1:], 2)
    with pytest.raises(ConfigError, match="expected the same shape"):
        bad(IMAGES)


@pytest.mark.parametrize("name", sorted(TRANSFORMATIONS))
def test_specifications_come_back(name):
    layer = build(name)
    spec = transformations.spec_of(layer)
    assert transformations.spec_of(build(spec)) == spec
    renamed = type(layer).from_config({**layer.get_config(), "name": "other"})
    again = build(transformations.spec_of(renamed))
    assert again.name == "other"
    assert again._options == layer._options
    keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("rotations", (8, 8, 1), "expected one of rotation"),
        ({"name": "rotation", "turns": 3}, (8, 8, 1), "cannot be made"),
        ("rotation", (8, 6, 1), "square"),
        ({"name": "translation", "shift": 8}, (8, 8, 1), "fewer than the smaller side"),
        ("translation", (3, 3, 1), "at least 1"),
        ({"name": "blur", "stddevs": [1.0, 2.0]}, (8, 8, 1), "the first 0"),
        ({"name": "noise", "stddevs": [0.0, -2.0]}, (8, 8, 1), "at least 0"),
        ({"name": "sharpen", "factors": [1.0]}, (8, 8, 1), "two or more"),
        (["blur", "blur"], (8, 8, 1), "two transformations are called 'blur'"),
        ({}, (8, 8, 1), "transformation is None"),
    ],
)
def test_mistakes(spec, shape, message):
    with pytest.raises(ConfigError, match=message):
        transformations.build_all(spec, shape)
