"""Regions: RoIAlign by hand, windows, features of any backbone, published files."""

import base64
import json
import math
import pickle

import h5py
import keras
import numpy as np
import pytest

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.grounding.regions import (
    MAFRegions,
    OfficialRegions,
    RegionFeatures,
    read_tsv,
    roi_align,
    selective_search,
    stacked,
    windows,
)


def one_sample(image, y, x):
    """Bilinear interpolation as the operation's authors have it, one point at a time."""
    height, width, _ = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[-1])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    above = (1 - dx) * image[top, left] + dx * image[top, right]
    below = (1 - dx) * image[bottom, left] + dx * image[bottom, right]
    return (1 - dy) * above + dy * below


def by_hand(image, box, size, scale, samples, aligned):
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (value * scale - shift for value in box)
    least = 0.0 if aligned else 1.0
    width, height = max(x2 - x1, least) / size, max(y2 - y1, least) / size
    found = np.zeros((size, size, image.shape[-1]))
    for p, q, i, j in np.ndindex(size, size, samples, samples):
        y = y1 + height * (p + (i + 0.5) / samples)
        x = x1 + width * (q + (j + 0.5) / samples)
        found[p, q] += one_sample(image, y, x) / samples**2
    return found


@pytest.mark.parametrize(("aligned", "scale", "samples"), [(True, 0.5, 2), (False, 1.0, 3)])
def test_crops_equal_those_of_one_point_at_a_time(rng, aligned, scale, samples):
    images = rng.normal(size=(2, 7, 9, 3))
    boxes = np.array([[0, 0, 9, 7], [1.3, 2.2, 6.1, 5.9], [-4, -3, 3, 4], [7, 5, 30, 30],
                      [4, 4, 4, 4], [5, 5, 3, 2], [50, 50, 60, 60.0]])  # fmt: skip
    boxes = np.stack([boxes, boxes[::-1]])
    found = roi_align(images.astype(np.float32), boxes, 3, scale, samples, aligned)
    for image, row, crops in zip(images, boxes, np.asarray(found)):
        for box, crop in zip(row, crops):
            want = by_hand(image, box, 3, scale, samples, aligned)
            np.testing.assert_allclose(crop, want, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_windows_are_cropped_as_boxes_are(rng, channels):
    """All windows of a grid at once, by their rows and columns, against box by box."""
    features = RegionFeatures((12, 18, channels), grids=(1, 3), overlap=2 / 3, crop_size=2)
    assert features.num_regions == 1 + 49
    images = rng.random((2, 12, 18, channels)).astype(np.float32)
    boxes = np.broadcast_to(features.boxes, (2, *features.boxes.shape))
    np.testing.assert_allclose(features(images), features(images, boxes), atol=1e-6)


def test_windows_cover_the_image():
    found = windows(96, 64, (1, 2), 0.5)
    assert found.shape == (1 + 9, 4)
    assert found[0].tolist() == [0, 0, 63, 95]
    assert found[1].tolist() == [0, 0, 31, 47]
    assert found[2].tolist() == [16, 0, 47, 47]
    assert found[-1].tolist() == [32, 48, 63, 95]
    plain = windows(9, 9, (3,), 0.0)
    covered = np.zeros((9, 9), int)
    for x1, y1, x2, y2 in plain.astype(int):
        covered[y1 : y2 + 1, x1 : x2 + 1] += 1
    assert (covered == 1).all()
    for bad, sentence in ((((),), "grids is empty"), (((99,),), "a grid is 99; expected 1 to 8")):
        with pytest.raises(ConfigError, match=sentence):
            windows(8, 8, *bad)


@pytest.fixture(scope="module")
def backbone():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", name="first")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(5, 3, 2, "same")(x))


def test_features_of_any_backbone(backbone, rng, tmp_path):
    images = rng.random((2, 16, 16, 3)).astype(np.float32)
    layer = RegionFeatures((16, 16, 3), (1, 2), 0.0, 2, "mean", backbone)
    found = layer(images).numpy()
    assert found.shape == (2, 5, 5)
    assert layer.strides == (4.0, 4.0)
    assert not layer.trainable_variables
    assert RegionFeatures((16, 16, 3), backbone=backbone, train_backbone=True).trainable_variables
    maps = backbone(images).numpy()
    want = by_hand(maps[1], (8, 8, 16, 16), 2, 0.25, 2, True).mean((0, 1))
    np.testing.assert_allclose(found[1, -1], want, atol=1e-5)
    # The configuration holds the backbone, and a file its weights.
    again = RegionFeatures.from_config(json.loads(json.dumps(layer.get_config())))
    again.backbone.set_weights(layer.backbone.get_weights())
    np.testing.assert_allclose(again(images), found, atol=1e-6)
    boxes = np.tile(layer.boxes[[2, 0]], (2, 1, 1))
    np.testing.assert_allclose(layer(images, boxes), found[:, [2, 0]], atol=1e-6)


def test_backbones_of_other_strides_and_of_any_size():
    """Windows lie where they lie in the image, though the map is not of its proportions."""
    inputs = keras.Input((None, None, 3))
    oblong = keras.Model(inputs, keras.layers.AveragePooling2D((2, 4))(inputs))
    layer = RegionFeatures((16, 24, 3), (4,), 0.0, 2, "mean", oblong)
    assert layer.strides == (2.0, 4.0)
    # Of a linear picture a window's mean is the value in its middle; at the edges a map ends.
    rows = np.broadcast_to(np.arange(16.0)[:, None], (16, 24))
    columns = np.broadcast_to(np.arange(24.0), (16, 24))
    linear = np.stack([rows, columns, 0 * rows], -1)[None].astype(np.float32)
    found = layer(linear).numpy()[0, :, :2].reshape(4, 4, 2)[1:3, 1:3]
    np.testing.assert_allclose(found[:, 0, 0], [5.5, 9.5], atol=1e-5)
    np.testing.assert_allclose(found[0, :, 1], [8.5, 14.5], atol=1e-5)
    given = layer(linear, layer.boxes[None]).numpy()
    np.testing.assert_allclose(given, layer(linear), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda x: keras.layers.Flatten()(x),
            r"makes \(768,\) of an image; expected one feature map",
        ),
        (lambda x: [x, x], r"makes \(16, 16, 3\), \(16, 16, 3\) of an image; expected one"),
        (lambda x: {"map": x}, "makes .* of an image; expected one"),
    ],
)
def test_backbones_without_one_map_are_refused(make, words):
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(ConfigError, match=words):
        RegionFeatures((16, 16, 3), backbone=keras.Model(inputs, make(inputs)))


