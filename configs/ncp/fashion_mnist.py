r"""NCP-VAE on Fashion-MNIST, over an NVAE trained by configs/nvae/fashion_mnist.py.

The paper has no number for this data set; the recipe is the one for MNIST.

    tfgen-train --config=configs/ncp/fashion_mnist.py --config.vae=runs/fashion-mnist \
        --workdir=runs/fashion-mnist-ncp
    tfgen-evaluate --workdir=runs/fashion-mnist-ncp

`:cpu` fits the NVAE of configs/nvae/fashion_mnist.py:cpu and two cores; `:runlocal` shows every
step of the same program in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.over_vae()
    config.model = dict(
        name="ncp", width=64, num_cells=2, num_proposals=500, chunk_size=64, num_negatives=1
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="fashion_mnist", batch_size=200, held_out=0.05)
    config.optimizer = recipes.adamw()
    config.training = recipes.training(epochs=50)
    config.evaluation = recipes.evaluation(batch_size=50)
    if mode:
        # Dense classifiers see in minutes what convolutions over 7,040 latents, most of them noise,
        # do not see in an hour.
        config.model.update(width=160, num_directions=32, num_proposals=64)
        config.data.batch_size = 64
        config.optimizer.weight_decay = 1e-2
        config.training.update(epochs=10)
        config.evaluation.update(num_images=1000, num_importance_samples=10)
    if mode == "runlocal":
        config.model.update(width=16, num_proposals=16)
        config.training.update(epochs=2, steps_per_epoch=20, report_steps=10)
        config.evaluation.update(num_images=100, num_importance_samples=2)
    return config
