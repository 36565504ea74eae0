"""Checkpoints from which training goes on bit-equal to never having stopped."""

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np

from tfgen.errors import CheckpointError
from tfgen.files.replacing import replace_file
from tfgen.files.temporaries import sweep_unowned
from tfgen.files.tensor_file import CorruptFileError, read_tensors, write_tensors
from tfgen.training.averages import moving_averages
from tfgen.training.model import Model
from tfgen.training.variable_names import match_names, unique_names

_PATTERN = re.compile(r"checkpoint-(\d+)\.safetensors")


@dataclasses.dataclass(frozen=True)
class Found:
    """A checkpoint that is whole.

    Attributes:
        path: of the file.
        tensors: arrays by name.
        note: dict that was written beside them.
        damaged: list of newer checkpoints that are not whole, newest first.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    note: dict
    damaged: list[Path]


class CheckpointManager:
    """Saves all that training changes, and finds the newest save that is whole.

    A checkpoint is one file with every variable of the model (weights, batch-norm statistics,
    power-iteration vectors, seed generators, step counters) and of its optimizer (moments, weight
    averages, loss scale, iterations). `tfgen.training.Model` derives random numbers, schedules
    and the position in the data from its step counter, so nothing else is needed.

    A save is written beside its final name, read back and compared, and renamed; older ones are
    removed only after that. One process writes to a directory: under several workers the chief.

    Args:
        directory: path of the folder of the checkpoints; made when first needed.
        keep: integer, how many to keep, newest first. Defaults to `2`.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        self.directory = Path(directory)
        self.keep = max(int(keep), 1)
        self._existed = False

    def checkpoints(self) -> list[Path]:
        """All finished checkpoints, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in self.directory.iterdir():
                if match := _PATTERN.fullmatch(path.name):
                    found.append((int(match[1]), path))
        return [path for _, path in sorted(found)]

    def latest(self) -> Path | None:
        """The newest checkpoint, or `None`. Its content is not checked here."""
        return (self.checkpoints() or [None])[-1]

    def save(self, model: keras.Model, extra: Mapping | None = None, *, half: bool = False) -> Path:
        """Saves the model and its optimizer.

        Args:
            model: a `keras.Model`, built and compiled.
            extra: dict of anything JSON can hold, given back by `restore`; None saves nothing more.
            half: whether float32 is rounded to float16 in the file, for half its size; whoever
                reads it gets float32 again. Defaults to `False`, which keeps every bit.

        Returns:
            The path of the checkpoint, which only the chief of several workers has written.

        Raises:
            CheckpointError: the directory cannot be written or the disk is full, or weights are
                not finite. Nothing that was there is lost.
        """
        _build_optimizer(model)
        path = self.directory / f"checkpoint-{_step(model):08d}.safetensors"
        if not model.distribute_strategy.extended.should_checkpoint:
            return path
        variables = _variables(model)
        tensors = {name: np.asarray(variable.numpy()) for name, variable in variables.items()}
        _refuse_non_finite(path, _model_part(tensors), _weights(model), "nothing was saved")
        note = {"extra": dict(extra or {}), "averages": _averages(model)}
        if half:
            tensors = {name: _rounded(tensor) for name, tensor in tensors.items()}
            note["rounded"] = True
        self._write(path, tensors, note)
        return path

    def restore(self, model: keras.Model) -> dict | None:
        """Loads the newest checkpoint that is whole.

        Args:
            model: a `keras.Model`, built and compiled as the saved one was.

        Returns:
            The `extra` of the save, or `None` if the directory has no checkpoint.

        Raises:
            CheckpointError: every checkpoint is corrupt, or the newest whole one belongs to
                another architecture, optimizer or precision, or holds weights that are not finite.
        """
        found = self.read()
        if found is None:
            return None
        _build_optimizer(model)
        variables = _present(_variables(model), found.tensors, model)
        _assign(found.path, variables, found.tensors, _weights(model))
        self._set_aside(found.damaged)
        return found.note["extra"]

    def read(self) -> "Found | None":
        """The newest checkpoint that is whole, with a warning for each newer one that is not.

        Nothing is changed: this is how every reader of checkpoints finds one.

        Returns:
            What was found, or `None` if the directory has no checkpoint.

        Raises:
            CheckpointError: no checkpoint is whole.
        """
        damaged, first = [], None
        self._existed = self._existed or self.directory.is_dir()
        paths = self.checkpoints()[::-1]
        for path in paths:
            try:
                return Found(path, *_read(path), damaged)
            except (CorruptFileError, OSError) as error:
                reason = _reason(path, error)
                first = first or reason
                damaged.append(path)
                if path != paths[-1]:
                    warnings.warn(f"{reason} Trying the one before it.", stacklevel=3)
        if damaged:
            raise CheckpointError(
                f"{first.rstrip('.')}, and no older checkpoint is whole. Restore the file from a "
                "copy, or start in a new directory."
            )
        return None

    def _write(self, path, tensors, note):
        try:
            self._check_directory()
            with replace_file(path) as temporary:
                write_tensors(temporary, tensors, note)
        except OSError as error:
            kept = self.latest()
            raise CheckpointError(
                f"Cannot save {path}: {error.strerror or error}. "
                + (f"{kept.name} is kept. " if kept else "")
                + "Free some space or choose another directory, and run again."
            ) from error
        for old in self.checkpoints()[: -self.keep]:
            if old != path:
                with contextlib.suppress(OSError):
                    old.unlink()

    def _check_directory(self):
        """Refuses to make anew what was there and was removed: the run would be in pieces."""
        if self._existed and not self.directory.is_dir():
            raise CheckpointError(
                f"{self.directory} was removed while training wrote to it, so nothing can be saved "
                "there. Restore the folder, or begin again in another one."
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        self._existed = True
        sweep_unowned(self.directory)

    def _set_aside(self, damaged):
        """Renames corrupt files, so that they neither count as kept nor are tried again."""
        for path in damaged:
            with contextlib.suppress(OSError):
                path.rename(path.with_name(path.name + ".corrupt"))


def load_weights_only(model: keras.Model, path: str | os.PathLike, ema: bool | None = None) -> None:
    """Loads the variables of the model from a checkpoint, and nothing of the optimizer.

    Args:
        model: a `keras.Model`, built as the saved one was; it need not be compiled.
        path: path of a checkpoint, or of a directory of them (the newest that is whole is taken).
        ema: whether to take the weights' moving averages; `None` does if there are any.

    Raises:
        CheckpointError: there is no whole checkpoint, it has no averages although `ema` is true,
            or it belongs to another architecture, or its weights are not finite.
    """
    path, tensors, note = _newest(Path(path))
    averages = note["averages"]
    if ema and not averages:
        raise CheckpointError(
            f"{path} has no moving averages; it was trained without ema_momentum. Load it with "
            "ema=False."
        )
    if ema or ema is None:
        tensors.update({name: tensors[average] for name, average in averages.items()})
    weights = {name: array for name, array in tensors.items() if name.startswith("model/")}
    variables = _present(_model_variables(model), weights, model)
    _assign(path, variables, weights, [name for name in _weights(model) if name in variables])


def _newest(path):
    """A checkpoint, or the newest whole one of a directory; with its content."""
    if path.is_dir():
        found = CheckpointManager(path).read()
        if found is None:
            raise CheckpointError(f"{path} has no checkpoint; train there first.")
        return found.path, found.tensors, found.note
    try:
        return path, *_read(path)
    except OSError as error:
        raise CheckpointError(_reason(path, error)) from error


def _read(path):
    tensors, note = read_tensors(path)
    if not _is_of_a_model(note, tensors):
        raise CorruptFileError(f"{path} is corrupt or no checkpoint of a model.")
    if note.get("rounded"):
        tensors = {name: _widened(tensor) for name, tensor in tensors.items()}
    return tensors, note


def _rounded(tensor):
    """A float32 array in float16, unless a value is beyond its range."""
    if tensor.dtype != np.float32 or np.abs(tensor).max(initial=0.0) > np.finfo(np.float16).max:
        return tensor
    return tensor.astype(np.float16)


def _widened(tensor):
    return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor


def _is_of_a_model(note, tensors) -> bool:
    extra, averages = note.get("extra"), note.get("averages")
    return (
        isinstance(extra, dict)
        and isinstance(averages, dict)
        and all(isinstance(name, str) and name in tensors for name in averages.values())
    )


def _reason(path, error) -> str:
    if isinstance(error, OSError):
        return f"Cannot read {path}: {error.strerror or error}."
    return str(error)


def _model_part(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("training/")}


def _refuse_non_finite(path, tensors, trained, outcome="it cannot be used"):
    """Training that went beyond repair is not kept, nor taken up as if it were a model.

    What is not trained may hold an infinity, such as a mask's, but nothing may be NaN.
    """
    for name, tensor in tensors.items():
        bad = ~np.isfinite(tensor) if name in trained else np.isnan(tensor)
        if np.any(bad):
            raise CheckpointError(
                f"{path}: {name.partition('/')[2]} is not finite, so {outcome}. Lower the learning "
                "rate, and start again from an earlier checkpoint or from scratch."
            )


def _assign(path, variables, tensors, finite):
    """Gives every variable its saved value, once all of them fit and those named are finite."""
    partners, difference = match_names(list(tensors), list(variables))
    if difference:
        raise CheckpointError(f"{path} belongs to another model: {difference}.")
    differences = [
        f"{name} is {_describe(tensors[partners[name]])} in the file and {_describe(variable)} in "
        "the model"
        for name, variable in variables.items()
        if _describe(tensors[partners[name]]) != _describe(variable)
    ]
    if differences:
        more = f" (and {len(differences) - 2} more)" if len(differences) > 2 else ""
        raise CheckpointError(
            f"{path} belongs to another model: {'; '.join(differences[:2])}{more}."
        )
    present = {name: tensors[partners[name]] for name in variables}
    _refuse_non_finite(path, _model_part(present), finite)
    for name, variable in variables.items():
        variable.assign(tensors[partners[name]])


def _weights(model) -> list[str]:
    """Names of what is trained, and of its moving averages."""
    trained = {id(variable) for variable in model.trainable_variables}
    names = [name for name, v in _model_variables(model).items() if id(v) in trained]
    return [*names, *_averages(model).values()]


def _describe(array_or_variable) -> str:
    dtype = keras.backend.standardize_dtype(array_or_variable.dtype)
    return f"{dtype}{list(array_or_variable.shape)}"


def _variables(model) -> dict[str, keras.Variable]:
    return _model_variables(model) | _training_variables(model)


def _model_variables(model):
    if not model.built:
        raise CheckpointError(f"{model.name} has no variables yet; call it on a batch first.")
    # Unlike `model.weights` these include seed generators, and unlike `model.variables` no metrics.
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    apart = {id(variable) for variable in _training_state(model)}
    return _named("model", [v for v in variables if id(v) not in apart], model.name)


def _training_state(model) -> list[keras.Variable]:
    return list(getattr(model, "training_state", ()))  # of any Keras model


def _present(variables, tensors, model):
    """Without the state of which older checkpoints know nothing: it stays as it began."""
    later = {f"training/{name}" for name in getattr(model, "later_training_state", ())}
    later |= {f"model/{name}" for name in getattr(model, "later_state", ())}
    return {name: v for name, v in variables.items() if name in tensors or name not in later}


def _training_variables(model):
    """What only further training needs; of a model that is not compiled, nothing."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return {}
    state = _named("training", _training_state(model), model.name)
    return state | _named("optimizer", optimizer.variables, optimizer.name)


def _named(group: str, variables: Iterable, root: str):
    """Variables by path; the name of the model or optimizer itself says nothing and is cut."""
    variables = list(variables)
    paths = [variable.path.removeprefix(root + "/") for variable in variables]
    return dict(zip(unique_names([f"{group}/{path}" for path in paths]), variables))


def _averages(model) -> dict[str, str]:
    """Names of the moving average of each weight that has one."""
    names = {id(variable): name for name, variable in _variables(model).items()}
    return {names[id(weight)]: names[id(average)] for weight, average in moving_averages(model)}


def _build_optimizer(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or optimizer.built:
        return
    if isinstance(model, Model):
        model.build_optimizer()
        return
    with model.distribute_strategy.scope():
        optimizer.build(model.trainable_variables)


def _step(model) -> int:
    counter = getattr(model, "train_steps", None)
    counter = model.optimizer.iterations if counter is None else counter
    return int(np.asarray(counter.numpy()))
