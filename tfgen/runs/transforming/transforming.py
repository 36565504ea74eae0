"""A transformation from the network to the report, phase after phase; read it top to bottom.

teacher.keras   the network that is made fast, of images in [0, 1]
teacher/        its training, as tfgen-train keeps it, where it was trained here
teacher_int8.tflite   the network in int8 as it came, for comparison
library/        candidates of every layer, their scores and latencies; in runs_of_2/ and so on
                those of layers in a row, where `config.plan.grouping` wants them
student/        what came of it, named by `config.plan.name`:
  plans.json        the plans, each with the loss of its whole network
  start.keras       the network of the best one, not yet trained as a whole
  config.json, checkpoints/   its training, as tfgen-train keeps it
  student.keras     the result
  float32.tflite, int8.tflite
  report.json, report.md, plan.png, front.png
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfgen.data import Source
from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json, write_json
from tfgen.runs.config import differences
from tfgen.runs.data_record import DataRecord
from tfgen.runs.experiment import load_source, set_aside, training_pipeline
from tfgen.runs.transforming import measured, networks, report
from tfgen.runs.transforming.config import DEFAULTS, is_trained_here
from tfgen.runs.transforming.records import Record, digest
from tfgen.runs.workdir import Workdir
from tfgen.search import latency
from tfgen.search.hant import (
    HANT,
    CutNetwork,
    Grouping,
    NetworkClassifier,
    Plan,
    coarser,
    full_pool,
    small_pool,
)
from tfgen.search.hant.grouping import run_boundaries
from tfgen.search.hant.library import UNTRAINED
from tfgen.search.hant.planner import Planner
from tfgen.search.hant.pool import checked_pool, possible, with_teacher

# What a student is of: its folder is of no other one.
_OF_STUDENT = ("pool", "scores", "latency", "plan")
_POOLS = {"small": small_pool, "full": full_pool, "skip": lambda: [{"family": "identity"}]}

Progress = Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]


@contextlib.contextmanager
def unseen(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that nobody sees."""
    del title, total
    yield lambda done: None


