"""Recipes of UNAS: searches of the paper, and trainings of what they find."""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import check_mode, evaluation, training

SEARCH_MODES = ("", "runlocal")
SEARCHED_MODES = ("", "cpu", "runlocal")
CIFAR_PIXELS = {"pixel_mean": (0.4914, 0.4822, 0.4465), "pixel_std": (0.2470, 0.2435, 0.2616)}
IMAGENET_PIXELS = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}


def unas(
    mode: str,
    data: str,
    supernet: dict,
    *,
    batch_size: int,
    epochs: tuple[int, int],
    model: dict,
    criteria: dict,
    training: dict,
    small_supernet: dict,
    **fields: Any,
) -> config_dict.ConfigDict:
    """A search.

    Args:
        mode: string, one of `SEARCH_MODES`.
        data: string, the data set's name.
        supernet: dict of the name of the network of all networks, and its keyword arguments.
        batch_size: integer, images a step, and as many of validation.
        epochs: tuple of two integers, of warm-up and of search.
        model: dict, keyword arguments of `UNAS` that differ from its defaults.
        criteria: dict of what is kept small, by name.
        training: dict of fields that differ from the defaults.
        small_supernet: dict, what of the supernet differs in the mode "runlocal".
        **fields: fields of the data beside name and batch size.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, SEARCH_MODES)
    config = config_dict.ConfigDict()
    config.model = {"supernet": supernet, **model}
    config.criteria = criteria
    config.data = dict(name=data, batch_size=batch_size, **fields)
    config.training = dict(
        warmup_epochs=epochs[0],
        epochs=epochs[1],
        steps_per_epoch=config_dict.placeholder(int),
        ema_momentum=config_dict.placeholder(float),
        report_steps=50,
        seed=0,
        **training,
    )
    if mode == "runlocal":
        config.model.supernet.update({"skip_below": 0.0, **small_supernet})
        config.data.update(batch_size=8, num_images=400)
        config.training.update(warmup_epochs=1, epochs=2, steps_per_epoch=10, report_steps=5)
        for criterion in config.criteria.values():
            criterion.num_fitted = 100
    return config


def unas_cifar(mode: str, data: str, num_classes: int) -> config_dict.ConfigDict:
    """The paper's search on CIFAR: 100 epochs of batches of 128, an architecture for every image.

    Of so many hardly an operation has a small weight for all, so all are run, which spares a branch
    each.

    Args:
        mode: string, one of `SEARCH_MODES`.
        data: string, the data set's name.
        num_classes: integer, classes.

    Returns:
        The recipe, a `ConfigDict`.
    """
    supernet = dict(
        name="cells",
        image_shape=(32, 32, 3),
        num_classes=num_classes,
        num_channels=16,
        num_cells=8,
        skip_below=0.0,
    )
    return unas(
        mode,
        data,
        supernet,
        batch_size=128,
        epochs=(15, 85),
        model=dict(CIFAR_PIXELS),
        criteria={},
        training=dict(weight_rates=(6e-4, 1e-4), logit_rates=(2e-3, 3e-4)),
        small_supernet={"num_channels": 4, "num_cells": 3, "num_operations": 2},
        flip=True,
        crop_padding=4,
    )


def searched(
    mode: str,
    data: str,
    genotype: str | dict,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    kind: str = "cells",
    network: dict | None = None,
    batch_size: int = 128,
    epochs: tuple[int, int] = (30, 600),
    learning_rate: float = 0.05,
    model: dict | None = None,
    **fields: Any,
) -> config_dict.ConfigDict:
    """The training of a network that was found, with the recipe of the paper's CIFAR-10 networks
    where nothing else is said.

    Args:
        mode: string, one of `SEARCHED_MODES`; "cpu" is a small network for two cores.
        data: string, the data set's name.
        genotype: string, the name of a published one, or a dict.
        image_shape: tuple `(H, W, C)`.
        num_classes: integer, classes.
        kind: string, "cells" or "blocks", which the genotype is of. Defaults to `"cells"`.
        network: dict of the network's sizes; None leaves all as they are.
        batch_size: integer, images a step. Defaults to `128`.
        epochs: tuple of two integers, of the learning rate's rise and in all. Defaults to
            `(30, 600)`.
        learning_rate: float, its peak; it falls to 0. Defaults to `0.05`.
        model: dict, keyword arguments of `SearchedClassifier` that differ; None: none do.
        **fields: fields of the data beside name and batch size.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, SEARCHED_MODES)
    cells = kind == "cells"
    config = config_dict.ConfigDict()
    options = {
        "cutout": 16,
        "weight_penalty": 3e-4,
        **(CIFAR_PIXELS if data.startswith("cifar") else {}),
    }
    if cells:
        options |= {
            "drop_path": 0.2,
            "auxiliary_weight": 0.4 if min(image_shape[:2]) >= 32 else 0.0,
        }
    config.model = {
        "name": "unas",
        "genotype": genotype,
        "image_shape": image_shape,
        "num_classes": num_classes,
        "network": dict(network or {}),
        **options,
        **(model or {}),
    }
    config.data = {
        "name": data,
        "batch_size": batch_size,
        "flip": True,
        "crop_padding": 4,
        **fields,
    }
    config.optimizer = dict(
        name="sgd",
        learning_rate=learning_rate,
        warmup_epochs=epochs[0],
        final_learning_rate=0.0,
        weight_decay=0.0,
    )
    config.training = training(epochs[1])
    config.evaluation = {k: v for k, v in evaluation().items() if k != "num_importance_samples"}
    if mode:
        small = {"num_channels": 16, "num_cells": 5} if cells else {"width": 0.25}
        config.model.network.update(small)
        config.model.update(drop_path=0.0, auxiliary_weight=0.0)
        config.data.batch_size = min(batch_size, 128)
        config.training.epochs = 20
        config.optimizer.warmup_epochs = 1
    if mode == "runlocal":
        config.model.network.update(
            {"num_channels": 4, "num_cells": 3} if cells else {"width": 0.1}
        )
        config.data.batch_size = 16
        config.training.update(epochs=2, steps_per_epoch=5, report_steps=5)
        config.evaluation.num_images = 100
    return config


def searched_imagenet(
    mode: str, genotype: str, *, kind: str, network: dict, epochs: int, batch_size: int, **rates
) -> config_dict.ConfigDict:
    """The training of a network that was found on ImageNet, with the recipe of the paper's.

    Crops are taken of pictures that were brought to their size before.

    Args:
        mode: string, one of `SEARCHED_MODES`.
        genotype: string, the name of a published one.
        kind: string, "cells" or "blocks", which the genotype is of.
        network: dict of the network's sizes.
        epochs: integer, epochs in all, of which the learning rate rises in the first five.
        batch_size: integer, images a step.
        **rates: dict of `learning_rate`, its peak, and `weight_penalty`.

    Returns:
        The recipe, a `ConfigDict`.
    """
    model = {
        "cutout": 0,
        "label_smoothing": 0.1,
        "weight_penalty": rates["weight_penalty"],
        **IMAGENET_PIXELS,
    }
    if kind == "cells":
        model |= {"drop_path": 0.0, "auxiliary_weight": 0.4}
    return searched(
        mode,
        "tfds:imagenet2012",
        genotype,
        image_shape=(224, 224, 3),
        num_classes=1000,
        kind=kind,
        network=network,
        batch_size=batch_size,
        epochs=(5, epochs),
        learning_rate=rates["learning_rate"],
        model=model,
        crop_padding=None,
        resized_crop=0.08,
        colour_jitter=(0.4, 0.4, 0.4, 0.2),
    )
