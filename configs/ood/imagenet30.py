r"""Multi-task out-of-distribution detection on ImageNet-30, thirty classes of 1,300 images.

The images are read from a folder `imagenet30` with `train` and `test` in it and a folder for each
class within, those of others (`flowers102`, `food101`, ... of 3,000 test images each) likewise:

    tfgen-train --config=configs/ood/imagenet30.py --workdir=runs/ood-imagenet30 \
        --data_dir=data --strategy=mirrored
    tfgen-evaluate --workdir=runs/ood-imagenet30 --data_dir=data

`:plain`, `:unlabelled` and `:one_class` as for CIFAR-10; `_cpu` and `_runlocal` behind each see the
images at 64 x 64.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.OOD_MODES
OTHERS = ("cub200", "dogs", "pets", "flowers102", "food101", "places365", "caltech256", "dtd")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or another one: `mode` is one of `MODES`."""
    config = recipes.ood(
        mode,
        "folder:imagenet30",
        (224, 224, 3),
        30,
        others=[f"folder:{name}" for name in OTHERS],
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        backbone="resnet18_imagenet",
        crop_padding=28,
    )
    if mode.endswith(("cpu", "runlocal")):
        config.model.image_shape = (64, 64, 3)
    return config
