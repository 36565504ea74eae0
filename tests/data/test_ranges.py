import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import ranges
from tfgen.data.mapped import Mapped
from tfgen.data.ranges import as_intensities, as_levels, checked_in_dataset
from tfgen.errors import DataError, plain_user_errors, user_error_in

LEVELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
BINARY = (LEVELS % 3 == 0).astype(np.uint8)

GOOD = {
    "uint8": (LEVELS, LEVELS / 255),
    "int64": (LEVELS.astype(np.int64), LEVELS / 255),
    "big-endian": (LEVELS.astype(">i2"), LEVELS / 255),
    "0 and 1, uint8": (BINARY, BINARY),
    "0 and 1, int64": (BINARY.astype(np.int64), BINARY),
    "bool": (BINARY.astype(bool), BINARY),
    "nothing but 0": (np.zeros_like(BINARY), BINARY * 0),
    "nothing but 1": (np.ones_like(BINARY), BINARY * 0 + 1),
    "float64": (LEVELS / 255, LEVELS / 255),
    "float32": ((LEVELS / 255).astype(np.float32), LEVELS / 255),
    "off by rounding": (LEVELS / 255 * (1 + 2e-6) - 1e-6, LEVELS / 255),
    "Fortran order": (np.asfortranarray(LEVELS), LEVELS / 255),
}
BAD = {
    "0 to 255 as float": (LEVELS.astype(np.float32), r"from 0 to 255; .*divide by 255"),
    "-1 to 1": (LEVELS / 127.5 - 1, r"from -1 to 1; expected \[0, 1\].*\(x \+ 1\) / 2"),
    "-0.001": (LEVELS / 255 - 0.001, r"from -0.001"),
    "1.001": (LEVELS / 255 * 1.001, r"to 1.001"),
    "NaN": (np.where(LEVELS == 200, np.nan, LEVELS / 255), "first in image 3"),
    "infinite": (np.where(LEVELS == 70, np.inf, LEVELS / 255), "first in image 1"),
    "negative": (LEVELS.astype(np.int64) - 1, "pixels from -1 to 254"),
    "16 bits": (LEVELS.astype(np.uint16) * 257, "pixels from 0 to 65535"),
    "complex": (LEVELS.astype(np.complex64), "type complex64"),
    "words": (LEVELS.astype(str), "type <U3"),
    "objects": (LEVELS.astype(object), "type object"),
}


@pytest.fixture(params=[2**24, 100], ids=["one chunk", "many chunks"], autouse=True)
def chunks(request, monkeypatch):
    monkeypatch.setattr(ranges, "_CHUNK_BYTES", request.param)


@pytest.mark.parametrize("case", GOOD)
def test_one_rule_for_models_and_sources(case):
    images, expected = GOOD[case]
    intensities = as_intensities(images)
    assert intensities.dtype == tf.float32
    np.testing.assert_allclose(intensities, expected, atol=3e-6)
    levels = as_levels(images, "made")
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, np.rint(expected * 255))


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_is_refused_by_both(case):
    images, message = BAD[case]
    for check in (as_intensities, as_levels):
        with pytest.raises(DataError, match=f"^made .*{message}"):
            check(images, "made")


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float64, tf.uint8, tf.int32])
def test_tensors(dtype):
    white = 255 if dtype.is_integer else 1
    images = tf.cast(BINARY, dtype) * tf.cast(white, dtype)
    np.testing.assert_array_equal(as_intensities(images), BINARY)
    if dtype != tf.uint8:
        with pytest.raises(DataError, match="the array of images holds"):
            as_intensities(images - 1)


def test_lists_scalars_and_nothing():
    np.testing.assert_array_equal(as_intensities([[0, 255], [255, 0]]), [[0, 1], [1, 0]])
    assert as_intensities(0.5) == 0.5
    assert as_intensities(np.zeros([0, 4, 4, 1])).shape == (0, 4, 4, 1)
    with pytest.raises(DataError, match="equal sizes"):
        as_intensities([[0.0, 1.0], [0.5]])
    with pytest.raises(DataError, match="from 2 to 2"):
        as_intensities(2.0)


def test_within_a_graph_types_are_checked():
    graph = tf.function(as_intensities)
    np.testing.assert_array_equal(graph(tf.constant(BINARY, tf.float64)), BINARY)
    np.testing.assert_array_equal(graph(tf.constant(BINARY, tf.bool)), BINARY)
    with pytest.raises(DataError, match=r"type uint8.*by 255"), plain_user_errors():
        graph(tf.constant(LEVELS))


def test_floats_are_not_copied():
    images = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    tensor = tf.constant(images)
    assert as_intensities(tensor) is tensor


@pytest.mark.parametrize("case", ["0 and 1, int64", "int64", "float64", "bool"])
def test_memory_maps_stay_on_disk(tmp_path, case):
    images, expected = GOOD[case]
    np.save(tmp_path / "a.npy", images)
    levels = as_levels(np.load(tmp_path / "a.npy", mmap_mode="r"), "made")
    assert isinstance(levels, Mapped)
    assert (levels.dtype, levels.shape) == (np.uint8, images.shape)
    rows = levels[np.array([2, 0])]
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, np.rint(expected * 255)[[2, 0]])


def test_damage_in_a_data_set_is_named():
    images = np.zeros([6, 2, 2, 1], np.float32)
    images[4] = 3.0
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(2).map(checked_in_dataset)
    assert dataset.element_spec == tf.TensorSpec([None, 2, 2, 1], tf.float32)
    assert len(list(dataset.take(2))) == 2
    message = r"^a batch of images holds .* from 0 to 3; .*255$"
    with pytest.raises(DataError, match=message), plain_user_errors():
        list(dataset)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(DataError, match=message), plain_user_errors():
        model.fit(dataset.map(lambda x: (x, tf.zeros([2, 1]))), verbose=0)
    with pytest.raises(DataError, match=r"^a batch .* type uint8"), plain_user_errors():
        tf.data.Dataset.from_tensor_slices(LEVELS).map(checked_in_dataset)


def test_data_sets_are_checked_without_python():
    """A thread that collects the iterator of its own pipeline waits for itself, for ever."""
    traced = tf.function(checked_in_dataset).get_concrete_function(tf.TensorSpec([None, 2, 2, 1]))
    operations = {node.op for node in traced.graph.as_graph_def().node}
    assert "Assert" in str(traced.graph.as_graph_def())
    assert not {op for op in operations if "PyFunc" in op}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([0.0, 1.000005], None),
        ([], None),
        ([-1e-6, 0.5], None),
        ([-1.0, 1.0], r"from -1 to 1; .*\(x \+ 1\) / 2"),
        ([0.25, 254.5], r"from 0\.25 to 254\.5; .*divide by 255"),
        ([0.5, np.nan], "NaN or infinite pixels"),
        ([np.nan, np.nan], "NaN or infinite pixels"),
        ([-np.inf, 0.5], "NaN or infinite pixels"),
    ],
)
def test_batches_keep_the_rule_of_arrays(pixels, message):
    images = np.array(pixels, np.float32)
    if message is None:
        np.testing.assert_array_equal(checked_in_dataset(tf.constant(images)), images)
        np.testing.assert_array_equal(as_intensities(images), images)
        return
    for check in (as_intensities, checked_in_dataset):
        with pytest.raises(DataError, match=message), plain_user_errors():
            check(tf.constant(images))


def test_other_errors_stay_what_they_are():
    assert user_error_in(ValueError("DataError: without a traceback")) is None
    with pytest.raises(ZeroDivisionError), plain_user_errors():
        1 / 0  # noqa: B018
