"""Trained candidates on disk, one file each, with a manifest of which there are."""

import contextlib
import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfgen.errors import UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.locking import locked
from tfgen.files.replacing import replace_file
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.pool import Operation, checked_pool, make_operation, possible

FORMAT = 1
UNTRAINED = ("teacher", "identity")


class Library:
    """Candidates for every layer of a network.

    Args:
        folder: path of its folder, which is made.
        network: the `CutNetwork`.
        pool: iterable of dicts, the operations; see `tfgen.search.hant.pool`. Others may have been
            trained before.
        activation: string, name of the activation within candidates. Defaults to `"relu"`.
        settings: mapping of what candidates depend on beside, plain values by name; None is
            nothing.

    Attributes:
        operations: dict of the pool's operations by name.
        entries: dict of what is known of each that is trained, by `"<layer>/<operation>"`.

    Raises:
        UserError: the folder is of another network or other settings, or its manifest is damaged.
        ConfigError: the pool is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        network: CutNetwork,
        pool: Iterable[Operation],
        activation: str = "relu",
        settings: Mapping[str, Any] | None = None,
    ):
        self.folder, self.network = Path(folder), network
        self.operations, self.activation = checked_pool(pool), activation
        self._about = {
            "format": FORMAT,
            "network": fingerprint(network),
            "activation": activation,
            "settings": dict(settings or {}),
        }
        self.entries = self._read()

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within the block no other process adds to the library, which has what others added."""
        with locked(self.folder / "library.lock"):
            self.entries = self._read()
            yield

    def _read(self) -> dict[str, dict]:
        if not self._manifest.exists():
            return {}
        found = read_json(self._manifest, UserError, "name another folder")
        entries = found.pop("entries", None)
        if not isinstance(entries, dict) or not isinstance(found.get("settings"), dict):
            raise UserError(f"{self._manifest} is no manifest of candidates; name another folder")
        here, asked = ({**x, **x["settings"]} for x in (found, self._about))
        for field in asked:
            if field != "settings" and here.get(field) != asked[field]:
                raise UserError(
                    f"{self.folder} holds candidates of {field} = {here.get(field)!r}, and "
                    f"{asked[field]!r} is asked for; name another folder"
                )
        return entries

    @property
    def teacher_name(self) -> str:
        """The pool's name of a layer as it is.

        Raises:
            UserError: the pool has none.
        """
        for name, operation in self.operations.items():
            if operation["family"] == "teacher":
                return name
        raise UserError("the pool lacks the layers themselves; add {'family': 'teacher'}")

    def choices(self, number: int) -> list[str]:
        """Names of the operations that can stand in the place of a layer, the pool's order.

        Args:
            number: integer, the layer.
        """
        segment = self.network.segments[number]
        return [name for name, o in self.operations.items() if possible(o, segment)]

    def missing(self) -> list[tuple[int, str]]:
        """Pairs of a layer's number and an operation that are yet to be trained.

        The first operation of all layers comes first, so that after some of them every layer has
        some to choose from.
        """
        return [
            (number, name)
            for name, operation in self.operations.items()
            if operation["family"] not in UNTRAINED
            for number in range(len(self.network.segments))
            if self._key(number, name) not in self.entries
        ]

    def fresh(self, number: int, name: str, seed: int = 0) -> keras.Model | None:
        """An untrained candidate; the same weights for the same arguments.

        Args:
            number: integer, the layer.
            name: string, the operation's name.
            seed: integer that draws its weights. Defaults to `0`.
        """
        # Keras draws the seeds of initializers from Python's generator.
        state = random.getstate()
        random.seed(f"{seed}/{number}/{name}")
        try:
            segment = self.network.segments[number]
            return make_operation(self.operations[name], segment, self.activation)
        finally:
            random.setstate(state)

    def add(self, number: int, name: str, model: keras.Model, error: float) -> None:
        """Keeps a trained candidate.

        Args:
            number: integer, the layer.
            name: string, the operation's name.
            model: the `keras.Model`, as `fresh` made it.
            error: float, by how much it misses the layer; not finite if its training failed.

        Raises:
            OSError: the folder cannot be written.
        """
        key = self._key(number, name)
        values = {f"{k:04d}": v for k, v in enumerate(model.get_weights())}
        self._file(key).parent.mkdir(parents=True, exist_ok=True)
        with replace_file(self._file(key)) as temporary:
            write_tensors(temporary, values, {"key": key})
        self.entries[key] = {"error": float(error) if np.isfinite(error) else None}
        write_json(self._manifest, {**self._about, "entries": self.entries}, indent=1)

    def error(self, number: int, name: str) -> float:
        """By how much a candidate misses its layer; infinity if its training failed.

        Args:
            number: integer, the layer.
            name: string, the operation's name.

        Raises:
            UserError: it is not trained.
        """
        if self.operations[name]["family"] == "teacher":
            return 0.0
        entry = self.entries.get(self._key(number, name))
        if entry is None:
            raise UserError(f"{name} is not trained for layer {number}; distil it first")
        return np.inf if entry["error"] is None else float(entry["error"])

    def candidate(self, number: int, name: str) -> keras.Model | None:
        """What stands in the place of a layer: a trained model, the layer itself, or None.

        Args:
            number: integer, the layer.
            name: string, the operation's name.

        Raises:
            UserError: it is not trained, or its file is damaged.
        """
        family = self.operations[name]["family"]
        if family == "teacher":
            return self.network.layer(number)
        model = self.fresh(number, name)
        if model is not None:
            self.error(number, name)
            tensors, _ = read_tensors(self._file(self._key(number, name)))
            model.set_weights([tensors[key] for key in sorted(tensors)])
        return model

    def assemble(self, plan: Iterable[str], name: str | None = None) -> keras.Model:
        """The network of a plan, with trained candidates.

        Args:
            plan: iterable of the names of operations, one a layer.
            name: string, the model's name; None is the network's.

        Raises:
            UserError: a candidate is not trained, or its file is damaged.
        """
        replacements = {
            number: self.candidate(number, operation)
            for number, operation in enumerate(plan)
            if self.operations[operation]["family"] != "teacher"
        }
        return self.network.assemble(replacements, name)

    def _key(self, number, name):
        return f"{self.network.segments[number].name}/{name}"

    def _file(self, key) -> Path:
        layer, name = key.split("/")
        return self.folder / "weights" / layer / f"{name}.safetensors"


def fingerprint(network: CutNetwork) -> str:
    """A network's cuts and weights as a short text that no other one has.

    Args:
        network: the `CutNetwork`.
    """
    digest = hashlib.sha256()
    for segment in network.segments:
        digest.update(f"{segment.name} {segment.input.shape} {segment.output.shape}\n".encode())
    for value in network.network.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]
