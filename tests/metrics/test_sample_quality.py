"""Feature extraction, KID, precision and recall, and the record they end in."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fuzzing import budgets, damages, try_many

from tfgen import cores
from tfgen.errors import DataError
from tfgen.metrics import (
    FeatureExtractor,
    FeatureStatistics,
    Moments,
    compare_samples,
    feature_statistics,
    frechet_distance,
    inception_v3,
    kernel_distance,
    precision_recall,
)


@pytest.fixture(scope="module")
def extractor():
    """A small random network with spatial output, as a stand-in for Inception."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(5, 3)(x)
    return FeatureExtractor(keras.Model(inputs, x), "small")


def images(n, seed=0, contrast=1.0, size=8, channels=3):
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-0.5, 0.5, (n, size, size, channels))
    return (0.5 + contrast * noise).astype(np.float32)


# --- Features ----------------------------------------------------------------


def test_features_are_those_of_the_model(extractor):
    x = images(4)
    rounded = np.round(x * 255) / 255
    want = extractor.model(2 * rounded - 1).numpy().mean((1, 2))
    np.testing.assert_allclose(extractor(x), want, rtol=1e-5, atol=1e-6)
    as_bytes = np.round(x * 255).astype(np.uint8)
    np.testing.assert_allclose(extractor(as_bytes), want, rtol=1e-5, atol=1e-6)


def test_parts_side_by_side_do_not_show(extractor, monkeypatch):
    whole = extractor(images(5))
    monkeypatch.setattr(cores, "parts_at_once", lambda: 2)
    np.testing.assert_allclose(extractor(images(5)), whole, rtol=1e-6, atol=1e-6)


def test_grey_and_other_sizes_are_brought_to_the_model(extractor):
    grey = images(2, size=5, channels=1)
    resized = tf.image.resize(np.round(grey * 255) / 255, (8, 8), antialias=True)
    want = extractor.model(2 * np.repeat(resized, 3, -1) - 1).numpy().mean((1, 2))
    np.testing.assert_allclose(extractor(grey), want, rtol=1e-5, atol=1e-6)


def test_protocol_names_model_weights_and_resizing(extractor):
    protocol = extractor.protocol
    assert protocol["bit_depth"] == 8
    assert protocol["resize"] == "bilinear antialiased to 8x8"
    assert protocol["value_range"] == "[-1, 1]"
    other = keras.models.clone_model(extractor.model)  # other weights
    assert FeatureExtractor(other, "small").protocol["extractor"] != protocol["extractor"]
    assert protocol["extractor"].startswith("small#")
    free = FeatureExtractor(keras.Sequential([keras.layers.Flatten()]), "pixels", (0, 1))
    assert free.protocol["resize"] == "none"
    assert free(images(3)).shape == (3, 192)


def test_useless_images_are_refused(extractor):
    with pytest.raises(DataError, match="NaN"):
        extractor(np.full((1, 8, 8, 3), np.nan))
    with pytest.raises(DataError, match=r"expected \[B, H, W, C\]"):
        extractor(np.zeros((8, 8, 3)))


def test_inception_without_weights_says_where_to_put_them(tmp_path, monkeypatch):
    def offline(**kwargs):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", offline)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"notop\.h5 into .*models"):
        inception_v3()
    with pytest.raises(DataError, match="do not exist"):
        inception_v3(tmp_path / "missing.h5")


def test_inception_from_a_local_file(tmp_path, monkeypatch):
    def small(weights, include_top, pooling, input_shape):
        assert (weights, include_top, pooling, input_shape) == (None, False, "avg", (299, 299, 3))
        return keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Conv2D(2, 3)])

    source = small(None, False, "avg", (299, 299, 3))
    source.save_weights(tmp_path / "good.weights.h5")
    (tmp_path / "bad.weights.h5").write_bytes(b"not an HDF5 file")
    monkeypatch.setattr(keras.applications, "InceptionV3", small)
    loaded = inception_v3(tmp_path / "good.weights.h5")
    x = images(2, size=9)
    want = source(2 * np.round(x * 255) / 255 - 1).numpy().mean((1, 2))
    np.testing.assert_allclose(loaded(x), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="do not fit"):
        inception_v3(tmp_path / "bad.weights.h5")


@pytest.mark.slow
def test_real_inception_takes_small_images(tmp_path):
    model = keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg")
    model.save_weights(tmp_path / "random.weights.h5")
    extractor = inception_v3(tmp_path / "random.weights.h5")
    assert extractor(images(2, size=28, channels=1)).shape == (2, 2048)
    assert extractor.protocol["resize"] == "bilinear antialiased to 299x299"


