r"""What is foreign to a trained model: whole data sets by AUROC, or images of a folder one by one.

tfgen-detect --workdir=runs/vaebm --data_dir=data --others=mnist,omniglot,interpolations
tfgen-detect --workdir=runs/detector --images=photographs

Scores are larger for what is further from the data: `nelbo` (the VAE's bound), `energy` (E alone)
and `score` (minus the unnormalised log-density, bound and energy together) of a VAEBM, `nelbo` of
other generators. `interpolations` are the means of pairs of test images.

With --images every image below a folder is scored, in a CSV file of its name, its score and whether
it is accepted. A detector has a threshold of its own; a generator's is set by images like its own
that it has not seen, such that --acceptance of them are accepted.
"""

from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED
from tfgen.errors import UserError

OTHERS = flags.DEFINE_list("others", ["interpolations"], "Data sets to tell from, by name.")
IMAGES = flags.DEFINE_string("images", None, "Folder of images to score, one by one.")
ACCEPTANCE = app.finite(
    flags.DEFINE_float(
        "acceptance", 0.95, "Share of its own images that a generator accepts.", 1e-6, 1.0 - 1e-6
    )
)
INTERPOLATIONS = "interpolations"
TABLE = "detection.csv"


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    if IMAGES.value is None:
        tell_data_apart()
    elif flags.FLAGS["others"].present:
        raise UserError(
            "--images scores a folder and --others compares data sets; give one of them"
        )
    else:
        judge_folder()


def judge_folder() -> None:
    """A row of a table for every image of a folder."""
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.runs import folder_detection as detection
        from tfgen.runs.detection import load_images

        loaded = loading.load()
    config, model = loaded.config, loaded.generator
    if flags.FLAGS["acceptance"].present and detection.answers_score(model):
        raise UserError(
            f"{loaded.name} has a threshold of its own, which --acceptance would not change; leave "
            "it out, or train with another config.model.acceptance"
        )
    model = model.frozen() if hasattr(model, "frozen") else model
    options = {"batch_size": BATCH_SIZE.value or 100, "seed": SEED.value}
    source, names = detection.folder_source(IMAGES.value, model.image_shape)
    height, width, _ = model.image_shape
    terminal.say(f"{len(source):,} images of {source.name}, brought to {height}x{width} pixels")
    for note in source.notes:
        terminal.say(note)
    judged = detection.judge(model, config, source, **options)
    if judged.accepted is None and config["data"] is not None:
        name, count = config["data"]["name"], NUM_IMAGES.value or 1000
        own = load_images(config, name, app.DATA_DIR.value, count, SEED.value)
        own_scores = detection.scores_of_generator(model, own.pixels, **options)
        judged, threshold = detection.with_threshold(judged, own_scores, ACCEPTANCE.value)
        terminal.say(
            f"threshold {threshold:.6g}, up to which {ACCEPTANCE.value:.4g} of images like {name} "
            f"({own.extent}) are accepted"
        )
    path = loading.output_or(loaded.workdir.path / TABLE)
    detection.write_table(path, names, judged)
    if judged.accepted is None:
        terminal.say(f"{loaded.name} does not say what data it was trained on: no threshold")
    else:
        terminal.say(f"accepted: {int(judged.accepted.sum()):,} of {len(source):,} images")
    terminal.say(f"scores: {path}")


def tell_data_apart() -> None:
    """AUROC of a generator's scores against other data sets."""
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
