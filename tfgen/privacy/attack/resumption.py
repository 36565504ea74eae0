"""Attacks that were stopped: their state in one checksummed file."""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import CheckpointError
from tfgen.files.json_file import parse_json, to_json
from tfgen.files.replacing import replace_file
from tfgen.files.tensor_file import read_tensors, write_tensors

_SECONDS_BETWEEN_SAVES = 60.0


class Checkpoint:
    """The file that an attack goes on from.

    Args:
        path: path of the file; None: nothing is saved.
        identity: dict of what a later run must equal to go on from here; anything JSON can hold.
    """

    def __init__(self, path: str | os.PathLike | None, identity: Mapping[str, Any]):
        self._path, self._identity = None if path is None else Path(path), identity
        self._saved = time.monotonic()

    def load(self, like: Any) -> tuple[Any, float]:
        """What was saved and the seconds spent on it; None and 0 where nothing was.

        Args:
            like: what is saved, or `tf.TensorSpec` of it where sizes vary.

        Raises:
            CheckpointError: the file is damaged, or of another attack.
        """
        if self._path is None or not self._path.is_file():
            return None, 0.0
        return load_state(self._path, like, self._identity)

    def save(self, state: Any, seconds: float, *, now: bool = False) -> None:
        """Saves a state that took some seconds: once a minute, `now`, or before a signal is obeyed.

        `state` may be a function that returns one.
        """
        due = now or stopping.requested() or time.monotonic() - self._saved > _SECONDS_BETWEEN_SAVES
        if self._path is not None and due:
            state = state() if callable(state) else state
            save_state(self._path, state, self._identity, seconds)
            self._saved = time.monotonic()


def save_state(
    path: str | os.PathLike, state: Any, identity: Mapping, seconds: float = 0.0
) -> None:
    """Writes a state, whole or not at all.

    Args:
        path: path of the file.
        state: nested tensors to save.
        identity: dict of what a later run must equal to go on from here; anything JSON can hold.
        seconds: float, spent so far.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {str(i): np.asarray(t) for i, t in enumerate(tf.nest.flatten(state))}
    arrays["seconds"] = np.float64([seconds])
    with replace_file(path) as temporary:
        write_tensors(temporary, arrays, identity)


def load_state(path: str | os.PathLike, like: Any, identity: Mapping) -> tuple[Any, float]:
    """The state that lies in a file, and the seconds spent on it.

    Args:
        path: path of the file.
        like: any `State` of the same attack, or `tf.TensorSpec` where sizes vary.
        identity: dict of the attack that wants to go on.

    Raises:
        CheckpointError: the file is damaged, or of another attack; the message names what differs.
    """
    arrays, note = read_tensors(Path(path))
    identity = parse_json(to_json(dict(identity)), "the attack")
    different = sorted(key for key in {*note, *identity} if note.get(key) != identity.get(key))
    if different:
        raise CheckpointError(
            f"{path} belongs to an attack with other {' and '.join(different)}; continue with the "
            "same, or remove the file"
        )
    forms = {str(i): t for i, t in enumerate(tf.nest.flatten(like))}
    forms["seconds"] = tf.TensorSpec([1], tf.float64)
    if {*forms} != {*arrays} or not all(_fits(arrays[name], forms[name]) for name in forms):
        raise CheckpointError(f"{path} does not hold the state of this attack; remove the file")
    seconds = float(arrays.pop("seconds")[0])
    tensors = [tf.constant(arrays[str(i)]) for i in range(len(arrays))]
    return tf.nest.pack_sequence_as(like, tensors), seconds


def _fits(array, form) -> bool:
    return tf.TensorSpec(form.shape, form.dtype).is_compatible_with(
        tf.TensorSpec(array.shape, array.dtype)
    )


def fingerprint(tensors: Iterable[tf.Tensor]) -> str:
    """The same for the same types, shapes and bytes, and for no others."""
    digest = hashlib.sha256()
    for tensor in tensors:
        array = np.asarray(tensor)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
