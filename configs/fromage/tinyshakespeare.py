r"""A causal transformer over letters of Shakespeare: Fromage's default against five rates of Adam.

    tools/optimizer_study --config=configs/fromage/tinyshakespeare.py --workdir=runs/letters \
        --data_dir=FOLDER_OF_TINYSHAKESPEARE_TXT

`:cpu` is smaller and takes 20 minutes on one core; `:runlocal` shows the program in one:

    tools/optimizer_study --config=configs/fromage/tinyshakespeare.py:runlocal \
        --workdir=runs/letters-local --data_dir=FOLDER_OF_TINYSHAKESPEARE_TXT
"""

from ml_collections import config_dict

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the study, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(name="transformer", width=128, num_heads=4, context=64, depths=(4,))
    config.data = dict(name="text:tinyshakespeare.txt", batch_size=64)
    config.optimizer = dict(
        fromage=dict(learning_rates=(0.01,)),
        adam=dict(learning_rates=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    )
    config.training = dict(
        epochs=20,
        steps_per_epoch=250,
        decay=0.8,  # of the rate, after every epoch
        steps_per_execution=50,
        jit_compile=False,
        seed=0,
    )
    config.evaluation = dict(split="test", batch_size=64)
    if mode:
        config.model.update(width=64, num_heads=2, context=32, depths=(2,))
        config.data.batch_size = 32
    if mode == "runlocal":
        config.training.update(epochs=2, steps_per_epoch=20, steps_per_execution=20)
        config.optimizer.adam.learning_rates = (1e-3,)
    return config
