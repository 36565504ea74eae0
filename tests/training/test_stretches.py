"""Calls of `fit` that complete a run."""

import pytest
from toy_model import assert_same_state, batches, make_toy

from tfgen.training import CheckpointManager, weights_kept
from tfgen.training.stretches import stretches


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (0, [(0, 3, 4)]),
        (4, [(1, 3, 4)]),
        (6, [(1, 2, 2), (2, 3, 4)]),
        (11, [(2, 3, 1)]),
        (12, []),
        (13, []),
    ],
)
def test_every_step_once(done, expected):
    assert list(stretches(done, 4, 3)) == expected


def complete(model, steps_per_epoch=4, epochs=3):
    start = int(model.train_steps.numpy())
    for first, last, steps in stretches(start, steps_per_epoch, epochs):
        with weights_kept(model):
            model.fit(
                batches(int(model.train_steps.numpy())),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=steps,
                shuffle=False,
                verbose=0,
            )


def test_a_run_that_was_stopped_within_an_epoch_goes_on_from_its_weights(tmp_path):
    """Keras's `fit` would leave the averages in their place at the end of that epoch."""
    whole, stopped, resumed = (make_toy() for _ in range(3))  # they keep averages
    complete(whole)
    complete(stopped, 6, 1)
    manager = CheckpointManager(tmp_path)
    manager.save(stopped)
    manager.restore(resumed)
    complete(resumed)
    assert_same_state(whole, resumed)
