"""Trials of keras-tuner out of a learned distribution, in files that are whole at any moment."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from tfgen.errors import UserError, reason_of
from tfgen.files.replacing import replace_file
from tfgen.ops.checks import in_range
from tfgen.search.unas.ranking import identity
from tfgen.search.unas.searcher import UNAS

try:
    import keras_tuner
except ImportError as error:
    raise UserError(
        "tfgen.search.unas.tuning needs keras-tuner; install it with pip install 'tfgen[search]'"
    ) from error

_DRAWS = 64  # of which the first that is new becomes the trial
_STATUS = keras_tuner.engine.trial.TrialStatus
_MEND = "; name another project_name, or give overwrite=True"


class ArchitectureOracle(keras_tuner.Oracle):
    """Architectures of a learned distribution, one a trial and none twice.

    Args:
        search: a `UNAS`, whose distribution is read when the first trial is asked for, and kept
            from then on with keras-tuner's own state.
        sampled: whether trials are drawn from the distribution; otherwise they are its most
            probable architectures, those that meet all targets first. Defaults to `False`.
        objective: string or `keras_tuner.Objective`, what trials are ranked by; None is what
            keras-tuner takes for it.
        max_trials: integer, trials in all. Defaults to `10`.
        seed: integer, seed of what is drawn. Defaults to `0`.
        candidates: function of a number of trials to as many architectures in their order, as
            `UNAS.candidates`, which None stands for. Defaults to None.
        **kwargs: keyword arguments of `keras_tuner.Oracle`.
    """

    def __init__(
        self,
        search: UNAS,
        sampled: bool = False,
        objective=None,
        max_trials: int = 10,
        seed: int = 0,
        candidates: Callable | None = None,
        **kwargs,
    ):
        self.search, self.sampled = search, sampled
        self._candidates = candidates or search.candidates
        self._logits, self._ranking, self._ranked_for = None, [], 0
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
            return {"status": _STATUS.STOPPED, "values": None}
        self._tried_so_far.add(self._identity(choices_of(self.search, values)))
        return {"status": _STATUS.RUNNING, "values": values}

    def _ranked(self):
        count = max(self.max_trials or 1, len(self._tried_so_far) + 1)
        if self._ranked_for < count:  # whatever measures may take its time
            self._ranking, self._ranked_for = self._candidates(count), count
        return self._new(found.choices for found in self._ranking)

    def _drawn(self):
        seed = (self.seed % 2**31, self._seed_state % 2**31)
        self._seed_state += 1
        drawn = self.search.distribution.sample(_DRAWS, seed).discrete
        chosen = {key: np.argmax(value, axis=-1) for key, value in drawn.items()}
        values = self._new({key: rows[k] for key, rows in chosen.items()} for k in range(_DRAWS))
        return values or self._ranked()  # what is probable is known by now

    def _new(self, architectures: Iterable[Mapping]) -> dict[str, int] | None:
        """The first that was not tried; None where all were."""
        for choices in architectures:
            if self._identity(choices) not in self._tried_so_far:
                return hyperparameters(choices)
        return None

    def _identity(self, choices) -> str:
        """Equal for choices that are one network."""
        return ",".join(map(str, identity(self.search.normal_form(choices))))

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
        """Takes up the state of `get_state`; trials that failed are tried once more.

        Raises:
            UserError: it is of another search.
        """
        self._check_factors(state)
        # A trial that was begun when the process was killed may not be in the state.
        self.trials = {key: self.trials[key] for key in state["start_order"] if key in self.trials}
        super().set_state(state)
        for trial in self.ongoing_trials.values():  # trained anew, whatever was reported of it
            trial.metrics = type(trial.metrics)()
        self._logits, self._ranking, self._ranked_for = state["logits"], [], 0
        if self._logits is not None:
            self._read_logits()
        failed = [key for key, trial in self.trials.items() if trial.status == _STATUS.FAILED]
        self.end_order = [key for key in self.end_order if key not in failed]
        self._run_times.update(dict.fromkeys(failed, 0))
        self._retry_queue += [key for key in reversed(failed) if key not in self._retry_queue]

    def _check_factors(self, state):
        held = {entry["config"]["name"]: entry for entry in state["hyperparameters"]["space"]}
        missing = [
            name
            for name, choices in _factors(self.search)
            if name not in held or held[name]["config"]["values"] != list(range(choices))
        ]
        if missing:
            raise UserError(
                f"{self._project_dir} holds the trials of another search, which has no factor "
                f"{missing[0]!r} like this one's" + _MEND
            )

    def reload(self):
        """Takes up what is in the project's folder.

        Raises:
            UserError: it is of another search, or damaged.
        """
        try:
            super().reload()
        except UserError:
            raise
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self._project_dir} holds trials that cannot be read ({reason_of(error)})" + _MEND
            ) from error

    def save(self):
        """Writes the state, whole at any moment."""
        write_state(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        name = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        write_state(name, trial.get_state())


def write_state(path: str | os.PathLike, state: Mapping) -> None:
    """A state of keras-tuner's in its file, which is the old or the new one whatever happens.

    Args:
        path: path of the file, JSON.
        state: mapping of plain values.
    """
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(state), encoding="utf-8")


def hyperparameters(choices: Mapping[str, np.ndarray]) -> dict[str, int]:
    """An architecture as keras-tuner names it, `group/factor`.

    Args:
        choices: dict of group name -> `[factors]` integers.

    Returns:
        Dict of name -> integer.
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

    Returns:
        Dict of group name -> `[factors]` int64.

    Raises:
        ConfigError: a value is no choice of its factor.
    """
    found = {}
    for key, (count, size) in search.distribution.groups.items():
        names = [f"{key}/{number}" for number in range(count)]
        found[key] = np.array([space.get(name) for name in names], np.int64)
        in_range(key, found[key], 0.0, below=size)
    return found


def _factors(search) -> Iterator[tuple[str, int]]:
    for key, (count, size) in search.distribution.groups.items():
        for number in range(count):
            yield f"{key}/{number}", size