@pytest.mark.parametrize("shape", [(16, 16, 1), (8, 8, 3)])
def test_backbones_of_other_images_are_refused(shape):
    inputs = keras.Input(shape)
    with pytest.raises(ConfigError, match=r"takes .*\(16, 16, 3\)"):
        RegionFeatures((16, 16, 3), backbone=keras.Model(inputs, inputs))


def test_backbones_of_keras_by_name(rng):
    options = {"name": "MobileNetV2", "layer": "block_3_expand_relu"}
    layer = RegionFeatures((32, 32, 3), (1,), backbone=options, pool="mean")
    assert layer(rng.random((1, 32, 32, 3))).shape == (1, 1, 144)
    with pytest.raises(ConfigError, match="there is no backbone 'ResNet9000'"):
        RegionFeatures((32, 32, 3), backbone={"name": "ResNet9000"})
    with pytest.raises(ConfigError, match="backbone is 'x'; expected a Keras model"):
        RegionFeatures((32, 32, 3), backbone="x")


def test_a_few_convolutions_learn_along(rng):
    options = dict(backbone={"filters": (4, 6, 5)}, train_backbone=True, seed=3)
    layer = RegionFeatures((32, 32, 1), (1, 2), 0.0, 2, **options)
    images = rng.random((2, 32, 32, 1)).astype(np.float32)
    assert layer.strides == (4, 4)
    assert layer(images).shape == (2, 5, 20)
    assert len(layer.trainable_variables) == 6
    again = RegionFeatures.from_config(layer.get_config())
    np.testing.assert_array_equal(again(images), layer(images))  # of the same seed
    other = RegionFeatures((32, 32, 1), (1, 2), 0.0, 2, **{**options, "seed": 4})
    assert np.abs(other(images) - layer(images)).max() > 0.01
    with pytest.raises(ConfigError, match=r"backbone.filters has 2 numbers and backbone.strides 1"):
        RegionFeatures((32, 32, 1), backbone={"filters": (4, 4), "strides": (2,)})


def test_pixels_are_features_without_a_backbone(rng):
    images = rng.random((1, 8, 8, 1)).astype(np.float32)
    layer = RegionFeatures((8, 8, 1), (1,), crop_size=8)
    np.testing.assert_allclose(layer(images)[0, 0], images.ravel(), atol=0.5)
    assert layer.dims == 64
    assert layer.num_regions == 1


# -- published files -------------------------------------------------------------------------------


@pytest.fixture
def official(tmp_path, rng):
    """The authors' layout: three images of 10, 30 and 50 regions."""
    names = ("COCO_train2014_000000000009", "1016887272", "b")
    with (
        h5py.File(tmp_path / "features.hdf5", "w") as features,
        h5py.File(tmp_path / "boxes.hdf5", "w") as boxes,
        h5py.File(tmp_path / "scores.hdf5", "w") as scores,
    ):
        for name, count in zip(names, (10, 30, 50)):
            features[name] = rng.random((count, 8)).astype(np.float32)
            boxes[name] = rng.random((count, 4)).astype(np.float32)
            scores[name] = np.sort(rng.random(count))[::-1].astype(np.float32)
    return tmp_path


