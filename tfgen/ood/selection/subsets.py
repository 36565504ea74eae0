"""The best of all subsets by a costly measure: all of them where they are few, else by guessing.

Bayesian optimisation is keras-tuner's: a Gaussian process on the cube of bits, and the next trial
where its mean less 2.6 standard deviations is lowest, after a random start.
"""

import contextlib
import io
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator

from tfgen.errors import ConfigError

Bits = tuple[int, ...]
EXHAUSTIVE = 64  # subsets up to which all are tried


def search(
    objective: Callable[[Bits], float], num_bits: int, num_trials: int, seed: int = 0
) -> dict[Bits, float]:
    """Values of an objective at the subsets that were tried, the best among them.

    Args:
        objective: function of a tuple of zeros and ones that gives a float; lower is better. It may
            be asked for the same subset again.
        num_bits: integer, length of the subsets' tuples.
        num_trials: integer, subsets tried where not all are.
        seed: integer, of the optimisation. Defaults to `0`.

    Returns:
        A dict by subset, in the order of the trials.

    Raises:
        ConfigError: there are more than 64 subsets, and keras-tuner is not installed.
    """
    if 2**num_bits <= EXHAUSTIVE:
        return {bits: objective(bits) for bits in itertools.product((0, 1), repeat=num_bits)}
    return dict(_guessed(objective, num_bits, num_trials, seed))


def num_trials_of(num_bits: int, num_trials: int) -> int:
    """How many subsets `search` tries at most."""
    return 2**num_bits if 2**num_bits <= EXHAUSTIVE else num_trials


def _guessed(objective, num_bits, num_trials, seed) -> Iterator[tuple[Bits, float]]:
    try:
        import keras_tuner
    except ImportError as error:
        raise ConfigError(
            f"{2**num_bits:,} subsets are too many to try all, and to choose among them needs "
            "keras-tuner, which is not installed: pip install 'tfgen[search]'; or offer fewer "
            "transformations"
        ) from error
    space = keras_tuner.HyperParameters()
    for k in range(num_bits):
        space.Int(f"bit{k:02d}", 0, 1)
    oracle = keras_tuner.oracles.BayesianOptimizationOracle(
        objective=keras_tuner.Objective("objective", "min"),
        max_trials=num_trials,
        num_initial_points=min(max(3, num_trials // 3), max(3 * num_bits, 3)),
        alpha=1e-4,
        beta=2.6,
        seed=seed,
        hyperparameters=space,
    )
    with tempfile.TemporaryDirectory() as folder:
        oracle._set_project_dir(folder, "subsets")
        while True:
            with warnings.catch_warnings():  # scikit-learn of length scales at their bounds
                warnings.simplefilter("ignore")
                trial = oracle.create_trial("tuner0")
            if trial.status == "STOPPED":
                return
            values = trial.hyperparameters.values
            bits = tuple(int(values[f"bit{k:02d}"]) for k in range(num_bits))
            value = objective(bits)
            with contextlib.redirect_stdout(io.StringIO()):
                oracle.update_trial(trial.trial_id, {"objective": value})
                trial.status = "COMPLETED"
                oracle.end_trial(trial)
            yield bits, value
