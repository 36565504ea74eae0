r"""Chooses what a detector learns from, by in-distribution images alone; the same command goes on.

tfgen-select --config=configs/ood/digits.py --workdir=runs/selection
tfgen-select --config=configs/ood/fashion_mnist.py:cpu --workdir=runs/selection \
    --max_images=6000 --epochs=5 --pool=rotation,translation,cutout,blur
tfgen-select --config=configs/ood/digits.py --dry_run

The recipe says the data, the backbone, and whether there are classes. Writes `selection.json` and
`selection.md` (difficulties, sets that were tried, weights, and the reason for each choice),
`weights.png`, and `recipe.py`, with which tfgen-train trains the detector.
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, terminal
from tfgen.bin.recipe import CONFIG, DRY_RUN
from tfgen.errors import UserError

POOL = flags.DEFINE_list(
    "pool",
    ["rotation", "translation", "blur", "sharpen", "color_jitter", "noise", "cutout"],
    "Transformations to choose from.",
)
EPOCHS = flags.DEFINE_integer("epochs", 15, "Of each short training.", lower_bound=1)
MAX_IMAGES = flags.DEFINE_integer(
    "max_images", None, "Training images looked at, drawn at random; default: all.", lower_bound=20
)
NUM_TRIALS = flags.DEFINE_integer(
    "num_trials", 30, "Sets tried where there are more than 64.", lower_bound=1
)
LEARN_WEIGHTS = flags.DEFINE_bool("learn_weights", True, "Whether tasks get weights of their own.")


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    if CONFIG.value is None:
        raise UserError("--config is missing; for example --config=configs/ood/digits.py")
    if not POOL.value:
        raise UserError("--pool is empty; name the transformations to choose from")
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.files.json_file import to_json
        from tfgen.runs.selecting import Selecting
        from tfgen.runs.workdir import Workdir
        from tfgen.training import keep_freed_memory

    keep_freed_memory()
    selecting = Selecting(CONFIG.value, POOL.value, MAX_IMAGES.value, app.DATA_DIR.value)
    options = dict(epochs=EPOCHS.value, num_trials=NUM_TRIALS.value, learn=LEARN_WEIGHTS.value)
    if DRY_RUN.value:
        print(to_json(selecting.plan(**options)))
        return
    if app.WORKDIR.value is None:
        raise UserError("--workdir is missing; for example --workdir=runs/selection")
    workdir = Workdir(app.WORKDIR.value)
    workdir.refuse_run("a choice of transformations")
    folder = workdir.path
    selecting.run(folder, terminal.say, **options)
    terminal.say(f"next: tfgen-train --config={folder / 'recipe.py'} --workdir=FOLDER")


def run() -> None:
    """The console script."""
    app.run("tfgen-select", main)


if __name__ == "__main__":
    run()
