"""Corruptions of images: what they do, at which strength, to which images."""

import numpy as np
import pytest
from scipy import ndimage

from tfgen.errors import ConfigError, DataError
from tfgen.ood.corruptions import CORRUPTIONS, SEVERITIES, SHIFTS, corrupt
from tfgen.ood.corruptions.digital import _boxes, _squares
from tfgen.ood.corruptions.geometry import clouds, enlarging, mirrored, moved, sampled, zoomed
from tfgen.ood.corruptions.severities import LARGE, SMALL

ALL = (*CORRUPTIONS, *SHIFTS)


@pytest.fixture(scope="module")
def scenes():
    """Smooth coloured images with an edge, `[8, 32, 32, 3]`."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((8, 32, 32, 3)), (0, 2, 2, 0))
    field = 0.5 + 0.35 * field / np.abs(field).max()
    field[:, 8:20, 10:22] += 0.12
    return np.float32(np.rint(255 * field) / 255)


def test_there_are_fifteen_of_five_strengths():
    assert len(CORRUPTIONS) == 15
    assert SMALL.keys() == LARGE.keys()
    assert {len(table[name]) for table in (SMALL, LARGE) for name in table} == {len(SEVERITIES)}


@pytest.mark.parametrize("name", ALL)
def test_what_comes_out_are_images_of_the_same_kind(scenes, name):
    changed = [corrupt(scenes, name, severity, seed=3) for severity in (1, 5)]
    for images in changed:
        assert (images.shape, images.dtype) == (scenes.shape, np.float32)
        assert images.min() >= 0.0
        assert images.max() <= 1.0
        np.testing.assert_allclose(255 * images, np.rint(255 * images), atol=1e-4)
    mild, strong = (np.mean(np.abs(images - scenes)) for images in changed)
    assert strong > 0.003
    if name not in ("elastic_transform", "frost"):  # whose strengths are of several kinds
        assert strong > mild
    again = corrupt(np.uint8(np.rint(255 * scenes)), name, 5, seed=3)
    np.testing.assert_array_equal(again, changed[1])


@pytest.mark.parametrize("name", ALL)
def test_grey_and_oblong_images(scenes, name):
    grey = scenes[:2, :20, :9, :1]
    changed = corrupt(grey, name, 3)
    assert changed.shape == grey.shape
    assert np.all(np.isfinite(changed))


RANDOM = set(ALL) - {
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
}


@pytest.mark.parametrize("name", ALL)
def test_seeds(scenes, name):
    same = np.array_equal(corrupt(scenes[:2], name, 4, seed=1), corrupt(scenes[:2], name, 4, 2))
    assert same == (name not in RANDOM)
    twins = corrupt(np.repeat(scenes[:1], 9, axis=0), name, 4)
    assert (len(np.unique(twins.reshape(9, -1), axis=0)) == 1) == (name not in RANDOM)


def test_noise_has_its_strength():
    grey = np.full((40, 32, 32, 1), 0.5, np.float32)
    count = grey.size
    for severity in SEVERITIES:  # 5 standard errors each
        found = corrupt(grey, "gaussian_noise", severity) - 0.5
        wanted = np.hypot(SMALL["gaussian_noise"][severity - 1], 1 / (255 * np.sqrt(12)))
        assert abs(np.std(found) - wanted) < 5 * wanted / np.sqrt(2 * count)
        found = corrupt(grey, "shot_noise", severity)
        wanted = np.sqrt(0.5 / SMALL["shot_noise"][severity - 1])
        assert abs(np.std(found) - wanted) < 5 * wanted / np.sqrt(2 * count) + 1e-4
        changed = corrupt(grey, "impulse_noise", severity)
        share, wanted = np.mean(np.isin(changed, (0, 1))), SMALL["impulse_noise"][severity - 1]
        assert abs(share - wanted) < 5 * np.sqrt(wanted / count)
        assert abs(np.mean(changed == 1) - wanted / 2) < 5 * np.sqrt(wanted / count)


def test_large_images_have_the_strengths_of_large_ones():
    grey = np.full((1, 96, 96, 1), 0.5, np.float32)
    found = corrupt(grey, "gaussian_noise", 1) - 0.5
    assert abs(np.std(found) - LARGE["gaussian_noise"][0]) < 0.004  # 5 standard errors


def test_colours_by_hand():
    image = np.array([[[0.2, 0.4, 0.1], [0.0, 0.0, 0.0]], [[0.9, 0.6, 0.3], [0.5, 0.5, 0.5]]])[None]
    bright = corrupt(image, "brightness", 5)[0]
    wanted = [[[0.35, 0.7, 0.175], [0.3, 0.3, 0.3]], [[1.0, 2 / 3, 1 / 3], [0.8, 0.8, 0.8]]]
    np.testing.assert_allclose(bright, wanted, atol=1 / 500)
    found = corrupt(image, "contrast", 2)[0]
    mean = image.mean(axis=(1, 2))[0]
    np.testing.assert_allclose(found, 0.5 * (image[0] + mean), atol=1 / 500)


def test_blurs_keep_flat_images_and_spread_points():
    flat = np.full((2, 32, 32, 3), 0.4, np.float32)
    point = np.zeros((2, 33, 33, 1), np.float32)
    point[:, 16, 16] = 1.0
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate"):
        np.testing.assert_allclose(corrupt(flat, name, 5), 0.4, atol=1 / 255)
    for name in ("defocus_blur", "motion_blur"):
        spread = corrupt(point, name, 5)
        assert spread.max() < 0.5
        np.testing.assert_allclose(spread.sum(axis=(1, 2, 3)), 1.0, atol=0.06)  # of 8 bits


def test_a_disk_is_a_disk():
    point = np.zeros((1, 65, 65, 1), np.float32)
    point[0, 32, 32] = 1.0
    found = corrupt(point, "defocus_blur", 1)[0, :, :, 0]  # radius 3, hardly softened
    rows, columns = np.nonzero(found > 0.01)
    assert np.max((rows - 32) ** 2 + (columns - 32) ** 2) <= 9
    np.testing.assert_allclose(found[rows, columns], 1 / len(rows), atol=1 / 255)
    assert len(rows) == 29  # whole points in a disk of radius 3


def test_glass_moves_pixels_and_makes_none(scenes):
    found = corrupt(scenes, "glass_blur", 1)  # a blur of 0.05 pixels leaves values as they are
    assert np.mean(found != scenes) > 0.3
    for before, after in zip(scenes, found, strict=True):
        np.testing.assert_array_equal(*(np.sort(x.reshape(-1, 3), axis=0) for x in (before, after)))


def test_motion_goes_where_it_should():
    point = np.zeros((2, 21, 21, 1), np.float32)
    point[:, 10, 10] = 1.0
    found = moved(point, 3, 2.0, np.array([0.0, 90.0]))[..., 0]
    along = np.arange(7)
    weights = np.exp(-(along**2) / 8)
    np.testing.assert_allclose(found[0, 10, 10 - along], weights / weights.sum(), atol=1e-3)
    np.testing.assert_allclose(found[1, 10 - along, 10], weights / weights.sum(), atol=1e-3)


def test_sampling_between_pixels():
    row = np.arange(4.0, dtype=np.float32)
    image = np.broadcast_to(row[None, None, :, None], (1, 4, 4, 1))
    rows = np.broadcast_to(np.arange(4.0)[:, None], (1, 4, 4))
    columns = np.broadcast_to(np.arange(4.0) - 0.5, (1, 4, 4))
    np.testing.assert_allclose(sampled(image, rows, columns)[0, 0, :, 0], [0.5, 0.5, 1.5, 2.5])
    assert mirrored(np.arange(-3, 7), 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(np.arange(-2, 2), 1).tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(zoomed(image, 2.0)[0, 1, :, 0], [0.75, 1.25, 1.75, 2.25])
    for size in (1, 2, 5, 8):
        line = np.random.default_rng(size).random((1, 1, size, 1), np.float32)
        wanted = zoomed(line, 1.3)[0, 0, :, 0]
        np.testing.assert_allclose(enlarging(size, 1.3) @ line[0, 0, :, 0], wanted, atol=1e-6)


def test_turning_there_and_back(scenes):
    inside = (slice(None), slice(8, 24), slice(8, 24))
    turned = corrupt(scenes, "rotate", 1)
    assert 0.0 < np.mean(np.abs(turned - scenes)[inside]) < 0.02
    wide = np.broadcast_to(
        np.linspace(0.2, 0.8, 32, dtype=np.float32)[None, :, None, None], (9, 32, 32, 1)
    )
    slope = np.diff(corrupt(wide, "rotate", 5)[:, 16, :, 0], axis=1)[:, 8:24].mean(axis=1)
    wanted = np.sin(np.deg2rad(10)) * 0.6 / 31  # to either side
    np.testing.assert_allclose(np.abs(slope), wanted, rtol=0.1)


def test_boxes_keep_the_mean_and_squares_are_flat():
    for size, fewer in ((32, 30), (32, 20), (9, 8), (5, 5)):
        boxes = _boxes(size, fewer)
        np.testing.assert_allclose(boxes.sum(axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose(boxes.mean(axis=0), 1.0 / size, atol=1e-6)
        squares = _squares(fewer, size)
        assert np.all(squares.sum(axis=1) == 1)
        assert np.all(squares.sum(axis=0) >= 1)
    half = corrupt(np.float32(np.arange(64).reshape(1, 8, 8, 1) % 2), "pixelate", 5)
    assert len(np.unique(half[0, :, 0, 0])) <= 5


def test_clouds_are_rougher_with_less_decay():
    rng = np.random.default_rng(0)
    rough, smooth = (clouds(4, 30, 20, decay, rng) for decay in (1.2, 3.0))
    for field in (rough, smooth):
        assert field.shape == (4, 30, 20)
        assert field.min() >= 0.0
        assert field.max() <= 1.0
    steps = [np.abs(np.diff(field, axis=1)).mean() for field in (rough, smooth)]
    assert steps[0] > 2 * steps[1]


def test_jpeg_of_other_channels():
    images = np.random.default_rng(0).random((2, 16, 16, 2), np.float32)
    found = corrupt(images, "jpeg_compression", 1)
    alone = corrupt(images[..., 1:], "jpeg_compression", 1)
    np.testing.assert_array_equal(found[..., 1:], alone)


def test_what_is_no_corruption(scenes):
    with pytest.raises(ConfigError, match="the corruption is 'rain'; expected one of gaussian"):
        corrupt(scenes, "rain", 1)
    with pytest.raises(ConfigError, match="the severity is 6; expected 1 to 5"):
        corrupt(scenes, "fog", 6)
    with pytest.raises(DataError, match="needs images"):
        corrupt(scenes[0], "fog", 1)
