r"""HANT on EfficientNet: the published networks with their ImageNet weights, made fast.

    tfgen-transform --config=configs/hant/efficientnet.py:b0 --workdir=runs/fast-b0 \
        --config.data.name=folder:PATH --config.model.weights=FILE

The modes name the network. Weights are downloaded by Keras unless a file of them is given; the
folder has one subfolder for every class, within `train` and `validation`. `:runlocal` shows every
phase on CIFAR-10, with random weights that are trained a few steps.
"""

from ml_collections import config_dict

from tfgen import recipes

# Height and width of the images that each was trained on (Tan and Le, 2019).
SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528}
MODES = ("", *SIZES, "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    name = mode if mode in SIZES else "b0"
    config = recipes.hant(
        mode,
        modes=MODES,
        model=dict(
            source="application",
            name=f"EfficientNet{name.upper()}",
            weights="imagenet",
            image_size=SIZES[name],
            num_classes=1000,
        ),
        data=dict(name="tfds:imagenet2012", batch_size=64, held_out=0.01, flip=True),
        pool=dict(activation="swish"),
        distillation=dict(epochs=1, batch_size=64, at_once=4),
        scores=dict(num_images=6000),
        plan=dict(budget=0.45, num_plans=100, num_images=6000),
        fine_tuning=dict(epochs=100, learning_rate=1e-3, warmup_epochs=0),
        evaluation=dict(split="validation"),
        small=dict(
            model=dict(weights=None, image_size=32, num_classes=10),
            data=dict(name="cifar10", held_out=0.1),
            evaluation=dict(split="test"),
        ),
    )
    return config
