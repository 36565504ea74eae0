"""Labels as data sets have them, as classes."""

import numpy as np
import pytest

from tfgen.errors import DataError
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
