"""Attacks that were stopped: their state in one checksummed file."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgen.errors import CheckpointError
from tfgen.files.json_file import parse_json, to_json
from tfgen.files.replacing import replace_file
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.privacy.attack.state import State


def save_state(
    path: str | os.PathLike, state: State, identity: Mapping, seconds: float = 0.0
) -> None:
    """Writes a state, whole or not at all.

    Args:
        path: of the file.
        state: to save.
        identity: what a later run must equal to go on from here; anything JSON can hold.
        seconds: spent so far.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {str(i): t.numpy() for i, t in enumerate(tf.nest.flatten(state))}
    arrays["seconds"] = np.float64([seconds])
    with replace_file(path) as temporary:
        write_tensors(temporary, arrays, identity)


def load_state(path: str | os.PathLike, like: State, identity: Mapping) -> tuple[State, float]:
    """The state that lies in a file, and the seconds spent on it.

    Args:
        path: of the file.
        like: any state of the same attack.
        identity: of the attack that wants to go on.

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
    expected = {str(i): _form(t) for i, t in enumerate(tf.nest.flatten(like))}
    expected["seconds"] = ((1,), "float64")
    if expected != {name: _form(array) for name, array in arrays.items()}:
        raise CheckpointError(f"{path} does not hold the state of this attack; remove the file")
    seconds = float(arrays.pop("seconds")[0])
    tensors = [tf.constant(arrays[str(i)]) for i in range(len(arrays))]
    return tf.nest.pack_sequence_as(like, tensors), seconds


def _form(tensor) -> tuple[tuple[int, ...], str]:
    return tuple(tensor.shape), tf.as_dtype(tensor.dtype).name
