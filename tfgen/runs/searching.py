"""What `tfgen-search` does: a configuration in, the best architectures out."""

import csv
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data import Pipeline, load
from tfgen.errors import ConfigError, DataError
from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.ops.checks import one_of, whole_number
from tfgen.runs.data_record import DataRecord
from tfgen.runs.search_config import LATENCY, MEASURES
from tfgen.runs.workdir import Workdir
from tfgen.search.unas import UNAS, Criterion
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.latency import BlockSpace, CellSpace
from tfgen.search.unas.measures import COUNTS, count_of, read_measure
from tfgen.search.unas.parts import make_supernet
from tfgen.search.unas.phases import Phases, run_search
from tfgen.search.unas.pictures import draw_curves, draw_genotype
from tfgen.search.unas.weights import initialize
from tfgen.training import CheckpointManager, CSVLog, NonFiniteGuard, ProgressBar, TensorBoard


class Searching:
    """A configured search, ready to run.

    Args:
        config: dict, the configuration, completed.
        workdir: `Workdir` of the search; None where nothing is to be run.
        data_dir: path of the folder with data sets; None looks where data sets usually are.
        report: function that is told a line. Defaults to `print`.
        describe_only: whether it is only to say its `plan`: then no latency is measured. Defaults
            to `False`.

    Raises:
        UserError: whatever does not fit.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        workdir: Workdir | None = None,
        data_dir: str | None = None,
        report: Callable[[str], None] = print,
        describe_only: bool = False,
    ):
        self.config, self.workdir, self.report = config, workdir, report
        self._measures = not describe_only
        self._to_measure = {}  # of each latency, how many parts of networks are to be timed
        section = config["data"]
        supernet = make_supernet(config["model"]["supernet"])
        initialize(supernet, config["training"]["seed"])
        source = load(
            section["name"],
            section["split"],
            data_dir,
            image_size=_size_for(section["name"], supernet.image_shape),
            channels=supernet.image_shape[-1],
        ).take(section["num_images"], config["training"]["seed"])
        _check(source, supernet, section["name"])
        count = max(1, round(section["validation"] * len(source)))
        self.source, self.validation = source.split_off(count, config["training"]["seed"])
        self.steps_per_epoch = self._steps()
        self.model = UNAS(
            **{**config["model"], "supernet": supernet},
            criteria=[self._criterion(supernet, name) for name in config["criteria"]],
            seed=config["training"]["seed"],
        )

    def _steps(self) -> int:
        asked = self.config["training"]["steps_per_epoch"]
        steps = self._pipeline(self.source, True).steps_per_epoch if asked is None else asked
        size = self.config["data"]["batch_size"]
        if steps < 1 or len(self.validation) < size or len(self.source) < size:
            raise DataError(
                f"{self.config['data']['name']!r} leaves {len(self.source)} images for weights and "
                f"{len(self.validation)} for validation, fewer than a batch of {size}; lower "
                "config.data.batch_size"
            )
        return steps

    def _measure(self, supernet, fields, name):
        what = fields["measure"]
        if what in COUNTS:
            return count_of(supernet, what)
        if what != "latency":
            if not what.endswith(".json") and not Path(what).exists():
                one_of("the measure of a criterion", what, (*MEASURES, "the path of a JSON file"))
            return read_measure(what)
        return self._latency(supernet, fields, name)

    def _latency(self, supernet, fields, name):
        """Milliseconds of a space's parts, measured on this machine where the table lacks them."""
        from tfgen.search import latency

        kind = CellSpace if isinstance(supernet, CellSupernet) else BlockSpace
        known = inspect.signature(kind.__init__).parameters
        sizes = {k: v for k, v in supernet.get_config().items() if k in known and k != "name"}
        space = kind(**{**sizes, **(fields.get("network") or {})})
        options = {**LATENCY, **{k: v for k, v in fields.items() if k in LATENCY}}
        least, count = latency.LEAST_NETWORKS, whole_number("calibrate", options["calibrate"], 0)
        if 0 < count < least and options["backend"] != "replayed":
            raise ConfigError(
                f"calibrate is {count}; expected 0, or at least {least} whole networks, which say "
                "what sums of parts are worth"
            )
        table = self._table(space, options, name)
        milliseconds = space.latency(table)
        if not options["calibrate"] or name in self._to_measure:
            return milliseconds
        found = latency.calibration(table)
        self.report(f"latency: {found.describe()}")
        return milliseconds.times(found.factor)

    def _table(self, space, options, criterion):
        """What the parts of networks take: out of a table, or measured where it is missing.

        A plan is made with a table of nothing, and notes how many parts there are to measure.
        """
        from tfgen.search import latency

        name = one_of("the backend of a latency", options["backend"], latency.BACKENDS)
        if name == "replayed":
            if options["table"] is None:
                raise ConfigError(
                    "a replayed latency has no table; name the file that was measured"
                )
            return latency.LatencyTable.read(options["table"])
        path = options["table"]
        if path is None and self.workdir is not None:
            path = self.workdir.path / "latency.json"
        settings = {key: options[key] for key in ("threads", "batch_size", "precision")}
        backend = latency.BACKENDS[name](**settings)
        given = dict(
            reference=latency.REFERENCE if options["reference"] else None,
            networks=space.networks(options["calibrate"]),
        )
        if not self._measures:
            missing = latency.unmeasured(space.blocks, backend, path, **given)
            self._to_measure[criterion] = len(missing)
            nothing = {block.key: latency.Entry(0.0) for block in space.blocks}
            return latency.LatencyTable({}, nothing)
        self.report(f"latency: {len(space.blocks)} parts of networks, measured where it is missing")
        return latency.measure(space.blocks, backend, path, **given)

    def _criterion(self, supernet, name):
        fields = self.config["criteria"][name]
        own = {k: v for k, v in fields.items() if k not in LATENCY and k != "measure"}
        return Criterion(self._measure(supernet, fields, name), supernet.groups, name=name, **own)

    def _pipeline(self, source, augmented: bool):
        section, seed = self.config["data"], self.config["training"]["seed"]
        return Pipeline(
            source,
            section["batch_size"],
            seed=seed if augmented else seed + 1,
            flip=section["flip"] and augmented,
            crop_padding=section["crop_padding"] if augmented else None,
        )

    def batches(self, start_step: int = 0) -> tf.data.Dataset:
        """Training images with as many validation images, from a step on, without end.

        Args:
            start_step: integer, the number of the first batch. Defaults to `0`.
        """
        train = self._pipeline(self.source, True).dataset(start_step)
        validation = self._pipeline(self.validation, False).dataset(start_step)

        def joined(first, second):
            return first | {f"validation_{name}": value for name, value in second.items()}

        return tf.data.Dataset.zip(train, validation).map(joined)

    @property
    def phases(self) -> Phases:
        """How long the search is, and its learning rates."""
        section = self.config["training"]
        names = [field.name for field in dataclasses.fields(Phases) if field.name in section]
        options = {name: section[name] for name in names}
        return Phases(**{**options, "steps_per_epoch": self.steps_per_epoch})

    def plan(self) -> dict[str, Any]:
        """What is going to run, in plain values.

        Of a latency that is not in its table, `parts_to_measure` says how many parts of networks
        are timed before the search begins.
        """
        phases = self.phases
        return {
            **self.model.describe(),
            "data": self.config["data"]["name"],
            "images": len(self.source),
            "validation_images": len(self.validation),
            "batch_size": self.config["data"]["batch_size"],
            "steps_per_epoch": self.steps_per_epoch,
            "warmup_steps": phases.warmup_steps,
            "total_steps": phases.total_steps,
            **({"parts_to_measure": self._to_measure} if self._to_measure else {}),
        }

    def run(self) -> list[dict[str, Any]]:
        """The search, and what came of it, best first, as `genotypes.json` keeps it.

        Raises:
            UserError: a target cannot be reached; another process searches in the same folder.
            Stopped: a signal arrived; the state was saved first.
        """
        workdir, training = self.workdir, self.config["training"]
        with workdir.claimed():
            record = DataRecord(workdir.path)
            if change := record.change(self.source):
                self.report(change)
            workdir.write_config(self.config)
            record.write(self.source)
            csv_path = workdir.logs / "training.csv"
            every = training["report_steps"]
            run_search(
                self.model,
                self.batches,
                self.phases,
                CheckpointManager(workdir.checkpoints),
                [
                    NonFiniteGuard(training["max_consecutive_skips"], whole_run=False),
                    CSVLog(csv_path, every_steps=every),
                    TensorBoard(workdir.logs, every_steps=every),
                    ProgressBar(
                        self.phases.total_steps,
                        names=self._shown(),
                        total_epochs=self.phases.total_epochs,
                    ),
                ],
                self.report,
            )
            workdir.check_present()
            found = self.found(training["num_genotypes"])
            write_json(workdir.path / "genotypes.json", {"genotypes": found})
            draw_curves(_rows(csv_path), workdir.path / "curves.png")
            draw_genotype(_genotype(self.model, found[0]), workdir.path)
            self._write_recipe(found[0]["genotype"])
        return found

    def _shown(self):
        return (*self.model.progress_names, *(c.name for c in self.model.criteria))

    def found(self, count: int) -> list[dict[str, Any]]:
        """The best of the most probable architectures, as `UNAS.best` orders them.

        Args:
            count: integer, how many.
        """
        training = self.config["training"]
        pairs = self.batches(0).take(training["candidate_batches"])
        return [
            {
                "genotype": self.model.supernet.genotype(found.choices).to_config(),
                "log_prob": found.log_prob,
                "objective": found.objective,
                "meets_targets": self.model.meets_targets(found.choices),
                **self.model.measured(found.choices),
            }
            for found in self.model.best(count, training["num_candidates"], pairs)
        ]

    def _write_recipe(self, genotype):
        """A recipe with which `tfgen-train` trains what was found."""
        supernet = self.model.supernet
        kind = "blocks" if "blocks" in genotype else "cells"
        text = _RECIPE.format(
            kind=kind,
            genotype=genotype,
            data=self.config["data"]["name"],
            shape=tuple(supernet.image_shape),
            classes=supernet.num_classes,
            pixels={"pixel_mean": self.model.pixel_mean, "pixel_std": self.model.pixel_std},
        )
        with replace_file(self.workdir.path / "recipe.py") as temporary:
            temporary.write_text(text, encoding="utf-8")


