"""UNAS on keras-tuner: one differentiable search, whose best architectures become trials.

keras-tuner (`pip install 'tfgen[search]'`) retrains them, ranks them, and shares the trials out to
workers; what it shows of a trial is one `Choice` for every factor of the architecture.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError, plain_user_errors
from tfgen.files.locking import locked
from tfgen.ops.checks import whole_number
from tfgen.search.unas.oracle import (
    ArchitectureOracle,
    choices_of,
    hyperparameters,
    keras_tuner,
    write_state,
)
from tfgen.search.unas.phases import Phases, run_search
from tfgen.search.unas.searcher import UNAS
from tfgen.training import CheckpointManager

_BEFORE_VALIDATION = 6  # arguments of `fit`: x, y, batch_size, epochs, verbose, callbacks

__all__ = ["ArchitectureOracle", "ArchitectureTuner", "choices_of", "hyperparameters"]


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
        sampled: whether they are drawn from the learned distribution instead of being the best of
            its most probable ones. Defaults to `False`.
        seed: integer, seed of what is drawn. Defaults to `0`.
        num_candidates: integer, how many of the most probable are measured with the shared weights
            to find the best; see `UNAS.best`. Defaults to `16`.
        candidate_batches: integer, batches of the search on which they are measured; 0, or no
            supernet, leaves them in the order of `UNAS.candidates`. Defaults to `10`.
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
        num_candidates: int = 16,
        candidate_batches: int = 10,
        search_options: Mapping | None = None,
        **kwargs,
    ):
        self._num_candidates = whole_number("num_candidates", num_candidates, 1)
        self._candidate_batches = whole_number("candidate_batches", candidate_batches, 0)
        self.architecture_search, self._build_network = search, build
        self._search_data, self._phases = search_data, phases
        self._search_options = dict(search_options or {})
        oracle = ArchitectureOracle(
            search, sampled, objective, max_trials, seed, candidates=self._candidates
        )
        super().__init__(oracle, hypermodel=self._network_of, **kwargs)

    def search(self, *fit_args, **fit_kwargs):
        """Searches, then trains the trials.

        Args:
            *fit_args: tuple of what the `fit` of every retrained network is given.
            **fit_kwargs: dict of keyword arguments of `fit`, likewise.

        Raises:
            ConfigError: the objective is one of validation, and `fit` is given nothing for it.
            UserError: whatever does not fit, in a trial too; trials failed one after the other, or
                all of them; another process works in the project's folder.
        """
        self._check_validation(fit_args, fit_kwargs)
        if self._is_worker():
            with _one_sentence(self.oracle):
                super().search(*fit_args, **fit_kwargs)
            return
        folder = Path(self.project_dir)
        with locked(folder / ".lock", str(folder)):
            run_search(
                self.architecture_search,
                self._search_data,
                self._phases,
                CheckpointManager(folder / "search"),
                **self._search_options,
            )
            with _one_sentence(self.oracle):
                super().search(*fit_args, **fit_kwargs)
        failed = [t for t in self.oracle.trials.values() if t.status != "COMPLETED"]
        if failed and len(failed) == len(self.oracle.trials):
            raise UserError(f"no trial was completed: {_reason(failed[-1])}")

    def run_trial(self, trial, *args, **kwargs):
        """Trains one network; returns its numbers in its best epoch, and what criteria measure."""
        try:
            with plain_user_errors():
                histories = super().run_trial(trial, *args, **kwargs)
                runs = [self._best_epoch(history.history) for history in histories]
        except UserError as error:  # it would befall the next trial too
            raise keras_tuner.errors.FatalError(str(error)) from error
        means = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        choices = choices_of(self.architecture_search, trial.hyperparameters)
        return {**means, **self.architecture_search.measured(choices)}

    def save(self):
        """Writes what keras-tuner keeps, whole at any moment."""
        if not self._is_worker():
            self.oracle.save()
        write_state(self._get_tuner_fname(), self.get_state())

    def _check_validation(self, fit_args, fit_kwargs):
        """Now, not after a search of hours."""
        name = self.oracle.objective.name
        given = len(fit_args) > _BEFORE_VALIDATION or any(
            fit_kwargs.get(key) is not None for key in ("validation_data", "validation_split")
        )
        if name.startswith("val_") and not given:
            raise ConfigError(
                f"the objective is {name!r}, and search is given no validation_data; give it some, "
                "as to fit, or name another objective"
            )

    def _candidates(self, count):
        """The trials in their order: what the shared weights say of the most probable ones."""
        search = self.architecture_search
        if search.supernet is None or not self._candidate_batches:
            return search.candidates(count)
        batches = self._search_data(0).take(self._candidate_batches)
        return search.best(count, max(count, self._num_candidates), batches)

    def _best_epoch(self, history) -> dict[str, float]:
        name, direction = self.oracle.objective.name, self.oracle.objective.direction
        if name not in history:
            raise ConfigError(
                f"the objective is {name!r}, and fit reported {', '.join(map(repr, history))}; "
                "name one of them"
            )
        scores = np.array(history[name]) * (1.0 if direction == "max" else -1.0)
        best = int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))
        epochs = len(history[name])  # fewer than others have with validation_freq
        return {key: float(v[best]) for key, v in history.items() if len(v) == epochs}

    def _network_of(self, space):
        choices = choices_of(self.architecture_search, space)
        supernet = self.architecture_search.supernet
        return self._build_network(choices if supernet is None else supernet.genotype(choices))


@contextlib.contextmanager
def _one_sentence(oracle) -> Iterator[None]:
    """Raises what keras-tuner ends with as the `UserError` that it comes from, if it does."""
    try:
        yield
        return
    except keras_tuner.errors.FatalError as error:
        said = error.__cause__
        if not isinstance(said, UserError):
            raise
    except RuntimeError as error:
        if "consecutive failures" not in str(error) or not isinstance(oracle, ArchitectureOracle):
            raise
        last = oracle.trials[oracle.end_order[-1]]
        count = oracle.max_consecutive_failed_trials
        raise UserError(f"{count} trials failed one after the other: {_reason(last)}") from error
    raise said


def _reason(trial) -> str:
    """Why a trial failed, out of the traceback that keras-tuner keeps."""
    lines = [line for line in (trial.message or "").splitlines() if line.strip()]
    return lines[-1] if lines else "what trials are ranked by is not a number"
