r"""Multi-task out-of-distribution detection on Fashion-MNIST, beside MNIST and OMNIGLOT.

The paper has no number for this data set.

    tfgen-train --config=configs/ood/fashion_mnist.py --workdir=runs/ood-fashion-mnist
    tfgen-evaluate --workdir=runs/ood-fashion-mnist

`:plain` is the same backbone as a plain classifier, `:unlabelled` looks at no labels, `:one_class`
learns one class (`--config.data.classes="(3,)"` another). `_cpu` behind each, or `:cpu`, is a model
for two cores, and `_runlocal` shows every step of the programs in a minute:

    tfgen-train --config=configs/ood/fashion_mnist.py:unlabelled_runlocal --workdir=runs/ood-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.OOD_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or another one: `mode` is one of `MODES`."""
    return recipes.ood(
        mode,
        "fashion_mnist",
        (28, 28, 1),
        10,
        others=("mnist", "omniglot"),
        mean=(0.2860,),
        std=(0.3530,),
        cpu_epochs=4,
    )