_RECIPE = '''"""Trains what a search found: tfgen-train --config=recipe.py --workdir=FOLDER"""

from tfgen import recipes

MODES = recipes.SEARCHED_MODES


def get_config(mode=""):
    """Returns the recipe."""
    return recipes.searched(
        mode,
        {data!r},
        {genotype!r},
        image_shape={shape!r},
        num_classes={classes!r},
        kind={kind!r},
        model={pixels!r},
    )
'''


def _genotype(model: UNAS, row):
    kind = type(model.genotypes(1)[0])
    return kind.from_config(row["genotype"])


def _rows(path: Path) -> list[dict[str, float]]:
    """What was reported, without what is empty."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if value not in ("", None)}
            for row in csv.DictReader(file)
        ]


def _size_for(name: str, image_shape):
    """The size to bring images to that have none of their own."""
    return tuple(image_shape[:2]) if name.startswith(("folder:", "tfds:")) else None


def _check(source, supernet: keras.Model, name: str) -> None:
    if source.labels is None:
        raise DataError(f"{name!r} has no labels, which networks are searched by")
    if source.image_shape != tuple(supernet.image_shape):
        raise DataError(
            f"images of {name!r} have shape {source.image_shape}, but those of "
            f"config.model.supernet {tuple(supernet.image_shape)}; set one to the other"
        )
    least, most = int(np.min(source.labels)), int(np.max(source.labels))
    if most >= supernet.num_classes:
        raise DataError(
            f"{name!r} has labels up to {most}, but config.model.supernet.num_classes is "
            f"{supernet.num_classes}; expected at least {most + 1}"
        )
    if least < 0:
        raise DataError(f"{name!r} has labels from {least} on; expected 0 to {most - least}")
    if least == most:
        raise DataError(
            f"all images of {name!r} are of class {most}, which any network tells; expected at "
            "least two classes"
        )
