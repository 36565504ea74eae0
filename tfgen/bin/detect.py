r"""How well a trained generator tells its own data from others: AUROC of its scores.

tfgen-detect --workdir=runs/vaebm --data_dir=data --others=mnist,omniglot,interpolations

Scores are larger for what is further from the data: `nelbo` (the VAE's bound), `energy` (E alone)
and `score` (minus the unnormalised log-density, bound and energy together) of a VAEBM, `nelbo` of
other generators. `interpolations` are the means of pairs of test images.
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED
from tfgen.errors import UserError

OTHERS = flags.DEFINE_list("others", ["interpolations"], "Data sets to tell from, by name.")
INTERPOLATIONS = "interpolations"


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.metrics import auroc
        from tfgen.runs.detection import Images, load_images, mean_of_pairs, scores

        loaded = loading.load_generator()
    config, generator = loaded.config, loaded.generator.frozen()
    if config["data"] is None:
        raise UserError(f"{loaded.name} does not say what data it was trained on; add them to it")
    name, count = config["data"]["name"], NUM_IMAGES.value or 1000
    batch_size = BATCH_SIZE.value or config["evaluation"]["batch_size"]

    def interpolated(images):
        means = mean_of_pairs(images.pixels, SEED.value)
        return Images(means, f"{len(means):,} means of pairs")

    def load(data_name):
        return load_images(config, data_name, app.DATA_DIR.value, count, SEED.value)

    own = load(name)
    known = scores(generator, own.pixels, SEED.value, batch_size)
    results, extents = {}, {}
    for other in OTHERS.value:
        images = interpolated(own) if other == INTERPOLATIONS else load(other)
        unknown = scores(generator, images.pixels, SEED.value, batch_size)
        results[other] = {key: auroc(known[key], unknown[key]) for key in known}
        extents[other] = images.extent
        row = "  ".join(f"{key} {value:.3f}" for key, value in results[other].items())
        terminal.say(f"{name} ({own.extent}) against {other} ({images.extent}): {row}")
    loaded.workdir.write_metrics(
        "detection", {"data": name, "images": own.extent, "others": extents, "auroc": results}
    )
    terminal.say(f"numbers: {loaded.workdir.metrics_path}")


def run() -> None:
    """The console script."""
    app.run("tfgen-detect", main)


if __name__ == "__main__":
    run()
