"""Which calls of `fit` complete a run that was stopped anywhere."""

from collections.abc import Iterator


def stretches(done: int, steps_per_epoch: int, epochs: int) -> Iterator[tuple[int, int, int]]:
    """Calls of `fit` that complete a run: `(initial_epoch, epochs, steps_per_epoch)`.

    A run that was stopped within an epoch first finishes that one.

    Args:
        done: integer, steps of earlier calls.
        steps_per_epoch: integer, steps of an epoch.
        epochs: integer, epochs of the whole run.
    """
    first, within = divmod(done, steps_per_epoch)
    if first < epochs and within:
        yield first, first + 1, steps_per_epoch - within
        first += 1
    if first < epochs:
        yield first, epochs, steps_per_epoch
