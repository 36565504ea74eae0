"""The trained generator that a binary is asked to use: that of a run, or a preset."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from tfgen.bin import app
from tfgen.errors import UserError

PRESET = flags.DEFINE_string("preset", None, "Use this trained model, a name or a path, instead.")
OUTPUT = flags.DEFINE_string("output", None, "Where the results go; default: the workdir's place.")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained generator and where its results go.

    Attributes:
        generator: the generator with its weights.
        config: dict, the configuration it was trained with, complete; `data` is None if unknown.
        workdir: the `Workdir` of its run, or the folder given for the results of a preset.
        name: string, the model's name, for file names.
    """

    generator: Any
    config: dict[str, Any]
    workdir: Any
    name: str


def load(in_parts: bool = False) -> Loaded:
    """Loads what --workdir or --preset names.

    Args:
        in_parts: whether the program asks a generator for batches in parts that are computed side
            by side (`tfgen.cores`), and nothing else that takes long. Defaults to `False`.

    Raises:
        UserError: neither was given, or what was given holds no trained model.
    """
    from tfgen.cores import share_cores
    from tfgen.generative import Generator
    from tfgen.runs.config import complete
    from tfgen.runs.workdir import Workdir
    from tfgen.systems import presets
    from tfgen.systems.registry import find_system

    if app.WORKDIR.value is None:
        raise UserError("--workdir is missing; it is the folder of a run, or for the results")
    workdir = Workdir(app.WORKDIR.value)
    if PRESET.value is None:
        name = str(app.WORKDIR.value)
        if not workdir.config_path.is_file() and name in presets.list_presets():
            raise UserError(
                f"--workdir={name} is a folder for results; to use the model of that name, say "
                f"--preset={name} and --workdir=FOLDER"
            )
        workdir.read_config()  # says more about a folder that holds no run
    folder = presets.find_preset(PRESET.value or workdir.path)
    config = presets.read_config(folder)
    if in_parts and issubclass(find_system(config["model"]["name"]).load(), Generator):
        share_cores(1)
    generator = presets.from_preset(folder)
    has_data, name_of = "data" in config, folder.resolve().name  # the folder may be "."
    config = complete(config)
    return Loaded(generator, config if has_data else {**config, "data": None}, workdir, name_of)


def load_generator(in_parts: bool = False) -> Loaded:
    """As `load`, of what draws images.

    Args:
        in_parts: see `load`. Defaults to `False`.

    Raises:
        UserError: the model is no generator.
    """
    from tfgen.generative import Generator

    loaded = load(in_parts)
    if not isinstance(loaded.generator, Generator):
        raise UserError(
            f"{loaded.name} is a {type(loaded.generator).__name__}, which draws no images"
        )
    return loaded


def output_or(default: Path) -> Path:
    """The place named by --output, or the default."""
    if OUTPUT.value is None:
        return default
    path = Path(OUTPUT.value)
    return path if path.name not in ("", "..") else path.resolve()  # "." has no name of its own
