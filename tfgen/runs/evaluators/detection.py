"""How well a detector tells its own data from others, and how much of either it accepts."""

import dataclasses
from typing import ClassVar

import numpy as np

from tfgen.errors import ConfigError, DataError
from tfgen.runs.evaluators.base import Evaluator, images_of

OTHER_CLASSES = "other_classes"
_SEPARATOR = "; "
_FITTED_TO = 5000  # training images that scores are fitted to, at most


@dataclasses.dataclass(frozen=True)
class Detection(Evaluator):
    """AUROC and the like of every score, see `tfgen.ood.Evaluator`; writes `detection/`.

    A model with classes is measured twice: by its own scores, and its classifier alone by those
    that any classifier has.

    Attributes:
        others: tuple of data sets by name; "other_classes" are those of the data set trained on
            that were not trained on.
        near: tuple of those among them that are near to the data.
    """

    others: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    # In the card's table: for each number its model, score and set, "model/score/set" one by one.
    shown: ClassVar = {
        "auroc": list,
        "auroc_of": str,
        "num_images": float,
        "images": str | None,
    }

    def check(self, subject):
        if not self.others:
            raise ConfigError(
                "config.evaluation.others names no data set to tell from; name at least one"
            )
        if OTHER_CLASSES in self.others and subject.config["data"].get("classes") is None:
            raise ConfigError(
                f"config.evaluation.others has {OTHER_CLASSES!r}, but config.data.classes is not "
                "set: the model was trained on all classes"
            )
        for name in self.others:
            self._other(subject, name)

    def measure(self, subject, found):
        del found
        from tfgen.ood import Evaluator as Measuring

        model, source = subject.model, subject.source()
        train = subject.source(subject.config["data"]["split"])
        train = train.take(min(len(train), _FITTED_TO), subject.seed)
        if not int(model.fitted_to.numpy()):
            model.fit_scores(train.images, train.labels)
        others = {
            name: other.take(min(len(other), subject.num_images), subject.seed)
            for name, other in ((name, self._other(subject, name)) for name in self.others)
        }
        models = {"multi_task": model}
        if model.num_classes:
            if source.labels is None:
                raise DataError(f"{subject.config['data']['name']!r} has no labels to score by")
            models["its classifier"] = model.classifier()
        evaluation = Measuring(
            models,
            source,
            others,
            fit_data=train,
            near=self.near or None,
            in_name="in",
            batch_size=subject.batch_size,
            seed=subject.seed,
        ).evaluate()
        folder = evaluation.save(subject.folder / "detection")
        auroc = {
            f"{row.model}/{row.score}/{name}": row.separation[name].auroc
            for row in evaluation.rows
            for name in row.separation
        }
        return {
            "num_images": len(source),
            "auroc": list(auroc.values()),
            "auroc_of": _SEPARATOR.join(auroc),
            "detection": evaluation.to_json(),
            "accepted": self._accepted(model, {"in": source, **others}, subject.batch_size),
            "detection_table": list(evaluation.lines()),
            "files": [str(path) for path in sorted(folder.iterdir())],
        }

    def lines(self, found):
        yield from found["detection_table"]
        if found["accepted"]:
            told = ", ".join(f"{name} {rate:.1%}" for name, rate in found["accepted"].items())
            yield f"accepted: {told}"
        yield "pictures and scores: " + ", ".join(found["files"])

    @classmethod
    def left_out(cls, numbers):
        found = super().left_out(numbers)
        for split, values in cls.measured(numbers).items():
            if split not in found and not _cells(values):
                found[split] = "'auroc_of' does not name every number"
        return found

    @classmethod
    def table(cls, numbers):
        for split, found in numbers.items():
            cells = _cells(found)
            sets = list(dict.fromkeys(name for *_, name in cells))
            yield f"AUROC in %, {split}, {images_of(found)} in-distribution images:"
            yield ""
            yield f"| Model | Score | {' | '.join(sets)} |"
            yield "|---" * (2 + len(sets)) + "|"
            for model, score in dict.fromkeys(key[:2] for key in cells):
                row = [f"{100 * cells[model, score, name]:.2f}" for name in sets]
                yield f"| {model} | {score} | {' | '.join(row)} |"

    def _other(self, subject, name):
        if name == OTHER_CLASSES:
            return subject.load(subject.split, None, True)
        return subject.load(subject.split, name)

    def _accepted(self, model, sources, batch_size) -> dict[str, float]:
        """Shares of sets that pass the threshold; empty where there is none."""
        if not int(model.calibrated_on.numpy()):
            return {}
        return {
            name: float(np.mean(model.accepts(np.asarray(source.images[:]), batch_size)))
            for name, source in sources.items()
        }


def _cells(found) -> dict[tuple[str, str, str], float]:
    """AUROC by model, score and set; empty where the names do not fit the numbers."""
    keys = [tuple(name.split("/", 2)) for name in found["auroc_of"].split(_SEPARATOR)]
    cells = dict(zip(keys, found["auroc"]))
    sets = {key[-1] for key in keys}
    rows = {key[:2] for key in keys}
    whole = len(keys) == len(found["auroc"]) == len(cells) == len(rows) * len(sets)
    return cells if whole and all(len(key) == 3 for key in keys) else {}
