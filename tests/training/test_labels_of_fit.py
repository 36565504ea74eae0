"""Labels that people give to `fit` and its like: any form that names classes, or one sentence."""

import numpy as np
import pytest
import tensorflow as tf
from toy_autoencoder import IMAGES, LABELS, make

from tfgen.errors import UserError

QUIET = {"verbose": 0}


def sets(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(8)


@pytest.fixture(scope="module")
def classifier():
    """What counts three classes by their labels."""
    model = make(with_labels=True)
    model.num_classes = 3
    return model


FORMS = {
    "int64": LABELS,
    "uint8": LABELS.astype(np.uint8),
    "float32": LABELS.astype(np.float32),
    "column": LABELS[:, None],
    "one-hot": np.eye(3, dtype=np.float32)[LABELS],
    "list": LABELS.tolist(),
    "tensor": tf.constant(LABELS),
    "words": np.array(["ant", "bee", "cat"])[LABELS],
    "words as objects": np.array(["ant", "bee", "cat"], object)[LABELS],
}
IN_SETS = [name for name in FORMS if "words" not in name]


@pytest.mark.parametrize("form", FORMS)
def test_arrays_in_any_form(classifier, form):
    history = classifier.fit(IMAGES, FORMS[form], batch_size=8, **QUIET).history
    np.testing.assert_allclose(history["labels"], LABELS.mean(), rtol=1e-6)
    classifier.train_on_batch(IMAGES, FORMS[form])
    assert np.isfinite(classifier.evaluate(IMAGES, FORMS[form], batch_size=8, **QUIET)[0])


@pytest.mark.parametrize("form", IN_SETS)
def test_data_sets_in_any_form(classifier, form):
    history = classifier.fit(sets(IMAGES, FORMS[form]), **QUIET).history
    np.testing.assert_allclose(history["labels"], LABELS.mean(), rtol=1e-6)


WRONG = {
    "negative": (LABELS - 1, "labels are -1 to 1; expected 0 to 2"),
    "255": (np.where(LABELS == 1, 255, LABELS).astype(np.uint8), "labels are 0 to 255"),
    "probabilities": (np.full((24, 3), 1 / 3, np.float32), "argmax"),
    "halves": (LABELS + 0.5, "integers"),
    "NaN": (np.where(LABELS == 1, np.nan, LABELS), "integers"),
    "images": (IMAGES, "labels"),
}
ONLY_SETS = {"words": (np.array(["a", "b", "c"])[LABELS], "labels have type string")}
ONLY_ARRAYS = {
    "too few": (LABELS[:20], "expected 24 integers, one for each image"),
    "two words": (np.array(["a", "b"])[LABELS % 2], "2 words as labels .* for 3 classes"),
    "four columns": (np.eye(4)[LABELS], r"\(24, 4\); expected \[B\], or \[B, 3\]"),
}


def one_sentence(method, message, *args, **kwargs):
    with pytest.raises(UserError, match=message) as caught:
        method(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", [*WRONG, *ONLY_ARRAYS])
def test_arrays_that_name_no_classes(classifier, case):
    labels, message = {**WRONG, **ONLY_ARRAYS}[case]
    for method in (classifier.fit, classifier.evaluate):
        one_sentence(method, message, IMAGES, labels, **QUIET)
    for method in (classifier.train_on_batch, classifier.test_on_batch):
        one_sentence(method, message, IMAGES, labels)
    one_sentence(classifier.fit, message, IMAGES, LABELS, validation_data=(IMAGES, labels), **QUIET)


@pytest.mark.parametrize("case", [*WRONG, *ONLY_SETS])
def test_data_sets_that_name_no_classes(classifier, case):
    labels, message = {**WRONG, **ONLY_SETS}[case]
    for method in (classifier.fit, classifier.evaluate):
        one_sentence(method, message, sets(IMAGES, labels), **QUIET)


def test_what_looks_at_no_classes_takes_any_labels():
    model = make()
    for labels in (LABELS - 7, LABELS.tolist(), LABELS.astype(str), IMAGES):
        model.fit(IMAGES, labels, batch_size=24, **QUIET)
