r"""GradInversion at the paper's size: ResNet-50, 224 x 224, the published settings.

Needs a folder of pictures, or an ImageNet that TensorFlow Datasets has prepared, and an
accelerator for 20,000 steps of 8 seeds:

    tfgen-audit --config=configs/gradinversion/imagenet.py --workdir=runs/imagenet-audit \
        --config.data.name=folder:pictures --config.model.weights=resnet50.weights.h5

Without `weights` the network is a new one. `:runlocal` makes one seed of two images take three
steps, which tells the time of a step:

    tfgen-audit --config=configs/gradinversion/imagenet.py:runlocal --workdir=runs/imagenet-local \
        --config.data.name=folder:pictures

`:deep` has the settings that restore batches from a ResNet-18 of small images in hundreds of steps
instead of thousands, one seed of 500 steps: hours on a processor.

    tfgen-audit --config=configs/gradinversion/imagenet.py:deep --workdir=runs/imagenet-deep \
        --config.data.name=folder:pictures
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "deep", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the audit, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(
        name="resnet50",
        options={},
        weights=config_dict.placeholder(str),
        pixel_mean=(0.485, 0.456, 0.406),
        pixel_std=(0.229, 0.224, 0.225),
    )
    config.data = dict(
        name="tfds:imagenet2012",
        split="validation",
        image_size=224,
        num_classes=1000,
    )
    config.threat_model = dict(
        batch_norm_mode="train",
        batch_norm_statistics="batch",
        labels="restored",
        batch_size="known",
    )
    # Section 4 of arXiv:2104.07586; AttackSettings' defaults spell them out.
    config.attacks = dict(gradinversion=dict(preset="gradinversion", label_method="min"))
    config.defences = dict(none=dict(name="none"))
    config.audit = dict(batch_sizes=(8,), num_batches=1, pool_size=256, seed=0)
    if mode == "deep":
        config.attacks.gradinversion.update(recipes.deep_attack())
        config.attacks.gradinversion.update(num_steps=500, num_seeds=1, group="none")
    if mode == "runlocal":
        config.attacks.gradinversion.update(num_steps=3, num_seeds=1, group="none")
        config.audit.update(batch_sizes=(2,), pool_size=16)
    return config
