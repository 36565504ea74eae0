r"""UNAS on ImageNet: inverted bottlenecks of the ProxylessNAS space, for a latency.

    tfgen-search --config=configs/unas/imagenet_blocks.py --workdir=runs/blocks-search \
        --config.data.name=folder:PATH --config.criteria.latency.target=10.0

The latency is that of a batch of 24 images, measured on this machine part by part, as the paper
measures it. `:runlocal` counts multiplications instead, which takes no time to measure.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCH_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    latency = dict(
        measure="latency",
        backend="keras",
        batch_size=24,
        target=10.0,
        form="hinge",
        coefficient=0.1,
        ramp_steps=30_000,
        num_fitted=10_000,
    )
    counted = dict(measure="macs", target=1e6, form="hinge", coefficient=1e-7, num_fitted=1000)
    return recipes.unas(
        mode,
        "tfds:imagenet2012",
        {"name": "blocks", "image_shape": (224, 224, 3), "num_classes": 1000, "width": 1.0},
        batch_size=192,
        epochs=(20, 15),
        model=dict(
            softening=0.08,
            num_architectures=8,
            duplicate_coefficient=0.0,
            **recipes.IMAGENET_PIXELS,
        ),
        criteria={"macs": counted} if mode == "runlocal" else {"latency": latency},
        training=dict(weight_rates=(3e-4, 1e-4), logit_rates=(1e-3, 3e-4)),
        small_supernet={"image_shape": (32, 32, 3), "width": 0.1},
    )
