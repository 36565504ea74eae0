r"""Scores a trained generator and draws what it does.

tfgen-evaluate --workdir=runs/digits
tfgen-evaluate --workdir=runs/mnist --data_dir=data --num_importance_samples=1000 --split=test
tfgen-evaluate --workdir=runs/cifar10 --num_samples=50000 --extractor=inception_v3
"""

import dataclasses
import functools
from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.bin.drawing import BATCH_SIZE, NUM_IMAGES, SEED
from tfgen.errors import UserError

SPLIT = flags.DEFINE_string("split", None, "Default: the configuration's evaluation.split.")

# Fields of evaluators (see tfgen.runs.evaluators); the configuration's evaluation section has them
# as well.
NUM_IMPORTANCE_SAMPLES = flags.DEFINE_integer(
    "num_importance_samples", None, "Posterior samples of every image (K).", lower_bound=1
)
TEMPERATURES = flags.DEFINE_list(
    "temperatures", None, "One grid of samples each; default: 0.7, 0.85 and 1."
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "Samples to compare with real images; default: none.", lower_bound=0
)
EXTRACTOR = flags.DEFINE_string(
    "extractor",
    None,
    "Of features: inception_v3 (the default), its weights' path, or a .keras file.",
)
QUALITY_TEMPERATURE = app.finite(
    flags.DEFINE_float("quality_temperature", None, "Of those samples; 1.", lower_bound=0.0)
)
REFERENCE_SPLIT = flags.DEFINE_string(
    "reference_split", None, "Real images to compare with; default: train."
)
PICTURES = flags.DEFINE_bool("pictures", None, "Whether to draw; default: yes.")
_FIELDS = (
    NUM_IMPORTANCE_SAMPLES,
    TEMPERATURES,
    NUM_SAMPLES,
    EXTRACTOR,
    QUALITY_TEMPERATURE,
    REFERENCE_SPLIT,
    PICTURES,
)


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    given = {flag.name: flag.value for flag in _FIELDS if flag.value is not None}
    if "temperatures" in given:
        given["temperatures"] = tuple(app.numbers("temperatures", given["temperatures"]))
    with terminal.quiet_import(app.DEBUG.value):
        loaded = loading.load(in_parts=True)
    subject = subject_of(loaded)
    evaluators = evaluators_of(loaded.config, given)
    for evaluator in evaluators:
        evaluator.check(subject)
    name, scored = loaded.config["data"]["name"], subject.source()
    terminal.say("\n  ".join((f"scoring {name}: {scored.extent}", *scored.notes)))
    found = {"data": name, "split": subject.split, "images": scored.extent}
    for evaluator in evaluators:
        measured = evaluator.measure(subject, found)
        if not measured:
            continue
        found |= measured if evaluator.record is None else {evaluator.record: measured}
        # What took an hour is on the disk before the next hour begins.
        loaded.workdir.write_metrics(subject.split, found)
        terminal.say("\n".join(evaluator.lines(measured)))
    terminal.say(f"numbers: {loaded.workdir.metrics_path}")


def subject_of(loaded: loading.Loaded):
    """What is evaluated, as the flags say.

    Raises:
        UserError: the model does not say what data it was trained on, or they are not there.
    """
    from tfgen.runs.evaluators import Subject
    from tfgen.runs.experiment import evaluation_pipeline, load_source
    from tfgen.systems.registry import find_system

    config, model = loaded.config, loaded.generator
    if config["data"] is None:
        raise UserError(f"{loaded.name} does not say what data it was trained on; add them to it")
    section, base = config["evaluation"], find_system(config["model"]["name"]).base
    split = SPLIT.value or section["split"]
    load = functools.cache(functools.partial(load_source, config, app.DATA_DIR.value))
    size = len(load(split))
    return Subject(
        model=model,
        served=_frozen(model),
        base=None if base is None else _frozen(getattr(model, base.argument)),
        config=config,
        split=split,
        num_images=min(NUM_IMAGES.value or section["num_images"] or size, size),
        batch_size=BATCH_SIZE.value or section["batch_size"],
        seed=SEED.value,
        folder=loading.output_or(loaded.workdir.samples),
        load=load,
        batches=lambda *arguments: evaluation_pipeline(config, *arguments),
        progress=terminal.progress,
    )


def evaluators_of(config, given) -> list:
    """The evaluators of a system, with the options of its configuration and those given.

    Raises:
        UserError: an option that none of them has.
    """
    from tfgen.runs.evaluators import EVALUATORS
    from tfgen.systems.registry import find_system

    evaluators, known = [], set()
    for name in find_system(config["model"]["name"]).evaluators:
        fields = {field.name for field in dataclasses.fields(EVALUATORS[name])}
        options = {**config["evaluation"], **given}
        evaluators.append(EVALUATORS[name](**{k: options[k] for k in fields if k in options}))
        known |= fields
    for name in given:
        if name not in known:
            raise UserError(f"--{name} means nothing to {config['model']['name']!r}")
    return evaluators


def _frozen(model):
    return model.frozen() if hasattr(model, "frozen") else model


def run() -> None:
    """The console script."""
    app.run("tfgen-evaluate", main)


if __name__ == "__main__":
    run()
