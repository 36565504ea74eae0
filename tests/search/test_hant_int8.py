"""Networks in int8 without training: what becomes of them, and what is refused."""

import keras
import numpy as np
import pytest
import small_networks
from ai_edge_litert.interpreter import Interpreter

from tfgen.errors import ConfigError, DataError
from tfgen.search.hant import HANT, quantize
from tfgen.search.latency import LatencyTable, LiteRTBackend

IMAGES = small_networks.images(64)


@pytest.fixture(scope="module")
def mobile():
    """With what EfficientNet is made of: rescaling, depthwise convolutions, gates, shortcuts."""
    return small_networks.mobile(widths=(4, 4))


@pytest.fixture(scope="module")
def int8(mobile):
    return quantize(mobile, IMAGES, num_images=32)


def test_it_is_in_int8_and_near_the_float_network(mobile, int8):
    assert int8.method == "post_training"
    assert int8.calibration == "32 of 64 images, seed 0"
    assert int8.operators["float32"] == 0
    assert int8.operators["int8"] > 15
    assert int8.operators["conversion"] == 2
    labels = mobile.predict(IMAGES, verbose=0).argmax(1)
    found = int8.compare(mobile, IMAGES, labels)
    assert found.relative_error < 0.02
    assert found.accuracy == found.agreement > 0.95
    assert found.float_accuracy == 1.0
    assert "32 of 64 images" in int8.describe()
    assert "0 in float32" in int8.describe()


def test_the_file_is_what_is_run(int8, tmp_path):
    int8.save(tmp_path / "small.tflite")
    interpreter = Interpreter(str(tmp_path / "small.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], IMAGES[:1])
    interpreter.invoke()
    alone = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(int8.predict(IMAGES[:3])[:1], alone)


def test_integer_ends_and_batches(int8, tmp_path):
    """The same numbers, but for the two conversions that the caller then makes."""
    model = small_networks.plain()
    floats = quantize(model, IMAGES, num_images=8, deployed_batch_size=3)
    path = tmp_path / "integers.tflite"
    ends = quantize(
        model, IMAGES, num_images=8, deployed_batch_size=3, integer_ends=True, path=path
    )
    assert path.read_bytes() == ends.content
    assert "conversion" not in ends.operators
    np.testing.assert_allclose(
        ends.predict(IMAGES[:5]), floats.predict(IMAGES[:5]), rtol=1e-6, atol=1e-6
    )


def test_a_first_convolution_in_float(mobile, int8, tmp_path):
    """The same network, nearer to float32, without the integers that its images were."""
    found = quantize(mobile, IMAGES, num_images=32, float_stem=True, path=tmp_path / "a.tflite")
    assert found.operators["conversion"] == 2
    assert found.float_operators == {"MUL": 1, "ADD": 1, "CONV_2D": 1}
    assert found.operators["int8"] == int8.operators["int8"] - 3
    assert found.input_range is None
    assert int8.input_range is not None
    errors = [each.compare(mobile, IMAGES).relative_error for each in (found, int8)]
    assert errors[0] <= errors[1] < 0.02
    signature = Interpreter(str(tmp_path / "a.tflite")).get_signature_runner()
    answer = signature(input_0=IMAGES[:1])["output_0"]
    np.testing.assert_array_equal(answer, found.predict(IMAGES[:1]))
    batches = quantize(mobile, IMAGES, num_images=32, float_stem=True, deployed_batch_size=3)
    np.testing.assert_allclose(batches.predict(IMAGES[:5]), found.predict(IMAGES[:5]), atol=1e-6)


def test_what_stays_in_float_is_named():
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(4, 3, activation="elu")(x)
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(y)))
    found = quantize(model, IMAGES, num_images=4)
    assert found.float_operators == {"ELU": 1}
    assert "1 in float32 (1 ELU)" in found.describe()


def test_a_plan_for_int8(tmp_path):
    """By a table of its own, of which layers can be left out; its network becomes int8."""
    network = small_networks.residual(num_blocks=1)
    search = HANT(network, tmp_path, [{"family": "identity"}])
    search.score(IMAGES)
    search.measure(LiteRTBackend(precision="int8"), num_runs=30, repeat=0)
    table = LatencyTable.read(tmp_path / "latency_litert_int8.json")
    assert table.metadata["precision"] == "int8"
    assert not table.failures
    (plan,) = search.plans(10 * search.latency_ms)
    assert plan.score == 0.0
    smaller = search.network(search._plan((search.operations.index("identity"),)))
    found = quantize(smaller, IMAGES, num_images=8)
    assert found.operators["float32"] == 0
    assert found.operators["int8"] < 7


def test_untrained_candidates_are_timed_as_trained_ones(tmp_path):
    """What adds nothing yet has no range, and LiteRT's fast operators of int8 refuse it."""
    search = HANT(small_networks.residual(num_blocks=1), tmp_path, [dict(family="cb_res")])
    (block,) = [block for block in search.blocks() if block.key.startswith("cb_res")]
    model = block.made()
    LiteRTBackend(precision="int8").write(model, tmp_path / "block.tflite")
    scales = {
        row["name"]: float(row["quantization"][0])
        for row in Interpreter(str(tmp_path / "block.tflite")).get_tensor_details()
        if row["dtype"] == np.int8 and len(row["shape"]) == 4 and row["shape"][0] == 1
    }
    assert min(scales.values()) > 1e-3 * max(scales.values()), scales


def test_one_sentence(mobile, int8):
    with pytest.raises(DataError, match="there are no images"):
        quantize(mobile, IMAGES[:0])
    with pytest.raises(DataError, match=r"shape \(64, 8, 8\).*expects.*\(N, 8, 8, 3\)"):
        quantize(mobile, IMAGES[..., 0])
    with pytest.raises(DataError, match="NaN"):
        quantize(mobile, np.full_like(IMAGES, np.nan))
    with pytest.raises(DataError, match="all pixels of the images are 0;"):
        quantize(mobile, np.zeros_like(IMAGES))
    with pytest.raises(DataError, match="range from 0 to 255; the network was quantised for"):
        int8.predict(np.round(255 * IMAGES / IMAGES.max()))
    with pytest.raises(DataError, match=r"labels of shape \(3,\).*expected 64 integers"):
        int8.compare(mobile, IMAGES, [0, 1, 2])
    with pytest.raises(ConfigError, match="method is 'magic'"):
        quantize(mobile, IMAGES, method="magic")
    with pytest.raises(ConfigError, match="integer_ends and float_stem are both wanted"):
        quantize(mobile, IMAGES, integer_ends=True, float_stem=True)
    x = keras.Input((8, 8, 3))
    dense = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    with pytest.raises(ConfigError, match="no convolution through which all"):
        quantize(dense, IMAGES, float_stem=True)
    with pytest.raises(ConfigError, match="num_images is 0"):
        quantize(mobile, IMAGES, num_images=0)


def test_weights_that_are_not_finite():
    model = small_networks.plain()
    model.get_layer("conv1").kernel.assign(np.full((3, 3, 4, 4), np.nan))
    with pytest.raises(ConfigError, match=r"'conv1/kernel' .* hold NaN or infinity"):
        quantize(model, IMAGES)
