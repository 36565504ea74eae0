"""What trainings found, in a folder, so that a choice that was stopped goes on."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.locking import locked


class TrainingLog:
    """Results of trainings by a key, on the disk as soon as they are there.

    Args:
        directory: path of a folder, or None, which keeps nothing.
        settings: dict of what the results depend on.

    Raises:
        UserError: the folder has results of other settings.
    """

    def __init__(self, directory: str | os.PathLike | None, settings: Mapping[str, Any]):
        self._path = None if directory is None else Path(directory) / "trainings.json"
        self._found = {"settings": settings, "results": {}}
        if self._path is None:
            return
        if self._path.exists():
            found = read_json(self._path, mend="remove it to begin again")
            if found.get("settings") != settings or not isinstance(found.get("results"), dict):
                raise UserError(
                    f"{self._path} is of other images or settings; choose another folder, or "
                    "remove the file to begin again"
                )
            self._found = found

    def once(self, key: str, compute: Callable[[], Any]):
        """What was computed for a key, now or before."""
        stopping.check()
        results = self._found["results"]
        if key not in results:
            results[key] = compute()
            if self._path is not None:
                write_json(self._path, self._found)
        return results[key]


def in_plain_words(value: Any) -> str:
    """An option in words that are the same in the next process."""
    if isinstance(value, keras.Model | keras.layers.Layer):
        return json.dumps(keras.saving.serialize_keras_object(value), default=str)
    return json.dumps(value, default=str)


@contextlib.contextmanager
def claimed(directory: str | os.PathLike | None) -> Iterator[None]:
    """The folder for this process alone.

    Raises:
        UserError: another process chooses there, or it cannot be written.
    """
    if directory is None:
        yield
        return
    try:
        with locked(Path(directory) / ".lock", str(directory)):
            yield
    except OSError as error:
        raise UserError(
            f"{directory} cannot be written ({error.strerror or error}); choose a folder that can"
        ) from error
