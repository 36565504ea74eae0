"""Attacks that were stopped: their state in one checksummed file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tfgen.errors import CheckpointError
from tfgen.privacy.candidates import State
from tfgen.training.files import replace_file
from tfgen.training.tensor_file import read_tensors, write_tensors


def save_state(path: str | os.PathLike, state: State, identity: Mapping) -> None:
    """Writes a state, whole or not at all.

    Args:
        path: of the file.
        state: to save.
        identity: what a later run must equal to go on from here; anything JSON can hold.

    Raises:
        OSError: the file cannot be written.
    """
    flat = tf.nest.flatten(state)
    with replace_file(path) as temporary:
        write_tensors(temporary, {str(i): t.numpy() for i, t in enumerate(flat)}, identity)


def load_state(path: str | os.PathLike, like: State, identity: Mapping) -> State:
    """The state that lies in a file.

    Args:
        path: of the file.
        like: any state of the same attack.
        identity: of the attack that wants to go on.

    Raises:
        CheckpointError: the file is damaged, or of another attack; the message names what differs.
    """
    arrays, note = read_tensors(Path(path))
    identity = json.loads(json.dumps(dict(identity)))
    different = sorted(key for key in {*note, *identity} if note.get(key) != identity.get(key))
    if different:
        raise CheckpointError(
            f"{path} belongs to an attack with other {' and '.join(different)}; continue with the "
            "same, or remove the file"
        )
    tensors = [tf.constant(arrays[str(i)]) for i in range(len(arrays))]
    return tf.nest.pack_sequence_as(like, tensors)
