"""Attacks by L-BFGS, as DLG and iDLG run them, through SciPy.

L-BFGS needs smooth objectives: networks with sigmoids or softplus, squared differences, no noise.
"""

import hashlib
import time
from collections.abc import Callable

import numpy as np
import scipy.optimize
import tensorflow as tf

from tfgen import stopping
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.resumption import Checkpoint
from tfgen.privacy.attack.state import Evidence, State


class Journal:
    """All that a minimiser was told, in order.

    SciPy keeps the state of a minimisation to itself. Told the same again it goes the same way, so
    that a run goes on where it stopped at the price of its own arithmetic.
    """

    def __init__(self):
        self.entries: list[tuple[int, float, np.ndarray]] = []
        self._next = 0

    def answer(
        self, point: np.ndarray, compute: Callable[[np.ndarray], tuple[float, np.ndarray]]
    ) -> tuple[float, np.ndarray]:
        """Value and gradient at a point: those of the journal while it asks as it did before."""
        key = int.from_bytes(hashlib.blake2b(point.tobytes(), digest_size=8).digest(), "little")
        key -= 1 << 63
        known = self._next < len(self.entries) and self.entries[self._next][0] == key
        if not known:  # from here on another way, as on another machine
            del self.entries[self._next :]
            self.entries.append((key, *compute(point)))
        self._next += 1
        return self.entries[self._next - 1][1:]

    def arrays(self) -> dict[str, np.ndarray]:
        """The journal as arrays, for a file; it must not be empty."""
        points, values, gradients = zip(*self.entries)
        return {
            "points": np.array(points, np.int64),
            "values": np.array(values, np.float64),
            "gradients": np.stack(gradients),
        }

    @staticmethod
    def forms(size: int, dtype: tf.DType) -> dict[str, tf.TensorSpec]:
        """What `arrays` are of, for points of so many numbers."""
        return {
            "points": tf.TensorSpec([None], tf.int64),
            "values": tf.TensorSpec([None], tf.float64),
            "gradients": tf.TensorSpec([None, size], dtype),
        }

    @classmethod
    def of(cls, arrays: dict[str, tf.Tensor]) -> "Journal":
        """The journal that lies in arrays."""
        journal, names = cls(), ("points", "values", "gradients")
        for point, value, gradient in zip(*(arrays[name].numpy() for name in names), strict=True):
            journal.entries.append((int(point), float(value), gradient))
        return journal


def minimize(
    optimization: Optimization, evidence: Evidence, checkpoint: Checkpoint
) -> tuple[State, float]:
    """Minimises the objective of all seeds, one after the other.

    Args:
        optimization: the `Optimization` of the attack.
        evidence: the `Evidence` of the attack.
        checkpoint: the `Checkpoint` to go on from.

    Returns:
        The state at the end, and the seconds it took.

    Raises:
        Stopped: a signal arrived; the state was saved first.
    """
    state, steps = optimization.start(evidence), optimization.settings.num_steps
    size = sum(v[0].shape.num_elements() for v in state.values)
    saved, spent = checkpoint.load(Journal.forms(size, optimization.network.dtype))
    journal = Journal() if saved is None else Journal.of(saved)
    started = time.monotonic() - spent

    def ask(point, compute):
        answer = journal.answer(point, compute)
        checkpoint.save(journal.arrays, time.monotonic() - started)
        stopping.check()
        return answer

    found = [
        _minimize_seed(optimization, state, evidence, g, steps, ask)
        for g in range(optimization.settings.num_seeds)
    ]
    values = [tf.stack(seeds) for seeds in zip(*found)]
    spent = time.monotonic() - started
    checkpoint.save(journal.arrays, spent, now=True)
    return state._replace(step=tf.constant(steps), values=values), spent


def _minimize_seed(optimization, state, evidence, seed, max_steps, ask):
    """One seed's candidates, and label logits if they are optimised, from where they stand."""
    shapes = [v.shape[1:] for v in state.values]
    sizes = [shape.num_elements() for shape in shapes]
    dtype = optimization.network.dtype.as_numpy_dtype
    start = np.concatenate([np.ravel(v[seed]) for v in state.values]).astype(np.float64)

    def split(x):
        parts = np.split(x.astype(dtype), np.cumsum(sizes)[:-1])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]

    def compute(x):
        value, gradients = optimization.value_and_gradient(split(x), evidence, state)
        return float(value), np.concatenate([np.ravel(g) for g in gradients])

    def value_and_gradient(x):
        value, gradient = ask(x, compute)
        return value, gradient.astype(np.float64)

    result = scipy.optimize.minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(optimization, sizes) if optimization.settings.clip else None,
        options=dict(maxiter=max_steps, maxfun=2 * max_steps, maxcor=50, ftol=0.0, gtol=0.0),
    )
    return [part.numpy() for part in split(result.x)]


def _bounds(optimization, sizes):
    """The box of the pixels; label logits are free."""
    ones = np.ones(optimization.network.image_shape)
    pixels = sizes[0] // ones.size
    low, high = (np.tile(np.ravel(bound * ones), pixels) for bound in optimization.box)
    free = np.full(sum(sizes[1:]), np.inf)
    return scipy.optimize.Bounds(np.append(low, -free), np.append(high, free))
