r"""Audits of CIFAR-10 classifiers with batch norm, from 32x32 crops of the real thing.

A client that trains with the statistics of its own batch, which the attacker knows:

    tfgen-audit --config=configs/gradinversion/cifar10.py --workdir=runs/cifar-audit --data_dir=data

- `:sizes`: batches of 1, 4, 8 and 16 without a defence;
- `:trained`: the same network after three epochs;
- `:resnet18`: a ResNet-18, batch statistics known;
- `:resnet18_moving`: the same of a client that normalises with moving averages;
- `:defences`: clients that normalise with moving averages, and DP-SGD of growing noise;
- `:runlocal`: a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "sizes", "trained", "resnet18", "resnet18_moving", "defences", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the audit, or a variant: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(
        name="batch_norm_cnn",
        options=dict(width=32),
        epochs=0,
        learning_rate=1e-3,
        pixel_mean=0.45,
        pixel_std=0.25,
    )
    config.data = dict(name="cifar10", split="test", train_split="train", num_classes=10)
    config.threat_model = dict(
        batch_norm_mode="train",
        batch_norm_statistics="batch",
        labels="restored",
        batch_size="known",
    )
    config.attacks = dict(
        # GradInversion with the cosine form and signed steps: on networks this small the paper's
        # sum of norms needs many times the steps for the same images.
        gradinversion=dict(
            preset="gradinversion",
            num_steps=4000,
            num_seeds=1,
            gradient_form="cosine",
            gradient_weight=1.0,
            signed=True,
            tv_weight=1e-4,
            batch_norm_weight=1e-3,
            noise=0.0,
            group="none",
            label_method="min",
        ),
    )
    config.defences = dict(none=dict(name="none"))
    config.audit = dict(
        batch_sizes=(4,),
        num_batches=1,
        unique_labels=True,
        pool_size=256,
        seed=0,
        utility_steps=0,
    )
    attack = config.attacks.gradinversion
    if mode == "sizes":
        config.audit.batch_sizes = (1, 4, 8, 16)
        attack.label_method = "instance"  # 16 images of 10 classes repeat some
    elif mode == "trained":
        config.model.epochs = 3
    elif mode.startswith("resnet18"):
        config.model.update(name="resnet18", options=dict(width=64))
        attack.update(recipes.deep_attack())
        attack.num_steps = 1000
        if mode == "resnet18_moving":
            config.threat_model.update(batch_norm_mode="eval", batch_norm_statistics="moving")
            _whitened(attack)
    elif mode == "defences":
        config.threat_model.update(batch_norm_mode="eval", batch_norm_statistics="moving")
        attack.batch_norm_weight = 0.0  # moving averages of a new network say nothing
        config.defences = dict(
            none=dict(name="none"),
            **{
                f"privacy_{number}": dict(name="dp_sgd", clip_norm=1.0, noise_multiplier=sigma)
                for number, sigma in enumerate((0.001, 0.01, 0.1, 1.0))
            },
        )
        config.audit.utility_steps = 200
    elif mode == "runlocal":
        attack.num_steps = 300
        config.model.options.width = 16
        config.audit.batch_sizes = (2,)
    return config


def _whitened(attack):
    """Without batch norm what images share is nearly all of a gradient: weigh it less."""
    attack.update(
        num_steps=500,
        gradient_form="whitened",
        metric_damping=0.01,
        late_kernels=1.0,
        relu_width=0.3,
        batch_norm_weight=0.0,  # moving averages of a new network say nothing
        learning_rate=0.4,
        beta_2=0.999,
    )
