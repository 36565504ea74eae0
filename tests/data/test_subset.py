"""Parts of data sets: random where the whole can be counted, and named."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data.elements import images_of
from tfgen.data.subset import part_of, shuffled_rows

IMAGES = np.arange(200, dtype=np.float32).reshape(50, 2, 2, 1)
ROWS = np.sort([28, 11, 10, 41, 2, 27, 38, 31, 22])  # of seed 0, on every machine

DATA_SETS = {
    "array": IMAGES,
    "tensor": tf.constant(IMAGES),
    "list": [IMAGES[:15], IMAGES[15:]],
    "list of dictionaries": [{"images": IMAGES[:49]}, {"images": IMAGES[49:]}],
    "data set": tf.data.Dataset.from_tensor_slices(IMAGES).batch(7),
    "data set of pairs": tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(50))).batch(16),
}


def gathered(part):
    if isinstance(part.images, np.ndarray):
        return part.images
    return np.concatenate([images_of(element) for element in part.images])


@pytest.mark.parametrize("form", DATA_SETS)
def test_the_same_random_part_of_every_form(form):
    part = part_of(DATA_SETS[form], 9)
    assert part.extent == "a random 9 of 50 images (seed 0)"
    np.testing.assert_array_equal(gathered(part), IMAGES[ROWS])
    other = part_of(DATA_SETS[form], 9, seed=1)
    assert other.extent.endswith("(seed 1)")
    assert (gathered(other) != IMAGES[ROWS]).any()
    for everything in (None, 50, 60):
        assert part_of(DATA_SETS[form], everything) == (DATA_SETS[form], None)


def test_of_a_stream_the_first_are_taken_and_that_is_said():
    endless = tf.data.Dataset.from_tensor_slices(IMAGES).repeat().batch(8)
    for stream in (iter([IMAGES[:15], IMAGES[15:]]), endless):
        part = part_of(stream, 20)
        assert part.extent == "the first 20 of a stream"
        np.testing.assert_array_equal(gathered(part), IMAGES[:20])


def test_smaller_parts_begin_larger_ones():
    assert set(shuffled_rows(50, 3)[:5]) < set(shuffled_rows(50, 3)[:6])
