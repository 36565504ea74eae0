"""Stacked MNIST: three digits as the channels of one image, a data set of 1000 known modes."""

import numpy as np

SIZE = 32
_ROUNDS = 2  # independent pairings of all digits
_SEED = 1000


class StackedDigits:
    """Triples of digits, put together when they are asked for.

    Each channel goes through all digits in an order of its own, twice: 60,000 digits give 120,000
    images, always the same.

    Args:
        digits: uint8 array `[N, h, w, 1]`, no larger than 32 x 32.
        index: array `[M, 3]`, the digits of each image; None: all 2 N of them.
    """

    def __init__(self, digits: np.ndarray, index: np.ndarray | None = None):
        self.digits = digits
        if index is None:
            rng = np.random.default_rng(_SEED)
            orders = [
                np.concatenate([rng.permutation(len(digits)) for _ in range(_ROUNDS)])
                for _ in range(3)
            ]
            index = np.stack(orders, axis=1)
        self.index = index
        self.dtype = digits.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), SIZE, SIZE, 3)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices) -> np.ndarray:
        """Images of the given rows, zero-padded to 32 x 32; lazily for a slice."""
        if isinstance(indices, slice):
            return StackedDigits(self.digits, self.index[indices])
        images = np.moveaxis(self.digits[self.index[indices], ..., 0], -3, -1)
        rows, columns = (SIZE - side for side in images.shape[-3:-1])
        pads = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)]
        return np.pad(images, [(0, 0)] * (images.ndim - 3) + pads)


def stack_digits(digits: np.ndarray, labels) -> tuple[StackedDigits, np.ndarray | None]:
    """Images and labels `100 a + 10 b + c` of stacked digits.

    Args:
        digits: uint8 array `[N, h, w, 1]`.
        labels: array `[N]`, or None.
    """
    images = StackedDigits(np.asarray(digits))
    if labels is None:
        return images, None
    triples = np.asarray(labels)[images.index].astype(np.int32)
    return images, triples @ np.array([100, 10, 1], np.int32)