# --- KID ---------------------------------------------------------------------


def test_kernel_distance_matches_loops():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 4))

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    within = [
        np.mean([k(s[i], s[j]) for i in range(6) for j in range(6) if i != j]) for s in (x, y)
    ]
    between = np.mean([k(a, b) for a in x for b in y])
    got, _ = kernel_distance(x, y, num_subsets=1)
    np.testing.assert_allclose(got, sum(within) - 2 * between, rtol=1e-9)


def test_kernel_distance_is_unbiased():
    """Two samples of one law: mean zero over 200 repeats, to five standard errors."""
    rng = np.random.default_rng(1)
    values = [
        kernel_distance(*rng.normal(0.3, 1, (2, 20, 8)), num_subsets=1)[0] for _ in range(200)
    ]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_kernel_distance_sees_a_shift_and_reports_its_error():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (300, 8)), rng.normal(0.5, 1, (200, 8))
    value, error = kernel_distance(x, y, num_subsets=30, subset_size=100)
    assert value > 5 * error > 0
    assert (value, error) == kernel_distance(x, y, num_subsets=30, subset_size=100)
    with pytest.raises(DataError, match="got 300 and 1 images"):
        kernel_distance(x, y[:1])


@pytest.mark.parametrize("shift", [0.0, 0.4])
@pytest.mark.parametrize("sizes", [(50, 50, 1, 1000), (150, 100, 20, 40)])
def test_error_of_the_kernel_distance_is_that_of_drawing_other_images(sizes, shift):
    """The mean square of the error against the variance over 400 fresh samples.

    Theirs is known to 10 % (one deviation); where both laws are equal the error is 13 % too large,
    because no part of a variance is let below zero. Five deviations: false alarms below 1e-5.
    """
    n, m, num_subsets, subset_size = sizes
    rng = np.random.default_rng(5)
    found = [
        kernel_distance(
            rng.normal(0, 1, (n, 8)), rng.normal(shift, 1, (m, 8)), num_subsets, subset_size
        )
        for _ in range(400)
    ]
    values, errors = np.transpose(found)
    ratio = np.mean(np.square(errors)) / np.var(values)
    assert 0.6 < ratio < (1.5 if shift else 1.9)


def test_features_that_cannot_be_compared(extractor):
    x = np.random.default_rng(6).normal(size=(9, 4))
    for metric in (kernel_distance, precision_recall):
        with pytest.raises(DataError, match="NaN or infinity"):
            metric(x, np.where(x > 1, np.nan, x))
        with pytest.raises(DataError, match=r"\(9, 4\) and \(9, 3\)"):
            metric(x, x[:, :3])
    with pytest.raises(DataError, match="NaN or infinity"):
        Moments.of(np.full((3, 4), np.nan))


# --- Precision and recall ----------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1024, 7, 1])
def test_precision_and_recall_match_loops(chunk_size):
    rng = np.random.default_rng(3)
    real, fake = rng.normal(0, 1, (40, 3)), rng.normal(0.5, 0.7, (30, 3))

    def share(queries, points, k=3):
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        radii = np.sort(distances, axis=1)[:, k]
        return np.mean(
            [np.any(np.linalg.norm(points - q, axis=1) <= radii + 1e-9) for q in queries]
        )

    got = precision_recall(real, fake, chunk_size=chunk_size)
    np.testing.assert_allclose(got, (share(fake, real), share(real, fake)))


def test_precision_and_recall_tell_the_two_failures_apart():
    rng = np.random.default_rng(4)
    real = np.concatenate([rng.normal(c, 0.1, (100, 2)) for c in (0, 5)])
    one_mode = rng.normal(0, 0.1, (200, 2))
    precision, recall = precision_recall(real, one_mode)
    assert precision > 0.9
    assert recall < 0.6
    noisy = np.concatenate([real[:100] + 1e-3, rng.uniform(20, 90, (100, 2))])
    precision, _ = precision_recall(real, noisy)
    assert 0.4 < precision < 0.6
    assert precision_recall(real, real) == (1.0, 1.0)
    with pytest.raises(DataError, match="3 neighbours need at least 4 images"):
        precision_recall(real[:3], real)


# --- The record --------------------------------------------------------------