def test_the_authors_files(official):
    found = OfficialRegions(official)
    assert found.ids() == ["1016887272", "COCO_train2014_000000000009", "b"]
    regions = [found[name] for name in found.ids()]
    assert [len(each.boxes) for each in regions] == [30, 10, 50]
    assert (np.diff(regions[0].scores) <= 0).all()
    arrays = stacked(regions)
    assert arrays["regions"].shape == (3, 30, 8)
    assert arrays["region_mask"].sum(1).tolist() == [30, 10, 30]
    assert not arrays["regions"][1, 10:].any()
    np.testing.assert_array_equal(arrays["boxes"][2], regions[2].boxes[:30])
    found.close()
    with pytest.raises(DataError, match=r"features\.hdf5 has no image 'nobody'"):
        found["nobody"]
    found.close()


def test_damage_of_the_authors_files(official, rng):
    with h5py.File(official / "boxes.hdf5", "a") as boxes:
        del boxes["b"]
        boxes["b"] = np.ones((3, 4))
    with pytest.raises(DataError, match=r"'b' has features of shape \(50, 8\) and boxes of shape"):
        OfficialRegions(official)["b"]
    (official / "features.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"features\.hdf5 cannot be read as HDF5"):
        OfficialRegions(official).ids()
    (official / "boxes.hdf5").unlink()
    with pytest.raises(DataError, match=r"has no boxes\.hdf5"):
        OfficialRegions(official)


class Harmful:
    def __reduce__(self):
        return (print, ("never",))


def test_maf_files(tmp_path, rng):
    features = rng.random((7, 6)).astype(np.float32)
    with h5py.File(tmp_path / "features.hdf5", "w") as file:
        file["features"], file["pos_bboxes"] = features, np.array([[0, 3], [3, 7]])
    rows, boxes = tmp_path / "imgid2idx.pkl", tmp_path / "detections.json"
    rows.write_bytes(pickle.dumps({101: 1, 102: 0}))
    detections = {"101": {"bboxes": [[0, 0, 4, 4]] * 4, "classes": list("abcd")},
                  "102": {"bboxes": [[1, 1, 2, 2]] * 3}}  # fmt: skip
    boxes.write_text(json.dumps(detections))
    found = MAFRegions(tmp_path / "features.hdf5", rows, boxes)
    assert found.ids() == ["101", "102"]
    np.testing.assert_array_equal(found["101"].features, features[3:])
    assert found.class_names("101") == list("abcd")
    rows.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match=r"the table names builtins\.print"):
        MAFRegions(tmp_path / "features.hdf5", rows, boxes)


def test_bottom_up_tsv(tmp_path, rng):
    features, boxes = rng.random((3, 5)).astype("<f4"), rng.random((3, 4)).astype("<f4")
    line = ["42", "640", "480", "3", *(base64.b64encode(a.tobytes()).decode()
                                      for a in (boxes, features))]  # fmt: skip
    path = tmp_path / "features.tsv"
    path.write_text("\t".join(line) + "\n" + "\t".join(["43", *line[1:]]) + "\n")
    (first, regions), (second, _) = read_tsv(path)
    assert (first, second) == ("42", "43")
    np.testing.assert_array_equal(regions.features, features)
    np.testing.assert_array_equal(regions.boxes, boxes)
    assert regions.image_size == (480, 640)
    path.write_text("\t".join([*line[:4], "AAAA", line[5]]))
    with pytest.raises(DataError, match="line 1 is no line of bottom-up attention"):
        list(read_tsv(path))


def test_features_that_are_not_finite_or_of_two_widths(official, rng):
    with h5py.File(official / "features.hdf5", "a") as file:
        file["b"][3, 3] = np.nan
    found = OfficialRegions(official)
    with pytest.raises(DataError, match="image 'b' has numbers that are not finite"):
        found["b"]
    one = found["1016887272"]
    with pytest.raises(DataError, match=r"have widths \[3, 8\]"):
        stacked([one, one._replace(features=one.features[:, :3])])


# -- selective search ------------------------------------------------------------------------------


def test_selective_search_finds_what_stands_out():
    pytest.importorskip("cv2")
    image = np.full((60, 80, 3), 30, np.uint8)
    image[10:40, 20:50] = (250, 60, 20)
    found = selective_search(image, 50)
    assert found[0].tolist() == [0, 0, 79, 59]
    nearest = np.abs(found - np.array([20, 10, 49, 39])).max(1).min()
    assert nearest <= 3
    assert len(np.unique(found, axis=0)) == len(found) <= 50
    assert selective_search(image[:4, :4]).tolist() == [[0, 0, 3, 3]]
    assert len(selective_search(image[..., :1])) >= 1
    with pytest.raises(DataError, match="the image has type float64"):
        selective_search(image / 255)


def test_selective_search_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'tfgen\[grounding\]'"):
        selective_search(np.zeros((9, 9, 3), np.uint8))
