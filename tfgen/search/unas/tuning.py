"""UNAS on keras-tuner: one differentiable search, whose best architectures become trials.

keras-tuner (`pip install 'tfgen[search]'`) retrains them, ranks them, and shares the trials out to
workers; what it shows of a trial is one `Choice` for every factor of the architecture.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import in_range
from tfgen.search.unas.phases import Phases, run_search
from tfgen.search.unas.searcher import UNAS
from tfgen.training import CheckpointManager

try:
    import keras_tuner
    from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle
except ImportError as error:
    raise UserError(
        "tfgen.search.unas.tuning needs keras-tuner; install it with pip install 'tfgen[search]'"
    ) from error

_DRAWS = 64  # of which the first that is new becomes the trial


class ArchitectureOracle(keras_tuner.Oracle):
    """Architectures of a learned distribution, one a trial and none twice.

    Args:
        search: a `UNAS`, whose distribution is read when the first trial is asked for, and kept
            from then on with keras-tuner's own state.
        sampled: whether trials are drawn from the distribution; otherwise they are its most
            probable architectures, best first. Defaults to `False`.
        objective: string or `keras_tuner.Objective`, what trials are ranked by; None is what
            keras-tuner takes for it.
        max_trials: integer, trials in all. Defaults to `10`.
        seed: integer, seed of what is drawn. Defaults to `0`.
        **kwargs: keyword arguments of `keras_tuner.Oracle`.
    """

    def __init__(
        self, search: UNAS, sampled=False, objective=None, max_trials=10, seed=0, **kwargs
    ):
        self.search, self.sampled = search, sampled
        self._logits = None
        space = keras_tuner.HyperParameters()
        for name, choices in _factors(search):
            space.Choice(name, list(range(choices)))
        super().__init__(
            objective=objective, max_trials=max_trials, hyperparameters=space, seed=seed, **kwargs
        )

    def populate_space(self, trial_id):
        """The next architecture, as keras-tuner asks for it."""
        del trial_id
        if self._logits is None:
            self._logits = {
                key: np.asarray(value).tolist()
                for key, value in self.search.distribution.logits.items()
            }
        self._read_logits()
        values = self._drawn() if self.sampled else self._ranked()
        if values is None:
            return {"status": keras_tuner.engine.trial.TrialStatus.STOPPED, "values": None}
        self._tried_so_far.add(_identity(values))
        return {"status": keras_tuner.engine.trial.TrialStatus.RUNNING, "values": values}

    def _ranked(self):
        count = len(self._tried_so_far) + 1
        for found in self.search.top(count):
            values = hyperparameters(found.choices)
            if _identity(values) not in self._tried_so_far:
                return values
        return None

    def _drawn(self):
        seed = (self.seed % 2**31, self._seed_state % 2**31)
        self._seed_state += 1
        drawn = self.search.distribution.sample(_DRAWS, seed).discrete
        chosen = {key: np.argmax(value, axis=-1) for key, value in drawn.items()}
        for k in range(_DRAWS):
            values = hyperparameters({key: rows[k] for key, rows in chosen.items()})
            if _identity(values) not in self._tried_so_far:
                return values
        return self._ranked()  # what is probable is known by now

    def _read_logits(self):
        for key, variable in self.search.distribution.logits.items():
            variable.assign(self._logits[key])

    def get_state(self):
        """keras-tuner's state, and the distribution that trials come from."""
        state = super().get_state()
        # keras-tuner saves before it takes a trial that has ended out of these, and a restart would
        # train it again.
        ongoing = {
            tuner: trial
            for tuner, trial in state["ongoing_trials"].items()
            if trial not in state["end_order"]
        }
        return {**state, "ongoing_trials": ongoing, "logits": self._logits}

    def set_state(self, state):
        """Takes up the state of `get_state`."""
        super().set_state(state)
        self._logits = state["logits"]
        if self._logits is not None:
            self._read_logits()


