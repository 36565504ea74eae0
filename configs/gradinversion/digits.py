r"""Audit of a small classifier of scikit-learn's digits: every attack, every defence. No network.

    tfgen-audit --config=configs/gradinversion/digits.py --workdir=runs/digits-audit

`:runlocal` shows the same report in about a minute, with budgets too small for strong words:

    tfgen-audit --config=configs/gradinversion/digits.py:runlocal --workdir=runs/digits-local
"""

from ml_collections import config_dict

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the audit, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(name="small_cnn", options=dict(width=16), epochs=0)
    config.data = dict(name="digits", split="test", train_split="train", num_classes=10)
    config.threat_model = dict(
        batch_norm_mode="eval",
        batch_norm_statistics="none",
        labels="restored",
        batch_size="known",
    )
    shared = dict(num_steps=1500, warmup_steps=0, initial_std=0.1)
    config.attacks = dict(
        gradinversion=dict(
            preset="gradinversion",
            num_seeds=2,
            gradient_weight=1.0,
            tv_weight=0.0,
            l2_weight=0.0,
            noise=0.0,
            group="none",
            **shared,
        ),
        inverting_gradients=dict(preset="inverting_gradients", tv_weight=1e-4, **shared),
        dlg=dict(preset="dlg", initial_std=0.1),
    )
    config.defences = dict(
        none=dict(name="none"),
        clipping=dict(name="clipping", max_norm=0.1),
        noise=dict(name="noise", relative_std=1.0),
        pruning=dict(name="pruning", keep_fraction=0.1),
        sign=dict(name="sign"),
        quantization=dict(name="quantization", num_bits=8),
        aggregation=dict(name="aggregation", num_clients=4),
        weak_privacy=dict(name="dp_sgd", clip_norm=1.0, noise_multiplier=0.01),
        privacy=dict(name="dp_sgd", clip_norm=1.0, noise_multiplier=1.0),
    )
    config.audit = dict(
        batch_sizes=(4,),
        num_batches=2,
        unique_labels=True,
        pool_size=256,
        seed=0,
        utility_steps=200,
    )
    if mode == "runlocal":
        config.attacks = dict(gradinversion=config.attacks.gradinversion.to_dict())
        config.attacks.gradinversion.update(num_steps=300, num_seeds=1)
        config.defences = dict(
            none=dict(name="none"),
            pruning=dict(name="pruning", keep_fraction=0.1),
            privacy=dict(name="dp_sgd", clip_norm=1.0, noise_multiplier=1.0),
        )
        config.audit.update(num_batches=1, batch_sizes=(2,), utility_steps=0)
    return config
