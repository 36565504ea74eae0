"""Detectors and plain classifiers of equal trainings, over seeds, in one table.

    python tools/studies/ood.py --recipe=configs/ood/fashion_mnist.py --output=runs/ood-study \
        --data_dir=data --modes=cpu,plain_cpu --seeds=0,1,2 --generators=vaebm_fashion_mnist

Every mode of the recipe is trained from every seed, in a folder MODE-SEED of its own, as
tfgen-train would; then all its scores are measured on the same images, drawn at random, and again
with the in-distribution ones corrupted. Generators are presets, which are only measured. A row goes
to `study.json` when it is done, and the same command again does what is missing; then `study.md`
and `study.png` are written beside it. Nothing is chosen by the outliers.

`--others` are data sets, those of the recipe unless given; `svhn@train+test` takes both splits.
`--tasks` are the transformations that are learned of those of the recipe, all unless given.
`--classes=0,1,2` makes each the normal class in turn of a mode of one class, in a folder
MODE-classCLASS-SEED; tables then have means over classes, and deviations between seeds.
"""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ood_report
from absl import flags

from tfgen.bin import app, terminal
from tfgen.errors import UserError

RECIPE = flags.DEFINE_string("recipe", "configs/ood/digits.py", "The recipe's file.")
MODES = flags.DEFINE_list("modes", ["cpu", "plain_cpu"], "Its modes.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of weights and the order of the data.")
OTHERS = flags.DEFINE_list("others", None, "Data sets to tell from; default: the recipe's.")
TASKS = flags.DEFINE_list("tasks", None, "Transformations to learn; default: the recipe's.")
CLASSES = flags.DEFINE_list("classes", [], "Normal classes, one after another.")
EPOCHS = flags.DEFINE_integer("epochs", None, "Of a training; default: the mode's.", lower_bound=1)
GENERATORS = flags.DEFINE_list("generators", [], "Presets of generators with an ood_score.")
OUTPUT = flags.DEFINE_string("output", None, "The study's folder.")
NUM_IMAGES = flags.DEFINE_integer("num_images", 2000, "Of a set, at most.", lower_bound=20)
CORRUPTED = flags.DEFINE_integer(
    "corrupted", 300, "Images that are corrupted in every way; 0: none.", lower_bound=0
)

_FITTED_TO = 4096  # training images that scores are fitted to
_BATCH = 100


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    if OUTPUT.value is None:
        raise UserError("--output is missing; for example --output=runs/ood-study")
    seeds = [int(seed) for seed in app.numbers("seeds", SEEDS.value)]
    classes = [int(c) for c in app.numbers("classes", CLASSES.value)] or [None]
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.training import keep_freed_memory

    keep_freed_memory()
    folder = Path(OUTPUT.value)
    sets = [Sets(recipe(MODES.value[0], normal), OTHERS.value) for normal in classes]
    study = ood_report.Study.of(folder, settings(sets, classes))
    for seed, (normal, own), mode in itertools.product(seeds, zip(classes, sets), MODES.value):
        name = f"{mode}-{seed}" if normal is None else f"{mode}-class{normal}-{seed}"
        if name in study.rows:
            continue
        config = recipe(mode, normal)
        config.training.seed = seed
        model = trained(config, folder / name)
        study.add(name, {"mode": mode, "seed": seed, **measured(model, config, own)})
        terminal.say(f"{name}: {ood_report.line(study.rows[name])}")
    for name in GENERATORS.value:
        if name not in study.rows:
            study.add(name, {"mode": name, "seed": None, **generator_row(name, sets[0])})
            terminal.say(f"{name}: {ood_report.line(study.rows[name])}")
    terminal.say("\n".join(map(str, study.write())))


def recipe(mode: str, normal: int | None = None):
    """The configuration of a mode, with what the flags change; `normal` is its only class."""
    from tfgen.files.names import shown

    path = Path(RECIPE.value)
    if not path.is_file():
        raise UserError(f"--recipe: there is no file {shown(path)}")
    try:
        config = runpy.run_path(str(path))["get_config"](mode)
    except ValueError as error:
        raise UserError(f"--modes: {error}") from error
    if normal is not None:
        if "classes" not in config.data or config.model.num_classes is not None:
            raise UserError(f"--classes: the mode {mode!r} is not of one class")
        config.data.classes = (normal,)
    if EPOCHS.value is not None:
        config.training.epochs = EPOCHS.value
    if TASKS.value is not None and config.model.transformations:
        config.model.transformations = chosen(list(config.model.transformations))
    return config


def chosen(tasks: list) -> list:
    """Those of a recipe's transformations, names or dicts with one, that --tasks names."""
    names = [task if isinstance(task, str) else task["name"] for task in tasks]
    for name in TASKS.value:
        if name not in names:
            raise UserError(f"--tasks: {name!r} is none of the recipe's, {', '.join(names)}")
    return [task for name, task in zip(names, tasks) if name in TASKS.value]


def settings(sets, classes) -> dict[str, Any]:
    """What rows of a study have in common."""
    given = {"classes": None if classes == [None] else classes}
    given |= {"tasks": TASKS.value, "epochs": EPOCHS.value}
    found = sets[0].settings()
    if classes != [None]:
        found["in"] = f"each of {len(classes)} classes in turn, the first: {found['in']}"
    return found | {name: value for name, value in given.items() if value is not None}