class ArchitectureTuner(keras_tuner.Tuner):
    """Searches once, then retrains what was found.

    `search` first runs the differentiable search, saved step by step beside keras-tuner's files;
    then every trial is a genotype, built, trained and measured. The same script again goes on,
    in the search or in the trials. With keras-tuner's chief and workers the chief searches, and the
    workers train the trials.

    Args:
        search: a `UNAS`.
        build: function of a genotype to a compiled `keras.Model`; without a supernet, of a dict of
            group name -> `[factors]` integers.
        search_data: function of a number of steps to batches of the search from that step on; see
            `tfgen.search.unas.phases.run_search`.
        phases: the `Phases` of the search.
        objective: string or `keras_tuner.Objective`, what trials are ranked by. Defaults to
            `"val_accuracy"`.
        max_trials: integer, architectures that are retrained. Defaults to `5`.
        sampled: whether they are drawn from the learned distribution instead of being its most
            probable ones. Defaults to `False`.
        seed: integer, seed of what is drawn. Defaults to `0`.
        search_options: dict of keyword arguments of `run_search`, such as `callbacks`; None gives
            none.
        **kwargs: keyword arguments of `keras_tuner.Tuner`, such as `directory` and `project_name`.
    """

    def __init__(
        self,
        search: UNAS,
        build: Callable[..., keras.Model],
        search_data: Callable[[int], tf.data.Dataset],
        phases: Phases,
        objective="val_accuracy",
        max_trials: int = 5,
        sampled: bool = False,
        seed: int = 0,
        search_options: Mapping | None = None,
        **kwargs,
    ):
        self.architecture_search, self._build_network = search, build
        self._search_data, self._phases = search_data, phases
        self._search_options = dict(search_options or {})
        oracle = ArchitectureOracle(search, sampled, objective, max_trials, seed)
        super().__init__(oracle, hypermodel=self._network_of, **kwargs)

    def search(self, *fit_args, **fit_kwargs):
        """Searches, then trains the trials.

        Args:
            *fit_args: tuple of what the `fit` of every retrained network is given.
            **fit_kwargs: dict of keyword arguments of `fit`, likewise.
        """
        if is_chief_oracle() or not has_chief_oracle():
            folder = Path(self.project_dir) / "search"
            run_search(
                self.architecture_search,
                self._search_data,
                self._phases,
                CheckpointManager(folder),
                **self._search_options,
            )
        super().search(*fit_args, **fit_kwargs)

    def run_trial(self, trial, *args, **kwargs):
        """Trains one network; returns its numbers in its best epoch, and what criteria measure."""
        histories = super().run_trial(trial, *args, **kwargs)
        runs = [self._best_epoch(history.history) for history in histories]
        means = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        choices = choices_of(self.architecture_search, trial.hyperparameters)
        return {**means, **self.architecture_search.measured(choices)}

    def _best_epoch(self, history) -> dict[str, float]:
        name, direction = self.oracle.objective.name, self.oracle.objective.direction
        if name not in history:
            raise ConfigError(
                f"the objective is {name!r}, and fit reported {', '.join(map(repr, history))}; "
                "name one of them, or give fit validation_data"
            )
        best = (np.argmax if direction == "max" else np.argmin)(history[name])
        return {key: float(values[best]) for key, values in history.items()}

    def _network_of(self, space):
        choices = choices_of(self.architecture_search, space)
        supernet = self.architecture_search.supernet
        return self._build_network(choices if supernet is None else supernet.genotype(choices))


def hyperparameters(choices: Mapping[str, np.ndarray]) -> dict[str, int]:
    """An architecture as keras-tuner names it, `group/factor`.

    Args:
        choices: dict of group name -> `[factors]` integers.
    """
    return {
        f"{key}/{number}": int(choice)
        for key, row in choices.items()
        for number, choice in enumerate(row)
    }


def choices_of(search: UNAS, space) -> dict[str, np.ndarray]:
    """The inverse of `hyperparameters`.

    Args:
        search: the `UNAS` whose architectures these are.
        space: a `keras_tuner.HyperParameters`, or a dict.

    Raises:
        ConfigError: a value is no choice of its factor.
    """
    found = {}
    for key, (count, size) in search.distribution.groups.items():
        names = [f"{key}/{number}" for number in range(count)]
        found[key] = np.array([space.get(name) for name in names], np.int64)
        in_range(key, found[key], 0.0, below=size)
    return found


def _factors(search):
    for key, (count, size) in search.distribution.groups.items():
        for number in range(count):
            yield f"{key}/{number}", size


def _identity(values: Mapping[str, int]) -> str:
    return ",".join(str(values[name]) for name in sorted(values))
