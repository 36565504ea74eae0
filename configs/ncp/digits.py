r"""NCP-VAE on scikit-learn's handwritten digits, over an NVAE trained by configs/nvae/digits.py.

    tfgen-train --config=configs/nvae/digits.py --workdir=runs/digits
    tfgen-train --config=configs/ncp/digits.py --config.vae=runs/digits --workdir=runs/digits-ncp
    tfgen-evaluate --workdir=runs/digits-ncp

`:runlocal` shows every step of the same program in half a minute.
"""

from ml_collections import config_dict

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.vae = config_dict.placeholder(str)  # a preset, or the workdir of a trained NVAE
    config.model = dict(
        name="ncp", width=32, num_cells=1, num_proposals=100, chunk_size=64, num_negatives=1
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="digits", batch_size=64, held_out=0.1)
    config.optimizer = dict(
        name="adamw",
        learning_rate=1e-3,
        warmup_epochs=1,
        final_learning_rate=1e-5,
        weight_decay=1e-4,
        epsilon=1e-7,
        ema_momentum=0.99,
    )
    config.training = dict(
        epochs=20,
        steps_per_epoch=config_dict.placeholder(int),  # none: one pass over the data
        report_steps=10,
        seed=0,
        max_minutes=config_dict.placeholder(float),
    )
    config.evaluation = dict(
        split="test",
        num_images=config_dict.placeholder(int),  # none: the whole split
        num_importance_samples=10,
        batch_size=50,
    )
    if mode == "runlocal":
        config.model.update(width=8, num_proposals=16)
        config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
        config.evaluation.update(num_images=64, num_importance_samples=2, batch_size=32)
    return config
