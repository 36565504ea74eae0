"""The network that is made fast, and the training of it and of what comes of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfgen.errors import ConfigError
from tfgen.files.replacing import replace_file
from tfgen.runs import fit, plan
from tfgen.runs.config import complete
from tfgen.runs.experiment import build_experiment
from tfgen.runs.transforming.config import SOURCES, is_trained_here
from tfgen.runs.workdir import Workdir
from tfgen.search.hant import NetworkClassifier
from tfgen.search.hant.classifier import made_network, network_config
from tfgen.search.hant.teachers import read_network, with_pixels
from tfgen.systems.presets import from_preset

SYSTEM = "hant"


def initial_network(config: Mapping[str, Any], with_weights: bool = True) -> keras.Model:
    """The network of a configuration; one that is to be trained here has its first weights.

    Args:
        config: dict, complete.
        with_weights: whether those of others are loaded as well, where that takes a download.
            Defaults to `True`.

    Raises:
        UserError: it cannot be had.
    """
    section = config["model"]
    options = {key: value for key, value in section.items() if key != "source"}
    source = section["source"]
    if source == "file":
        network = read_network(options["path"])
        return with_pixels(network, options["pixel_scale"], options["pixel_offset"])
    if source == "workdir":
        return network_of(from_preset(options["path"]))
    if source == "application" and not with_weights:
        options["weights"] = None
    network = SOURCES[source](**options)
    if is_trained_here(config):
        return made_network(network_config(network), seed=config["training"]["seed"])
    return network


def network_of(model: keras.Model) -> keras.Model:
    """The functional network of images in [0, 1] within a classifier of the library.

    Args:
        model: `keras.Model` of one of the library's systems.

    Raises:
        ConfigError: there is none.
    """
    if isinstance(model, NetworkClassifier):
        return model.network
    if hasattr(model, "served") and hasattr(model, "pixel_mean"):  # of UNAS
        scale = 1.0 / np.asarray(model.pixel_std)
        return with_pixels(model.served, scale, -np.asarray(model.pixel_mean) * scale)
    raise ConfigError(
        f"a {type(model).__name__} holds no functional network of images to classes; name the "
        "workdir of a classifier"
    )


def save_network(network: keras.Model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all.

    Args:
        network: the `keras.Model` to write.
        path: path of the file.
    """
    with replace_file(path) as temporary:
        network.save(temporary)


def training_config(
    config: Mapping[str, Any], network: keras.Model, section: Mapping[str, Any]
) -> dict[str, Any]:
    """What `tfgen-train` would take to train a network on the same images.

    Args:
        config: dict of the transformation, complete.
        network: the `keras.Model` to train.
        section: dict, how: the section `teacher` or `fine_tuning`.
    """
    of_model = ("label_smoothing", "temperature", "student_loss_weight")
    steps = section["steps_per_epoch"]
    return complete(
        {
            "model": {
                "name": SYSTEM,
                "network": network_config(network),
                "image_shape": list(network.inputs[0].shape[1:]),
                **{field: section[field] for field in of_model if field in section},
            },
            "data": config["data"],
            "optimizer": {
                "name": section["optimizer"],
                "learning_rate": section["learning_rate"],
                "warmup_epochs": section["warmup_epochs"],
                "final_learning_rate": 0.0,
                "weight_decay": section["weight_decay"],
                "epsilon": 1e-7,
                "per_step": True,
            },
            "training": {
                "epochs": section["epochs"],
                "seed": config["training"]["seed"],
                **({} if steps is None else {"steps_per_epoch": steps}),
            },
            "evaluation": config["evaluation"],
        }
    )


def trained(
    folder: Path,
    config: Mapping[str, Any],
    data_dir: str | None,
    begin: Callable[[NetworkClassifier], None] = lambda model: None,
) -> NetworkClassifier:
    """A classifier once it is trained, in a folder as `tfgen-train` keeps it; goes on where it was.

    Args:
        folder: path of the run's folder.
        config: dict of a training, complete.
        data_dir: path of the folder looked at first for the data, or None.
        begin: function that is given the model before anything is restored.

    Raises:
        UserError: see `tfgen.runs.fit.train`.
    """
    experiment = build_experiment(config, data_dir=data_dir)
    begin(experiment.model)
    workdir = Workdir(folder)
    fit.train(experiment, workdir, plan.describe(experiment, "default", "float32"))
    return from_preset(workdir.path)
