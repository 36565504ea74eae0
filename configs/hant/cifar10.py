r"""HANT on CIFAR-10: a network of fourteen inverted bottlenecks, trained here and made fast.

    tfgen-transform --config=configs/hant/cifar10.py --workdir=runs/fast-cifar10

`:cpu` has few steps in every phase and a pool of seven, for a processor; `:runlocal` shows every
phase in seconds. ReLU6 keeps int8 fast.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.MOBILE_HANT_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.mobile_hant(
        mode,
        model=dict(
            image_shape=(32, 32, 3),
            stages=((1, 16, 1, 1, 3), (4, 24, 3, 1, 3), (4, 40, 5, 2, 3), (4, 80, 5, 2, 3)),
            stem=24,
            head=256,
        ),
        data=dict(name="cifar10", batch_size=128, held_out=0.1, flip=True, crop_padding=4),
        teacher=dict(epochs=100, learning_rate=4e-3, label_smoothing=0.1),
        distillation=dict(epochs=2, batch_size=128, at_once=16),
        plan=dict(budget=0.4, num_plans=100),
        fine_tuning=dict(epochs=50, learning_rate=2e-3),
        cpu=dict(teacher=2000, distillation=150, fine_tuning=1000, num_plans=8),
    )
