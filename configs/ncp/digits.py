r"""NCP-VAE on scikit-learn's handwritten digits, over an NVAE trained by configs/nvae/digits.py.

    tfgen-train --config=configs/nvae/digits.py --workdir=runs/digits
    tfgen-train --config=configs/ncp/digits.py --config.vae=runs/digits --workdir=runs/digits-ncp
    tfgen-evaluate --workdir=runs/digits-ncp

`:runlocal` shows every step of the same program in half a minute.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.ncp(
        "digits", batch_size=64, held_out=0.1, width=32, num_cells=1, num_proposals=100
    )
    config.optimizer = recipes.adamw(ema_momentum=0.99)
    config.training = recipes.training(epochs=20, report_steps=10)
    config.evaluation.num_importance_samples = 10
    if mode == "runlocal":
        config.model.update(width=8, num_proposals=16)
        config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
        config.evaluation.update(num_images=64, num_importance_samples=2, batch_size=32)
    return config
