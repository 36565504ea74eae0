r"""A small convolutional network on CIFAR-10: Fromage's default against Adam at five rates.

    tools/optimizer_study --config=configs/fromage/cifar10.py --workdir=runs/cifar --data_dir=data

`:cpu` is narrower and takes half an hour on one core; `:runlocal` shows the program in one:

    tools/optimizer_study --config=configs/fromage/cifar10.py:runlocal --workdir=runs/cifar-local
"""

from ml_collections import config_dict

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the study, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(name="cnn", width=32, depths=(6,))
    config.data = dict(
        name="cifar10",
        batch_size=128,
        num_images=config_dict.placeholder(int),  # none: the whole split
    )
    config.optimizer = dict(
        fromage=dict(learning_rates=(0.01,)),
        adam=dict(learning_rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    )
    config.training = dict(
        epochs=30,
        steps_per_epoch=390,
        decay=0.86,  # of the rate, after every epoch
        steps_per_execution=39,
        jit_compile=False,
        seed=0,
    )
    config.evaluation = dict(split="test", batch_size=500)
    if mode:
        config.model.width = 12
        config.data.batch_size = 64
        config.training.update(epochs=20, steps_per_epoch=200, decay=0.8, steps_per_execution=50)
    if mode == "runlocal":
        config.training.update(epochs=2, steps_per_epoch=10, steps_per_execution=10)
        config.optimizer.adam.learning_rates = (1e-3,)
    return config
