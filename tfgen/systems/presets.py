"""Trained models by name or path.

A preset is a folder of this form; the workdir of `tfgen-train` is one too.

config.json     at least `{"model": {"name": system, **constructor arguments}}`
checkpoints/    the weights, in a file of `tfgen.training.CheckpointManager`
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tfgen
from tfgen.errors import CheckpointError, ConfigError, UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_dir, restored
from tfgen.systems.registry import arguments_of, find_system, name_of
from tfgen.training import CheckpointManager, Model, load_weights_only

PRESETS_DIR = "TFGEN_PRESETS_DIR"
CONFIG, CHECKPOINTS = "config.json", "checkpoints"
# Runs of other programs have a configuration too: a section that only they have, what they are
# called, and where a model that came of them is.
OTHER_KINDS = {
    "criteria": ("search", "train what it found with tfgen-train --config={folder}/recipe.py"),
    "distillation": ("transformation", "give the folder of what came of it, as {folder}/student"),
    "threat_model": ("audit", "give the workdir of tfgen-train"),
}


def from_preset(name_or_path: str | os.PathLike, *, ema: bool | None = None) -> Model:
    """A trained generator, ready to `sample`.

    Args:
        name_or_path: string, a preset's name (see `list_presets`), or the path of a preset, of a
            workdir of `tfgen-train`, or of what `tools/convert_checkpoint` wrote. A folder that
            exists goes before a preset of the same name.
        ema: whether to take the weights' moving averages; None does if the checkpoint has any.

    Returns:
        A live model, uncompiled: `model.sample(num_images, temperature=1.0, seed=0)` works at once,
        and `compile` and `fit` train it further.

    Raises:
        UserError: there is no such preset; its configuration is unreadable; its checkpoint is
            missing, corrupt, or of another architecture.
    """
    folder = find_preset(name_or_path)
    model = _build(folder, read_config(folder))
    load_weights_only(model, folder / CHECKPOINTS, ema=ema)
    return model


def save_preset(
    model: Model,
    path: str | os.PathLike,
    config: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a generator as a folder that `from_preset` reads, whole or not at all.

    Args:
        model: a built model of a class in the registry. If it is compiled, the state of its
            optimizer goes along, moving averages included.
        path: path of the folder.
        config: dict, the full configuration, if there is one; None writes only the model's section.
        overwrite: whether to replace what is there, once its successor stands.

    Returns:
        The path.

    Raises:
        UserError: the folder exists, or cannot be written. What was there is kept.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    with replace_dir(path) as temporary:
        write_preset(model, temporary, config or {"model": model_section(model)})
    return path


def write_preset(
    model: Model, folder: Path, config: Mapping[str, Any], *, half: bool = False
) -> None:
    """Writes configuration and weights into a folder that exists; see `save_preset`.

    Args:
        model: a built `Model` of a class in the registry.
        folder: path of the folder.
        config: dict, the full configuration.
        half: whether its weights are rounded to float16. Defaults to `False`.
    """
    write_json(folder / CONFIG, config)
    CheckpointManager(folder / CHECKPOINTS).save(model, half=half)


def find_preset(name_or_path: str | os.PathLike) -> Path:
    """The folder of a preset, see `from_preset`.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    folder = restored(Path(name_or_path).expanduser())
    if _holds_model(folder):
        return folder
    if folder.is_dir():
        raise ConfigError(
            f"{folder} holds no trained model: {CONFIG} is missing; give the workdir of "
            "tfgen-train or a folder that tools/convert_checkpoint wrote"
        )
    presets = list_presets()
    if str(name_or_path) in presets:
        return presets[str(name_or_path)]
    known = ", ".join(presets) or f"none (a folder of them can be named by {PRESETS_DIR})"
    raise UserError(
        f"there is no preset and no folder {str(name_or_path)!r}; presets: {known}; a path is that "
        "of a workdir of tfgen-train"
    )


def list_presets() -> dict[str, Path]:
    """The presets of this installation by name, in alphabetical order.

    Looked for in `TFGEN_PRESETS_DIR`, in the package, and in `saved_models/` of a checkout; the
    first of a name counts.
    """
    found = {}
    for folder in preset_folders():
        for path in folder.iterdir() if folder.is_dir() else ():
            if _holds_model(path):
                found.setdefault(path.name, path)
    return dict(sorted(found.items()))


def preset_folders() -> Iterator[Path]:
    """Where presets are looked for, existing or not; the last is that of a checkout."""
    for name in filter(None, os.environ.get(PRESETS_DIR, "").split(os.pathsep)):
        yield Path(name).expanduser()
    package = Path(tfgen.__file__).resolve().parent
    yield package / "saved_models"
    yield package.parent / "saved_models"


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a preset.

    Raises:
        ConfigError: it cannot be read, names no known system, or is of no model.
    """
    path = folder / CONFIG
    config = read_json(path, ConfigError)
    for section, (kind, remedy) in OTHER_KINDS.items():
        if section in config:
            article = "an" if kind.startswith("a") else "a"
            raise ConfigError(
                f"{folder} holds {article} {kind}, not a trained model; "
                f"{remedy.format(folder=folder)}"
            )
    model = config.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    base = find_system(name, f"{path}: model.name").base
    if base is not None and not isinstance(model.get(base.argument), dict):
        raise ConfigError(
            f"{path}: model.{base.argument} does not describe the model under {name!r}"
        )
    return config


def model_section(model: Model) -> dict[str, Any]:
    """The configuration's `model` section of a live model: its system and arguments."""
    name = name_of(model)
    accepted = arguments_of(type(model))
    options = {k: v for k, v in model.get_config().items() if k in accepted}
    base = find_system(name).base
    if base is not None:
        options[base.argument] = model_section(getattr(model, base.argument))
    return {"name": name, **options}


def make_model(section: Mapping[str, Any], with_variables: bool = True) -> Model:
    """The untrained model that a `model` section describes, over the one within it if any.

    Args:
        section: dict of the system's `name` and its constructor arguments.
        with_variables: whether to build it.

    Raises:
        TypeError, ValueError: of the constructor.
    """
    options = {key: value for key, value in section.items() if key != "name"}
    system = find_system(section["name"])
    argument = None if system.base is None else system.base.argument
    if isinstance(options.get(argument), Mapping):
        options[argument] = make_model(options[argument], with_variables)
    model = system.load()(**options)
    if with_variables:
        model.build()
    return model


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `CheckpointError` if something lies at `path` and may not be replaced."""
    if not overwrite and os.path.lexists(restored(path)):
        raise CheckpointError(
            f"{path} exists already and was left as it is; choose another place, or replace "
            "it with --overwrite (overwrite=True)"
        )


def _build(folder, config):
    try:
        return make_model(config["model"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{folder / CONFIG} does not describe a model: {error}") from error


def _holds_model(folder: Path) -> bool:
    return (folder / CONFIG).is_file()
