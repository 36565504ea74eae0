r"""NCP-VAE on dynamically binarised MNIST, over an NVAE trained by configs/nvae/mnist.py.

The paper reports 78.67 to 78.10 nats for a ten-group NVAE; its classifiers' sizes are not public.

    tfgen-train --config=configs/ncp/mnist.py --config.vae=runs/mnist --workdir=runs/mnist-ncp
    tfgen-evaluate --workdir=runs/mnist-ncp

`:cpu` fits the NVAE of configs/nvae/mnist.py:cpu and two cores; `:runlocal` shows every step of the
same program in a few minutes.
"""

from ml_collections import config_dict

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.vae = config_dict.placeholder(str)  # a preset, or the workdir of a trained NVAE
    config.model = dict(
        name="ncp", width=64, num_cells=2, num_proposals=500, chunk_size=64, num_negatives=1
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="mnist", batch_size=200, held_out=0.05)
    config.optimizer = dict(
        name="adamw",
        learning_rate=1e-3,
        warmup_epochs=1,
        final_learning_rate=1e-5,
        weight_decay=1e-4,
        epsilon=1e-7,
        ema_momentum=0.999,
    )
    config.training = dict(
        epochs=50,
        steps_per_epoch=config_dict.placeholder(int),  # none: one pass over the data
        report_steps=50,
        seed=0,
        max_minutes=config_dict.placeholder(float),
    )
    config.evaluation = dict(
        split="test",
        num_images=config_dict.placeholder(int),  # none: the whole split
        num_importance_samples=100,
        batch_size=50,
    )
    if mode:
        # Dense classifiers see in minutes what convolutions over 7,040 latents, most of them noise,
        # do not see in an hour.
        # The groups below the second gain nothing: their conditional priors fit.
        config.model.update(width=160, num_directions=32, refined_groups=2, num_proposals=64)
        config.data.batch_size = 64
        config.optimizer.weight_decay = 1e-2
        config.training.update(epochs=20)
        config.evaluation.update(num_images=1000, num_importance_samples=10)
    if mode == "runlocal":
        config.model.update(width=16, num_proposals=16)
        config.training.update(epochs=2, steps_per_epoch=20, report_steps=10)
        config.evaluation.update(num_images=100, num_importance_samples=2)
    return config
