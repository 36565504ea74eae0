r"""HANT on Fashion-MNIST: a network of twelve inverted bottlenecks, trained here and made fast.

    tfgen-transform --config=configs/hant/fashion_mnist.py:cpu --workdir=runs/fast-fashion

`:cpu` is the shipped preset, with few steps in every phase and a pool of seven, for a processor;
`:int8` is alike, but planned by latencies in int8, with a pool of dense convolutions, which int8
computes fastest; `:wide` makes a network of eight times as many weights fast, which is large enough
that int8 pays as well; `:runlocal` shows every phase in seconds. ReLU6 keeps int8 fast.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = (*recipes.MOBILE_HANT_MODES, "int8", "wide")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    steps = dict(teacher=700, distillation=60, fine_tuning=400, num_plans=4)
    if mode in ("int8", "wide"):
        steps.update(teacher=1500, distillation=200, fine_tuning=1000)
    config = recipes.mobile_hant(
        "cpu" if mode in ("int8", "wide") else mode,
        model=dict(
            image_shape=(28, 28, 1),
            stages=((3, 16, 2, 1, 3), (4, 32, 5, 2, 3), (4, 40, 5, 1, 3)),
            stem=16,
            stem_stride=2,
            head=96,
        ),
        data=dict(name="fashion_mnist", batch_size=64, held_out=0.1, flip=True),
        teacher=dict(epochs=30, learning_rate=4e-3),
        distillation=dict(epochs=1, batch_size=64, at_once=16),
        plan=dict(budget=0.4, num_plans=100),
        fine_tuning=dict(epochs=20, learning_rate=2e-3),
        cpu=steps,
    )
    if mode == "int8":
        config.pool.operations = [
            {"family": "identity"},
            {"family": "efnv2", "expansion": 1, "kernel": 3},
            {"family": "efnv2", "expansion": 2, "kernel": 3},
        ]
        config.distillation.update(learning_rate=5e-3, at_once=24)
        config.latency.precision = "int8"
        config.plan.budget = 0.4
        # One channel takes integer kernels as long as eight.
        config.quantization.float_stem = True
    if mode == "wide":
        config.model.stages = ((3, 48, 2, 1, 3), (4, 96, 5, 2, 3), (4, 128, 5, 1, 3))
        config.model.update(stem=48, head=160)
        # None of them linear, so that several in a row are worth more than one.
        config.pool.operations = [
            {"family": "identity"},
            {"family": "cb_bottle", "kernel": 3, "width": 0.25},
            {"family": "efn", "expansion": 1, "kernel": 3},
            {"family": "efn", "expansion": 2, "kernel": 3},
        ]
        config.distillation.update(learning_rate=5e-3, at_once=24)
        config.latency.calibrate = 8
        config.plan.budget = 0.3
        config.quantization.float_stem = True
    return config
