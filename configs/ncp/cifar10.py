r"""NCP-VAE on CIFAR-10, over an NVAE with a Normal decoder (the paper: FID 51.71 to 24.08).

The paper's classifiers are not public: these sizes are our choice, as is M (it reports 5,000
for its best Fréchet distances, with little gain beyond 500).

    tfgen-train --config=configs/ncp/cifar10.py --config.vae=runs/cifar10 \
        --workdir=runs/cifar10-ncp --strategy=mirrored
    tfgen-evaluate --workdir=runs/cifar10-ncp

`:runlocal` shows every step of the same program over a small NVAE.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.over_vae()
    config.model = dict(
        name="ncp",
        width=128,
        num_cells=3,
        shared=True,
        num_proposals=500,
        chunk_size=64,
        num_negatives=1,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="cifar10", batch_size=256, held_out=0.05)
    config.optimizer = recipes.adamw()
    config.training = recipes.training(epochs=50)
    config.evaluation = recipes.evaluation(
        num_images=1000, num_importance_samples=10, batch_size=20
    )
    if mode == "runlocal":
        config.model.update(width=16, num_cells=1, num_proposals=16)
        config.data.batch_size = 16
        config.training.update(epochs=2, steps_per_epoch=5, report_steps=1)
        config.evaluation.update(num_images=20, num_importance_samples=2, batch_size=10)
    return config
