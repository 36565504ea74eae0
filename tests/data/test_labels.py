"""Labels as people keep them: columns, one-hot rows, words, numbers of any type."""

import numpy as np
import pytest

from tfgen.data import load
from tfgen.data.labels import as_labels
from tfgen.errors import DataError

CLASSES = np.array([2, 0, 1, 1, 2])
WORDS = np.array(["dog", "ant", "cat", "cat", "dog"])

FORMS = {
    "integers": CLASSES,
    "column": CLASSES[:, None],
    "uint8": CLASSES.astype(np.uint8),
    "big-endian": CLASSES.astype(">i8"),
    "float": CLASSES.astype(np.float32),
    "one-hot": np.eye(3)[CLASSES],
    "one-hot integers": np.eye(3, dtype=np.int64)[CLASSES],
    "one-hot bool": np.eye(3, dtype=bool)[CLASSES],
    "words": WORDS,
    "column of words": WORDS[:, None],
    "bytes": WORDS.astype("S"),
    "objects": WORDS.astype(object),
    "bytes as objects": np.array([word.encode() for word in WORDS], object),
    "list": CLASSES.tolist(),
}
BAD = {
    "too few": (CLASSES[:4], r"shape \(4,\)"),
    "too many": (np.r_[CLASSES, 0], r"shape \(6,\)"),
    "halves": (CLASSES + 0.5, "type float64"),
    "NaN": (np.where(CLASSES, CLASSES, np.nan), "type float64"),
    "beyond int32": (CLASSES + 2**40, "type int64"),
    "probabilities": (np.full((5, 4), 0.25), r"probabilities, of which np\.argmax"),
    "several classes": (np.ones((5, 3)), r"shape \(5, 3\)"),
    "one-hot of others": (np.eye(3)[CLASSES][:4], r"shape \(4, 3\)"),
    "objects": (np.array([1, None, 2, 3, 4], object), "type object"),
    "a number": (np.array(3), r"shape \(\)"),
    "records": (np.zeros(5, [("a", int)]), "type"),
    "complex": (CLASSES.astype(complex), "type complex128"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_name_one_class_of_each_image(form):
    labels = as_labels(FORMS[form], 5, "made")
    assert labels.numbers.dtype == np.int64
    np.testing.assert_array_equal(labels.numbers, CLASSES)
    words = "words" in form or form.startswith(("bytes", "objects"))
    assert labels.names == (("ant", "cat", "dog") if words else None)


@pytest.mark.parametrize("form", BAD)
def test_what_names_none_is_refused(form):
    labels, message = BAD[form]
    with pytest.raises(DataError, match=f"^made has labels of .*{message}"):
        as_labels(labels, 5, "made")


def test_words_are_numbered_over_all_splits(tmp_path):
    images = np.zeros((5, 4, 4), np.uint8)
    np.savez(
        tmp_path / "a.npz", x_train=images, y_train=WORDS, x_test=images[:2], y_test=["cat", "bee"]
    )
    train, test = (load(f"npz:{tmp_path / 'a.npz'}", split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("ant", "bee", "cat", "dog")
    np.testing.assert_array_equal(train.labels, [3, 0, 2, 2, 3])
    np.testing.assert_array_equal(test.labels, [2, 1])


def test_words_that_are_no_utf8_stay_apart():
    labels = as_labels(np.array([b"caf\xe9", b"caf\xe8", b"caf\xe9"]), 3, "made")
    np.testing.assert_array_equal(labels.numbers, [1, 0, 1])
    assert labels.names == (r"caf\xe8", r"caf\xe9")
