r"""Multi-task out-of-distribution detection on scikit-learn's digits, in a minute, of no download.

The classes 0 to 4 are learned, and told from 5 to 9, which were never seen.

    tfgen-train --config=configs/ood/digits.py --workdir=runs/ood-digits
    tfgen-evaluate --workdir=runs/ood-digits

`:plain` is the same backbone as a plain classifier, `:unlabelled` looks at no labels, `:one_class`
learns zeros alone. `_runlocal` behind each, or `:runlocal`, shows every step in seconds:

    tfgen-train --config=configs/ood/digits.py:runlocal --workdir=runs/ood-digits-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.OOD_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or another one: `mode` is one of `MODES`."""
    config = recipes.ood(
        mode,
        "digits",
        (16, 16, 1),
        5,
        others=("other_classes",),
        crop_padding=0,
        flip=False,
        epochs=15,
        cpu_epochs=15,
    )
    if not mode.endswith("runlocal"):
        config.model.backbone = dict(
            name="small_cnn", widths=(32, 64, 64, 128), strides=(1, 2, 1, 2)
        )
        if config.model.transformations:
            moved = dict(name="translation", pairs="axes", joint=True, border="wrap")
            config.model.transformations = ["rotation", moved]
    config.optimizer.learning_rate = 0.05
    if mode.startswith("one_class"):
        config.data.held_out = 0.2  # of some 150 images
    else:
        config.data.classes = (0, 1, 2, 3, 4)
    return config
