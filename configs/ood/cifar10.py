r"""Multi-task out-of-distribution detection on CIFAR-10, beside CIFAR-100 and SVHN.

The paper's ResNet-18. On leaderboards it has 82.92 AUROC against CIFAR-100 without labels.

    tfgen-train --config=configs/ood/cifar10.py --workdir=runs/ood-cifar10 --strategy=mirrored
    tfgen-evaluate --workdir=runs/ood-cifar10

`:plain` is the same backbone as a plain classifier, `:unlabelled` looks at no labels, `:one_class`
learns one class (`--config.data.classes="(3,)"` another). `_cpu` behind each, or `:cpu`, is a model
for two cores, and `_runlocal` shows every step of the programs in a minute:

    tfgen-train --config=configs/ood/cifar10.py:runlocal --workdir=runs/ood-cifar10-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.OOD_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or another one: `mode` is one of `MODES`."""
    return recipes.ood(
        mode,
        "cifar10",
        (32, 32, 3),
        10,
        others=("cifar100", "svhn"),
        near=("cifar100",),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        cpu_epochs=4,  # of the 15,000 images that are at hand, in some ten minutes
    )