def test_statistics_do_not_depend_on_batches(extractor):
    x = images(50)
    whole = feature_statistics(x, extractor, batch_size=50, keep_features=20)
    parts = (
        feature_statistics(x, extractor, batch_size=7, keep_features=20),
        feature_statistics([{"images": x[:30]}, (x[30:], None)], extractor, keep_features=20),
        feature_statistics(
            tf.data.Dataset.from_tensor_slices(x).batch(16), extractor, keep_features=20
        ),
    )
    for part in parts:
        assert part.moments.count == 50
        np.testing.assert_allclose(part.moments.mean, whole.moments.mean, rtol=1e-5)
        np.testing.assert_allclose(part.moments.scatter, whole.moments.scatter, rtol=1e-4)
        np.testing.assert_allclose(part.features, whole.features, rtol=1e-4, atol=1e-6)
    limited = feature_statistics(x, extractor, num_images=30)
    assert limited.moments.count == 30
    drawn = np.random.RandomState(0).permutation(50)[:30]
    np.testing.assert_allclose(limited.moments.mean, extractor(x[drawn]).mean(0), rtol=1e-4)
    everything = extractor(x)
    chosen = [np.abs(everything - row).sum(1).argmin() for row in whole.features]
    assert len(set(chosen)) == 20
    assert max(chosen) > 30  # not merely the first ones


def test_record_of_a_comparison(extractor):
    real = feature_statistics(images(120), extractor)
    alike = compare_samples(real, feature_statistics(images(100, seed=1), extractor))
    notes = {"temperature": 0.7}
    grey = compare_samples(
        real, feature_statistics(images(100, seed=1, contrast=0.3), extractor), notes=notes
    )
    assert grey["fid"] > 5 * alike["fid"]
    assert grey["kid"] > alike["kid"]
    assert grey["recall"] < alike["recall"]
    assert (grey["num_real"], grey["num_fake"]) == (120, 100)
    assert grey["temperature"] == 0.7
    assert grey["extractor"] == extractor.protocol["extractor"]
    assert alike["kid_standard_error"] >= 0


def test_fid_alone_needs_no_features(extractor):
    sides = [feature_statistics(images(30, s), extractor, keep_features=0) for s in (0, 1)]
    record = compare_samples(*sides)
    assert record["fid"] == frechet_distance(sides[0].moments, sides[1].moments)
    assert "kid" not in record


def test_statistics_survive_a_file(extractor, tmp_path):
    side = feature_statistics(images(20), extractor)
    side.save(tmp_path / "reference.npz")
    loaded = FeatureStatistics.load(tmp_path / "reference.npz")
    assert loaded.protocol == side.protocol
    assert loaded.moments.count == 20
    np.testing.assert_array_equal(loaded.moments.scatter, side.moments.scatter)
    np.testing.assert_array_equal(loaded.features, side.features)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"PK\x03\x04 truncated"])
def test_damaged_statistics_are_refused(tmp_path, content):
    path = tmp_path / "reference.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="no feature statistics"):
        FeatureStatistics.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"count": np.array([20])},
        {"count": np.array(np.nan)},
        {"mean": np.zeros(3)},
        {"scatter": np.zeros((64, 64, 1))},
        {"features": np.zeros(())},
        {"features": np.array([["a"]])},
        {"protocol": np.array("[]")},
        {"protocol": np.array('{"a": NaN}')},
        {"protocol": np.array("[" * 100_000)},
        {"mean": np.array([None])},
    ],
    ids=lambda change: str(change)[:40],
)
def test_statistics_of_other_kinds_are_refused(extractor, tmp_path, change):
    path = tmp_path / "reference.npz"
    feature_statistics(images(20), extractor).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | change))
    with pytest.raises(DataError, match="no feature statistics"):
        FeatureStatistics.load(path)


@budgets
def test_statistics_that_are_damaged(extractor, tmp_path, budget):
    path = tmp_path / "reference.npz"
    feature_statistics(images(20), extractor).save(path)

    def attempt(content):
        path.write_bytes(content)
        FeatureStatistics.load(path)

    outcomes = try_many(damages(path.read_bytes()), attempt, budget)
    assert outcomes["refused"] > budget / 2


def test_other_protocols_are_not_compared(extractor):
    coarse = FeatureExtractor(extractor.model, "small", num_bits=5)
    sides = [feature_statistics(images(10), e) for e in (extractor, coarse)]
    with pytest.raises(DataError, match="bit_depth: 8 against 5"):
        compare_samples(*sides)
    with pytest.raises(DataError, match="no images"):
        feature_statistics(np.zeros((0, 8, 8, 3)), extractor)
