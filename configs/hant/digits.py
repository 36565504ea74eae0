r"""HANT on scikit-learn's digits: a small network of six blocks, in about a minute.

    tfgen-transform --config=configs/hant/digits.py --workdir=runs/fast-digits

It needs no data from elsewhere. `:runlocal` shows every phase in seconds.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.HANT_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.mobile_hant(
        mode,
        model=dict(
            image_shape=(16, 16, 1),
            stages=((1, 8, 1, 1, 3), (4, 12, 3, 2, 3), (4, 16, 2, 2, 3)),
            stem=8,
            head=48,
        ),
        data=dict(name="digits", batch_size=64, held_out=0.15),
        teacher=dict(epochs=20, learning_rate=5e-3),
        pool=dict(
            operations=(
                dict(family="identity"),
                dict(family="cb_res", kernel=1),
                dict(family="separable", kernel=3),
                dict(family="cb_bottle", kernel=3, width=0.5),
                dict(family="efn", expansion=2, kernel=3),
            )
        ),
        distillation=dict(epochs=6, batch_size=64, learning_rate=5e-3, at_once=16),
        scores=dict(num_images=512),
        plan=dict(budget=0.5, num_plans=10, num_images=256),
        fine_tuning=dict(epochs=10, learning_rate=2e-3),
        quantization=dict(num_images=128),
    )
