"""Classes of a batch where no sign proves one: features of both signs and a head without bias.

The gradient of the kernel is a product of features and residuals `p_k - y_k`, so that its rows span
the residuals of the batch if there are as many features as images. The residual of an image of
class n is negative there and nowhere else: for every class in the batch, and hardly for another, a
combination of rows has that pattern, whatever the signs of the features (Dang et al., 2021,
arXiv:2111.00556).
"""

import numpy as np
import scipy.optimize


def separable_classes(kernel_gradient: np.ndarray, precision: float = 1e-5) -> np.ndarray:
    """Classes whose column of G can be told from all others by a hyperplane, ascending.

    Args:
        kernel_gradient: `[M, N]`.
        precision: float, error of its entries, relative to the largest.

    Returns:
        int64, empty where the rank of G leaves every pattern possible: nothing is proved then.
    """
    _, sizes, rows = np.linalg.svd(np.asarray(kernel_gradient, np.float64), full_matrices=False)
    columns = rows[sizes > precision * sizes[0]].T  # [N, rank]
    num_classes, rank = columns.shape
    if rank >= num_classes - 1:  # of so many images, or so much noise, every pattern can be made
        return np.zeros(0, np.int64)

    def separable(n):
        others = np.delete(columns, n, axis=0)
        found = scipy.optimize.linprog(
            np.zeros(rank),
            A_ub=-others,
            b_ub=np.full(num_classes - 1, 10 * precision),
            A_eq=columns[n : n + 1],
            b_eq=[-1.0],
            bounds=(None, None),
        )
        return found.status == 0

    return np.array([n for n in range(num_classes) if separable(n)], np.int64)
