"""How many modes a generator covers: the stacked-MNIST test (Metz et al., 2017; Lin et al., 2018).

Three digits as the channels of one image give 1000 modes. A classifier of digits names the triple
of every sample; what is counted is the number of distinct triples and the divergence of their
histogram from uniform. Even a perfect sampler has a divergence, which falls with the samples: it is
reported as the floor, without which no figure means anything.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError


class ModeCount(NamedTuple):
    """What samples cover.

    Attributes:
        modes: integer, distinct ones among the samples.
        kl: float, KL(histogram || uniform) in nats.
        floor: float, what `kl` is for as many samples of a perfect generator, on average.
        num_modes: integer, how many modes there are.
        num_samples: integer, how many samples were counted.
    """

    modes: int
    kl: float
    floor: float
    num_modes: int
    num_samples: int


def count_modes(labels, num_classes: int = 10) -> ModeCount:
    """Counts the modes among labels.

    Args:
        labels: `[N]` or `[N, C]` integers in `[0, num_classes)`; C of them together name a mode.
        num_classes: integer, values that each label can have. Defaults to `10`.

    Returns:
        `ModeCount`.

    Raises:
        DataError: a label is out of range, or there are none.
    """
    labels = np.asarray(labels)
    labels = labels.reshape(len(labels), -1) if labels.size else labels.reshape(0, 1)
    if not len(labels) or labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(f"expected labels from 0 to {num_classes - 1}, at least one of them")
    num_modes = num_classes ** labels.shape[1]
    index = labels @ (num_classes ** np.arange(labels.shape[1]))
    counts = np.bincount(index, minlength=num_modes)
    p = counts[counts > 0] / len(labels)
    kl = float(np.sum(p * np.log(p * num_modes)))
    return ModeCount(
        int(np.sum(counts > 0)), kl, expected_kl(num_modes, len(labels)), num_modes, len(labels)
    )


def expected_kl(num_modes: int, num_samples: int) -> float:
    """E[KL(histogram || uniform)] of that many samples of the uniform law itself.

    Exact: `M E[n log n] / N - log N + log M` for a binomial count n of each mode.

    Args:
        num_modes: integer, how many modes there are.
        num_samples: integer, how many samples are drawn.

    Returns:
        Float, nats.
    """
    from scipy import stats

    n = np.arange(1, num_samples + 1)
    chances = stats.binom.pmf(n, num_samples, 1.0 / num_modes)
    mean = float(np.sum(chances * n * np.log(n)))
    return num_modes * mean / num_samples - np.log(num_samples) + np.log(num_modes)


def classify_channels(
    images: np.ndarray, classify: Callable[[np.ndarray], np.ndarray], size: int = 28
) -> np.ndarray:
    """Labels of every channel.

    Args:
        images: `[N, H, W, C]`, of which the central `size` x `size` pixels count.
        classify: function from `[N, size, size, 1]` to labels `[N]`.
        size: integer, height and width in pixels of what the classifier takes. Defaults to `28`.

    Returns:
        `[N, C]` integers.
    """
    rows, columns = ((side - size) // 2 for side in images.shape[1:3])
    centre = images[:, rows : rows + size, columns : columns + size]
    labels = [np.asarray(classify(centre[..., c : c + 1])) for c in range(images.shape[-1])]
    return np.stack(labels, axis=1)
