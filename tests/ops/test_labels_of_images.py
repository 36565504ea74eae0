"""Labels as data sets have them, as classes."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import Source
from tfgen.errors import DataError, plain_user_errors
from tfgen.ops.labels import class_indices


@pytest.mark.parametrize(
    "labels",
    [[2, 0, 1], [[2], [0], [1]], np.eye(3)[[2, 0, 1]], np.float32([2, 0, 1]), np.uint8([2, 0, 1])],
)
def test_any_form_gives_the_classes(labels):
    found = class_indices(np.asarray(labels), 3)
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, [2, 0, 1])


def test_what_is_no_class_is_said():
    with pytest.raises(DataError, match="labels are -1 to 3; expected 0 to 2"):
        class_indices(np.array([-1, 3]), 3)
    with pytest.raises(DataError, match=r"labels have shape \(2, 2\)"):
        class_indices(np.zeros((2, 2)), 3)
    assert class_indices(np.zeros(0, np.int64), 3).shape == (0,)


WRONG = {
    "beyond": (np.array([0, 3]), "labels are 0 to 3; expected 0 to 2: others are none of the 3"),
    "before": (np.float32([-1, 2]), "labels are -1 to 2; expected 0 to 2"),
    "missing as 255": (np.uint8([255, 2]), "labels are 2 to 255"),
    "halves": (np.array([0.5, 1.0]), "labels are no whole numbers"),
    "NaN": (np.array([np.nan, 1.0]), "labels are no whole numbers"),
    "probabilities": (np.array([[0.2, 0.2, 0.6]]), "not one-hot; .*argmax"),
    "no class": (np.array([[1, 0, 0], [0, 0, 0]]), "not one-hot"),
    "words": (np.array(["cat", "dog"]), "labels have type string"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("graph", [False, True])
def test_what_names_no_class_is_one_sentence(case, graph):
    labels, sentence = WRONG[case]

    def run(labels):
        return class_indices(labels, 3)

    if graph:  # values that are known when it runs
        spec = tf.TensorSpec([None, *labels.shape[1:]], tf.as_dtype(tf.constant(labels).dtype))
        run = tf.function(run, input_signature=[spec], autograph=False)
    with pytest.raises(DataError, match=sentence) as caught, plain_user_errors():
        run(tf.constant(labels))
    assert "\n" not in str(caught.value)


def test_a_set_is_looked_at_before_it_is_used():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    with pytest.raises(DataError, match="'x' has no labels, which a classifier needs"):
        Source("x", "train", {"images": images}).check_classes(3)
    source = Source("x", "train", {"images": images, "labels": np.array([0, 255, 1])})
    with pytest.raises(DataError, match="'x' has labels 0 to 255; expected 0 to 2"):
        source.check_classes(3)
    source.check_classes(256)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_labels_that_are_looked_at_are_compiled(dtype):
    """Accelerators train by XLA, which knows no words."""
    run = tf.function(lambda y: class_indices(y, 3), jit_compile=True, autograph=False)
    np.testing.assert_array_equal(run(tf.constant([0, 2, 1], dtype)), [0, 2, 1])
    np.testing.assert_array_equal(run(tf.one_hot([0, 2, 1], 3, dtype=dtype)), [0, 2, 1])
