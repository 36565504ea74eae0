r"""Plain networks of 5 to 50 hidden layers on MNIST: SGD, Adam and Fromage at three rates each.

The paper's study of depth (arXiv:2002.03432): at 784 units a layer, batch 250 and 100 epochs, SGD
stays at chance from about 11 hidden layers on, Adam from about 23, and Fromage trains networks of
25 to 30.

    tools/optimizer_study --config=configs/fromage/mnist_depth.py --workdir=runs/depth

`:cpu` has narrow layers, small batches and one pass over the images; `:runlocal` shows the program
in a minute:

    tools/optimizer_study --config=configs/fromage/mnist_depth.py:runlocal --workdir=runs/shallow
"""

from ml_collections import config_dict

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the study, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(name="mlp", width=784, depths=(5, 10, 15, 20, 25, 30, 50))
    config.data = dict(
        name="mnist",
        batch_size=250,
        num_images=config_dict.placeholder(int),  # none: the whole split
    )
    config.optimizer = dict(
        fromage=dict(learning_rates=(0.1, 0.01, 0.001)),
        adam=dict(learning_rates=(1e-2, 1e-3, 1e-4)),
        sgd=dict(learning_rates=(1.0, 0.1, 0.01), momentum=0.9),
    )
    config.training = dict(
        epochs=100,
        steps_per_epoch=240,
        decay=0.95,  # of the rate, after every epoch
        steps_per_execution=60,
        jit_compile=False,
        seed=0,
    )
    config.evaluation = dict(split="test", batch_size=500)
    if mode:
        config.model.width = 64
        config.data.batch_size = 64
        # The rate ends where 100 epochs of the paper's schedule end.
        config.training.update(epochs=10, steps_per_epoch=120, decay=0.6)
    if mode == "runlocal":
        config.model.depths = (2, 20)
        config.training.update(epochs=2, steps_per_epoch=60)
    return config
