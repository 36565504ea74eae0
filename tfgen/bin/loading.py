"""The generator that a binary is asked to use: that of a run, or a preset."""

import dataclasses
from pathlib import Path
from typing import Any

import tfgen
from tfgen.bin.app import PRESET, WORKDIR
from tfgen.bin.workdir import Workdir
from tfgen.errors import UserError


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained generator and where its results go.

    Attributes:
        generator: with its weights.
        config: the configuration it was trained with.
        workdir: of its run, or the folder given for the results of a preset.
        name: of the model, for file names.
    """

    generator: Any
    config: dict[str, Any]
    workdir: Workdir
    name: str


def load() -> Loaded:
    """Loads what --workdir or --preset names.

    Raises:
        UserError: neither was given, or what was given holds no trained model.
    """
    if WORKDIR.value is None:
        raise UserError("--workdir is missing; it is the folder that tfgen-train wrote")
    workdir = Workdir(WORKDIR.value)
    origin = PRESET.value or WORKDIR.value
    generator = tfgen.from_preset(origin)
    return Loaded(generator, None, workdir, Path(origin).resolve().name)
