"""Recipes of multi-task out-of-distribution detection: one backbone, in the modes of a data set."""

from collections.abc import Sequence
from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import check_mode, training

# With labels, a plain classifier of the same backbone to compare with, without labels, one class;
# each also for two cores, and in miniature.
_SIZES = ("", "cpu", "runlocal")
_SETTINGS = ("", "plain", "unlabelled", "one_class")
OOD_MODES = tuple(
    "_".join(filter(None, (setting, size))) for setting in _SETTINGS for size in _SIZES
)
_SMALL = {"name": "small_cnn", "widths": (16, 32, 64, 64), "strides": (2, 1, 2, 1)}


def ood(
    mode: str,
    data: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    others: Sequence[str],
    near: Sequence[str] = (),
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
    backbone: str = "resnet18",
    epochs: int = 100,
    cpu_epochs: int = 1,
    batch_size: int = 64,
    flip: bool = True,
    crop_padding: int = 4,
    normal_class: int = 0,
) -> config_dict.ConfigDict:
    """The recipe of a mode.

    Args:
        mode: string, one of `OOD_MODES`.
        data: string, the data set's name.
        image_shape: tuple `(H, W, C)`.
        num_classes: integer, how many classes there are.
        others: sequence of the names of data sets to tell from.
        near: sequence of those that are near. Defaults to `()`.
        mean: sequence of floats, of the pixels, one for each channel. Defaults to `(0.5,)`.
        std: sequence of floats, likewise. Defaults to `(0.25,)`.
        backbone: string, its name. Defaults to `"resnet18"`.
        epochs: integer, passes over the training images. Defaults to `100`.
        cpu_epochs: integer, those of two cores. Defaults to `1`.
        batch_size: integer, images a step before they are transformed. Defaults to `64`.
        flip: whether to mirror at random. Defaults to `True`.
        crop_padding: integer, pixels of random shifts. Defaults to `4`.
        normal_class: integer, the class of the one-class mode. Defaults to `0`.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, OOD_MODES)
    size = next((size for size in _SIZES[1:] if mode.endswith(size)), "")
    setting = mode.removesuffix(size).rstrip("_")
    labelled = setting in ("", "plain")
    config = config_dict.ConfigDict()
    config.model = dict(
        name="multi_task_ood",
        backbone={"name": backbone},
        transformations=[] if setting == "plain" else ["rotation", "translation"],
        image_shape=image_shape,
        num_classes=num_classes if labelled else config_dict.placeholder(int),
        mean=list(mean),
        std=list(std),
        crop_padding=crop_padding,
        flip=flip,
    )
    config.data = dict(name=data, batch_size=batch_size, held_out=0.1)
    config.optimizer = sgd()
    config.training = training(epochs)
    config.evaluation = dict(
        split="test",
        num_images=config_dict.placeholder(int),
        batch_size=100,
        others=tuple(others),
        near=tuple(near),
    )
    if setting == "one_class":
        config.data.classes = (normal_class,)
        config.evaluation.others = ("other_classes",)
        config.evaluation.near = ()
    if size:
        _shrink(config, cpu_epochs)
    if size == "runlocal":
        config.training.update(epochs=1, steps_per_epoch=4, report_steps=1)
        config.data.batch_size = 16
        config.evaluation.num_images = 64
    return config


def sgd(**changes: Any) -> dict:
    """The section `optimizer` of image classifiers, a dict: a cosine from 0.1 to nothing."""
    return {
        "name": "sgd",
        "learning_rate": 0.1,
        "warmup_epochs": 0,
        "final_learning_rate": 0.0,
        "weight_decay": 5e-4,
        "ema_momentum": config_dict.placeholder(float),
        **changes,
    }


def _shrink(config, epochs):
    """For two cores: four convolutions, five translations instead of nine, and half the batch."""
    config.model.backbone = dict(_SMALL)
    if config.model.transformations:
        axes = {"name": "translation", "pairs": "axes", "joint": True}
        config.model.transformations = ["rotation", axes]
    config.model.update(crop_padding=0)
    config.data.batch_size = min(32, config.data.batch_size)
    config.training.epochs = epochs
    config.optimizer.learning_rate = 0.05