class Sets:
    """Images that all models are measured on, drawn once.

    Args:
        config: the recipe's configuration, of any mode.
        others: list of data sets, with `@SPLIT+SPLIT` behind where it is not the test split; None:
            the recipe's.
    """

    def __init__(self, config, others):
        from tfgen.runs.config import complete

        self._config = complete(config)
        self.others = list(config.evaluation.others if others is None else others)
        self.inside = self._load(self._config["data"]["name"])
        self.outside = {text.partition("@")[0]: self._other(text) for text in self.others}

    def settings(self) -> dict[str, Any]:
        """Which images they are."""
        shape = "x".join(map(str, self.inside.image_shape))
        return {
            "recipe": RECIPE.value,
            "in": f"{self._config['data']['name']} ({shape}): {self.inside.extent}",
            "others": {
                name: sum(len(part) for part in parts) for name, parts in self.outside.items()
            },
            "corrupted": CORRUPTED.value,
        }

    def images(self) -> dict[str, Any]:
        """Images of the others by name."""
        import numpy as np

        return {
            name: np.concatenate([np.asarray(part.images[:]) for part in parts])
            for name, parts in self.outside.items()
        }

    def _other(self, text):
        name, _, splits = text.partition("@")
        return [self._load(name, split) for split in (splits or "test").split("+")]

    def _load(self, name, split="test"):
        from tfgen.runs.experiment import load_source

        whole = name == "other_classes"
        name = self._config["data"]["name"] if whole else name
        source = load_source(self._config, app.DATA_DIR.value, split, name, whole)
        return source.take(min(NUM_IMAGES.value, len(source)), 0)


def trained(config, folder: Path):
    """The model of a configuration after its training, which goes on where it was stopped."""
    import keras

    from tfgen.runs import fit, plan
    from tfgen.runs.config import complete
    from tfgen.runs.experiment import build_experiment
    from tfgen.runs.workdir import Workdir
    from tfgen.systems import presets

    keras.backend.clear_session()
    workdir = Workdir(folder)
    for change in workdir.compare(complete(config)):
        terminal.say(f"changed since this run began: {change}")
    experiment = build_experiment(config, data_dir=app.DATA_DIR.value)
    fit.train(experiment, workdir, plan.describe(experiment, "default", "float32"))
    return presets.from_preset(folder)


def measured(model, config, sets: Sets) -> dict[str, Any]:
    """AUROC and the like of every score of a model, and what corruptions do to them."""
    from tfgen.ood import Evaluator, measure_robustness, scores
    from tfgen.runs.config import complete
    from tfgen.runs.experiment import load_source

    train = load_source(complete(config), app.DATA_DIR.value)
    train = train.take(min(_FITTED_TO, len(train)), 0)
    options = dict(fit_data=train, in_name="in", batch_size=_BATCH, num_resamples=10)
    others, models = sets.images(), subjects(model, train)
    found = Evaluator(models, sets.inside, others, **options).evaluate()
    served = model.served_score if "detector" in models else "msp"
    row = {"served": served, "scores": numbers(found)}
    if "classifier" in found.classification:
        row |= {"accuracy": found.classification["classifier"]["accuracy"]}
    if CORRUPTED.value:
        few = [scores.MaxSoftmax(), scores.Energy(), scores.Mahalanobis(), scores.KNN()]
        evaluator = Evaluator(models, sets.inside, others, scores=few, **options)
        robustness = measure_robustness(evaluator, num_images=CORRUPTED.value)
        row["robustness"] = {label(r["model"], r["score"]): r for r in robustness.summary()}
    return row


def subjects(model, train) -> dict[str, Any]:
    """What is scored of a model: its own scores, its classifier, distances of its features."""
    from tfgen.ood import scores

    found = {"detector": model} if model.network.tasks else {}
    if model.num_classes:
        return {**found, "classifier": model.classifier()}
    distances = scores.Mahalanobis(1, normalised=True, name="ssd"), scores.KNN()
    return found | {each.name: Distance(model, each, train.images) for each in distances}


class Distance:
    """A score of the features of a model without classes, fitted to training images."""

    def __init__(self, model, score, images):
        self._model, self.image_shape = model, model.image_shape
        self._score = score.fit(model.outputs_of(images, levels=False))

    def ood_score(self, images):
        """`[N]`, larger is further."""
        return self._score(self._model.outputs_of(images, levels=False))


def generator_row(name: str, sets: Sets) -> dict[str, Any]:
    """The same of a preset that generates images, and of the VAE underneath where there is one."""
    import tfgen
    from tfgen.ood import Evaluator

    model = tfgen.from_preset(name)
    models = {"generator": model}
    if hasattr(model, "vae"):
        models["its vae"] = model.vae
    options = dict(in_name="in", batch_size=_BATCH, num_resamples=10)
    found = Evaluator(models, sets.inside, sets.images(), **options).evaluate()
    return {"served": "generator", "scores": numbers(found)}


def numbers(evaluation) -> dict[str, dict[str, Mapping[str, float]]]:
    """All numbers by score and set."""
    return {
        label(row.model, row.score): {k: v._asdict() for k, v in row.separation.items()}
        for row in evaluation.rows
    }


def label(model: str, score: str) -> str:
    """One word for a score: the model's where it has but one."""
    return model if score == "ood_score" else score


if __name__ == "__main__":
    app.run("ood", main)