class Transforming:
    """A configured transformation, ready to run.

    Args:
        config: dict, complete.
        workdir: `Workdir` of the run; None where nothing is to be run.
        data_dir: path of the folder with data sets; None looks where data sets usually are.
        say: function that is told a line. Defaults to `print`.
        progress: function of a title and a total to a context manager, which yields a function of
            how much is done; by default nothing is shown.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        workdir: Workdir | None = None,
        data_dir: str | None = None,
        say: Callable[[str], None] = print,
        progress: Progress = unseen,
    ):
        self.config, self.workdir, self.data_dir = config, workdir, data_dir
        self.say, self.progress = say, progress

    # -- the plan of the run -----------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        """What is going to run, in plain values; nothing is loaded but a file of a network."""
        network = networks.initial_network(self.config, with_weights=False)
        cut = CutNetwork(network, self.config["pool"]["boundaries"])
        operations = checked_pool(self._pool())
        rows = [
            {
                "layer": segment.name,
                "input": list(segment.input.shape[1:]),
                "output": list(segment.output.shape[1:]),
                "parameters": cut.layer(number).count_params(),
                "operations": sum(possible(o, segment) for o in operations.values()),
            }
            for number, segment in enumerate(cut.segments)
        ]
        untrained = sum(o["family"] not in UNTRAINED for o in operations.values())
        sizes = self._sizes(len(rows))
        runs = sum(len(run_boundaries(cut, size)) - 1 for size in sizes)
        return {
            "network": network.name,
            "parameters": network.count_params(),
            "image_shape": list(network.inputs[0].shape[1:]),
            "trained_here": is_trained_here(self.config),
            "layers": rows,
            "runs_of_layers": runs,
            "candidates": untrained * (len(rows) + runs),
            "networks": float(np.prod([float(row["operations"]) for row in rows])),
            "data": self.config["data"]["name"],
            "backend": self.config["latency"]["backend"],
            **{k: self.config["plan"][k] for k in ("budget", "budget_ms", "num_plans")},
        }

    def _sizes(self, num_layers):
        """The layers in a row for which there are candidates as well."""
        return range(2, min(self.config["plan"]["grouping"], num_layers) + 1)

    def _pool(self):
        section = self.config["pool"]
        given = section["operations"]
        return with_teacher(_POOLS[section["name"]]() if given is None else given)

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """The transformation, and what `report.json` keeps of it.

        Raises:
            UserError: a budget that cannot be met; data that do not fit; another process transforms
                in the same folder.
            Stopped: a signal arrived; what was found until then is kept.
        """
        with self.workdir.claimed():
            self._begin()
            planner, source, held_out = self.prepared()
            compared = self.some(held_out, self.config["plan"]["num_images"])
            chosen = self.choose(planner, *compared)
            student = self.fine_tune(planner, chosen, compared[0])
            return self.finish(planner, chosen, student, source)

    def prepared(self) -> tuple[Planner, Source, Source]:
        """Candidates that are trained, scored and measured; images to learn from, and others."""
        teacher, section = self.teacher(), self.config["pool"]
        source, held_out = self.images(teacher)
        folder = self.workdir.path / "library"
        hant = HANT(teacher, folder, self._pool(), section["boundaries"], section["activation"])
        sizes = self._sizes(len(hant.library.network.segments))
        grouping = Grouping(hant, [coarser(hant, size) for size in sizes])
        for each, size in zip(grouping.cuts, (1, *sizes)):
            self.distil(each, source, size)
            self.score(each, source)
        self.measure(grouping)
        return (grouping if sizes else hant), source, held_out

    def _begin(self):
        """The folder says what it is of, before anything is found."""
        self.workdir.write_config(self.config)
        known = self.student / "transformation.json"
        sections = {name: self.config[name] for name in _OF_STUDENT}
        if known.is_file():
            before = read_json(known, ConfigError)  # perhaps without fields there are by now
            before = {name: {**DEFAULTS[name], **before.get(name, {})} for name in _OF_STUDENT}
            changed = differences(before, sections, _OF_STUDENT)
            if changed:
                raise ConfigError(
                    f"{self.student} holds what came of another plan ({'; '.join(changed)}); "
                    "choose another config.plan.name, and it shares the library"
                )
        else:
            write_json(known, sections)

    @property
    def student(self) -> Path:
        """The folder of what comes of it."""
        return self.workdir.path / self.config["plan"]["name"]

    def teacher(self) -> keras.Model:
        """The network that is made fast."""
        kept = self.workdir.path / "teacher.keras"
        if not kept.is_file():
            network = networks.initial_network(self.config)
            if is_trained_here(self.config):
                config = networks.training_config(self.config, network, self.config["teacher"])
                folder = self.workdir.path / "teacher"
                network = networks.trained(folder, config, self.data_dir).network
            networks.save_network(network, kept)
        return networks.read_network(kept)

    def images(self, teacher: keras.Model) -> tuple[Source, Source]:
        """Images to learn from, and those of the training set by which plans are compared."""
        self.training = networks.training_config(self.config, teacher, self.config["fine_tuning"])
        source = load_source(self.training, self.data_dir)
        source.check_classes(teacher.outputs[0].shape[-1])
        record = DataRecord(self.workdir.path)
        if change := record.change(source):
            self.say(change)
        record.write(source)
        return set_aside(source, self.config["data"]["held_out"])

    def distil(self, hant: HANT, source: Source, size: int = 1) -> None:
        """Every candidate learns to do what its layer does.

        Args:
            hant: the `HANT`.
            source: `Source` of images to learn from.
            size: integer, how many layers of the network are one in this `HANT`. Defaults to `1`.
        """
        section, missing = self.config["distillation"], hant.library.missing()
        count = len(hant.library.network.segments)
        what = f"layer{'s' * (count != 1)}"
        if size > 1:
            what = f"run{'s' * (count != 1)} of {size} layers"
        self.say(f"{count} {what}, {len(missing)} candidates to train")
        if not missing:
            return
        data = {**self.training["data"], "batch_size": section["batch_size"]}
        pipeline = training_pipeline({**self.training, "data": data}, source)
        steps = (section["steps_per_epoch"] or pipeline.steps_per_epoch) * section["epochs"]
        batches = pipeline.dataset().map(lambda batch: batch["images"]).take(steps)
        with self.progress("training candidates", len(missing)) as advance:
            hant.distil(
                batches,
                epochs=1,  # all passes are in the data set
                learning_rate=section["learning_rate"],
                at_once=section["at_once"],
                seed=self.config["training"]["seed"],
                report=lambda done, total: advance(done),
            )

    def score(self, hant: HANT, source: Source) -> None:
        """What is lost where a candidate alone replaces its layer."""
        section, layers = self.config["scores"], len(hant.library.network.segments)
        images, labels = self.some(source, section["num_images"])
        with self.progress("scoring layers", layers) as advance:
            hant.score(
                images,
                labels,
                section["measure"],
                batch_size=section["batch_size"],
                report=lambda done, total: advance(done),
            )

    def some(self, source: Source, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Some images in [0, 1] with their labels, the same for the same seed."""
        part = source.take(min(count, len(source)), self.config["training"]["seed"])
        images = np.asarray(part.images[np.arange(len(part))], np.float32) / np.float32(255)
        return images, np.asarray(part.labels, np.int64)

    def measure(self, grouping: Grouping) -> None:
        """Milliseconds of every candidate and of the network: on this device, or out of a table."""
        section = self.config["latency"]
        options = {key: section[key] for key in ("calibrate", "num_runs", "repeat")}
        if section["table"] is not None:
            grouping.measure(latency.ReplayedBackend(section["table"]), **options | {"repeat": 0})
        else:
            fields = ("backend", "precision", "threads", "batch_size")
            name = "_".join(str(section[key]) for key in fields)
            num_timed = len(grouping.blocks()) + section["calibrate"]
            with self.progress("measuring latencies", num_timed) as advance:
                grouping.measure(
                    measured.backend_of(section),
                    grouping.library.folder / f"latency_{name}.json",
                    seed=self.config["training"]["seed"],
                    report=lambda done, total: advance(done),
                    **options,
                )
        if grouping.calibration is not None:
            self.say(f"latency: {grouping.calibration.describe()}")

    def budget_ms(self, planner: Planner) -> float:
        """Milliseconds that the whole network may take."""
        section = self.config["plan"]
        if section["budget_ms"] is not None:
            return float(section["budget_ms"])
        return float(section["budget"]) * planner.latency_ms

    def choose(self, planner: Planner, images: np.ndarray, labels: np.ndarray) -> Plan:
        """The plan whose whole network loses least on images that no candidate has learnt from.

        Every plan's loss is kept as soon as it is known, and what was once begun with stays chosen.
        """
        section, budget = self.config["plan"], self.budget_ms(planner)
        kept = self.student / "plans.json"
        if (self.student / "start.keras").is_file():
            return _plan(read_json(kept)["found"]["chosen"])
        about = {
            **section,
            "budget_ms": budget,
            "tables": digest(*map(np.concatenate, planner.tables())),
        }
        record = Record(kept, about)
        found = record.read() or {"plans": [], "losses": []}
        if not found["plans"]:
            plans = planner.plans(
                budget,
                section["num_plans"],
                overlap=section["overlap"],
                patience=section["patience"],
                gap=section["gap"],
            )
            found["plans"] = [_plain(plan) for plan in plans]
        plans = [_plan(row) for row in found["plans"]]
        self.say(f"{len(plans)} plans within {budget:.4g} of {planner.latency_ms:.4g} ms")
        with self.progress("evaluating plans", len(plans)) as advance:
            for number in range(len(found["losses"]), len(plans)):
                found["losses"] += planner.best([plans[number]], images, labels)[2]
                record.write(found)
                advance(number + 1)
        best = int(np.argmin(found["losses"]))
        chosen, loss = plans[best], found["losses"][best]
        if section["refinements"]:
            # Solved again around the best, by scores that hold there.
            refined = planner.refine(
                chosen, budget, images, labels, "loss", rounds=section["refinements"]
            )
            found["refined"] = _plain(refined)
            found["refined_loss"] = planner.best([refined], images, labels)[2][0]
            chosen = refined if found["refined_loss"] < loss else chosen
        record.write({**found, "chosen": _plain(chosen)})
        return chosen

    def fine_tune(self, planner: Planner, chosen: Plan, images: np.ndarray) -> NetworkClassifier:
        """The network of a plan, trained as a whole on labels and on the teacher's answers."""
        start = self.student / "start.keras"
        if not start.is_file():
            # With moving statistics of its own: replaced layers shift what those behind them see.
            networks.save_network(planner.best([chosen], images)[1], start)
        student = self.taught(planner, networks.read_network(start), self.student)
        networks.save_network(student.network, self.student / "student.keras")
        return student

    def taught(
        self, planner: Planner, network: keras.Model, folder: Path, seed: int | None = None
    ) -> NetworkClassifier:
        """A network once it has learnt from labels and from the teacher, kept in a folder.

        Args:
            planner: the `Planner`.
            network: `keras.Model`, with the weights to begin with.
            folder: path of the run's folder.
            seed: integer, seed of the training; None is that of the transformation. Defaults to
                None.
        """
        whole = self.config
        if seed is not None:
            whole = {**whole, "training": {**whole["training"], "seed": seed}}

        def begin(model):
            model.network.set_weights(network.get_weights())
            model.learn_from(planner.library.network.network)

        config = networks.training_config(whole, network, whole["fine_tuning"])
        return networks.trained(folder, config, self.data_dir, begin)

    def finish(self, planner: Planner, chosen: Plan, student, source: Source) -> dict[str, Any]:
        """Files for devices, what they take and how often they are right, and the report.

        Args:
            planner: the `Planner`.
            chosen: the `Plan`.
            student: the `NetworkClassifier` that came of it.
            source: `Source` of the training images, some of which int8 is calibrated with.
        """
        devices = measured.Devices(
            self.config, self.student, planner.library.network.network, student
        )
        devices.write(lambda count: self.some(source, count), self.say)
        with self.progress("measuring latencies", devices.num_networks) as advance:
            times = devices.latencies(lambda done, total: advance(done))
        test = load_source(self.training, self.data_dir, self.config["evaluation"]["split"])
        with self.progress("classifying", devices.num_networks * len(test)) as advance:
            right = devices.accuracies(test, advance)
        return report.write(
            self.student, planner, chosen, self.budget_ms(planner), times, right, self.config
        )


def _plain(plan: Plan) -> dict[str, Any]:
    return {
        "choices": list(plan.choices),
        "score": plan.score,
        "latency_ms": plan.latency_ms,
        "optimal": plan.optimal,
    }


def _plan(row: Mapping[str, Any]) -> Plan:
    costs = {"latency": row["latency_ms"]}
    return Plan(tuple(row["choices"]), row["score"], costs, row["optimal"])
