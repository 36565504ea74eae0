"""What `tfgen-select` does: a detector's recipe in, the same with transformations chosen out."""

import pprint
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.data import Source
from tfgen.errors import ConfigError, DataError
from tfgen.files.replacing import replace_file
from tfgen.ood.selection import Budget, Selection, draw_trajectory, select_transformations
from tfgen.runs.config import complete, to_plain
from tfgen.runs.experiment import load_source, set_aside

SYSTEM = "multi_task_ood"
NUM_BEST = 3  # sets that are tried from another seed
# Arguments of the model that the choice decides, or that data and scores do.
_NOT_PASSED = (
    "name",
    "transformations",
    "ssl_weights",
    "supervised_weights",
    "image_shape",
    "num_classes",
    "score",
    "task_score_weights",
    "acceptance",
    "other_scores",
    "seed",
)


class Selecting:
    """A configured choice, ready to run.

    Args:
        config: dict, the configuration of a training of `tfgen.MultiTaskOOD`.
        pool: sequence of names of transformations; one that the recipe has options for is taken
            with them.
        num_images: integer, training images looked at, drawn at random; None: all.
        data_dir: path of the folder with data sets, or None.

    Attributes:
        config: dict, the configuration, complete.
        source: the `Source` that is looked at: training images, without those that are held out for
            the threshold.

    Raises:
        ConfigError: the configuration is of another system.
        DataError: there are no such data.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        pool: Sequence[str],
        num_images: int | None = None,
        data_dir: str | None = None,
    ):
        self.config = complete(to_plain(config))
        model = self.config["model"]
        if model["name"] != SYSTEM:
            raise ConfigError(
                f"config.model.name is {model['name']!r}; transformations are chosen for {SYSTEM!r}"
            )
        self.pool = [_with_options(name, model.get("transformations", ())) for name in pool]
        source = load_source(self.config, data_dir)
        source, _ = set_aside(source, self.config["data"]["held_out"])
        self.source: Source = source.take(num_images, self.config["training"]["seed"])
        if model.get("num_classes") and self.source.labels is None:
            raise DataError(
                f"{self.config['data']['name']!r} has no labels; leave config.model.num_classes out"
            )

    def plan(self, epochs: int, num_trials: int, learn: bool) -> dict[str, Any]:
        """What is going to run at most, in plain values.

        Args:
            epochs: integer, of each training.
            num_trials: integer, sets tried where not all are.
            learn: whether weights are learned.
        """
        labelled = bool(self.config["model"].get("num_classes"))
        budget = Budget.of(len(self.pool), labelled, num_trials, NUM_BEST, learn)
        return {
            "pool": [name if isinstance(name, str) else name["name"] for name in self.pool],
            "data": self.config["data"]["name"],
            "images": len(self.source),
            "labelled": labelled,
            "epochs": epochs,
            "trainings_at_most": budget.trainings,
        }

    def run(self, folder: Path, report: Callable[[str], None], **options) -> Selection:
        """Chooses, and writes `selection.json`, `selection.md`, `recipe.py` and `weights.png`.

        Args:
            folder: path of the folder, in which a choice that was stopped goes on.
            report: function of a line of text.
            **options: keyword arguments, those of `select_transformations` that say how long.
        """
        model, optimizer = self.config["model"], self.config["optimizer"]
        labels = self.source.labels if model.get("num_classes") else None
        found = select_transformations(
            np.asarray(self.source.images[:]),
            None if labels is None else np.asarray(labels),
            pool=self.pool,
            batch_size=self.config["data"]["batch_size"],
            learning_rate=optimizer["learning_rate"],
            weight_decay=optimizer["weight_decay"],
            seed=self.config["training"]["seed"],
            num_best=NUM_BEST,
            directory=folder,
            report=report,
            **{name: value for name, value in model.items() if name not in _NOT_PASSED},
            **options,
        )
        table = f"{self.config['data']['name']}: {self.source.extent}\n\n{found.table()}"
        _write(folder / "selection.md", table + "\n")
        _write(folder / "recipe.py", recipe_of(self.config, found))
        if found.trajectory:
            draw_trajectory(found.trajectory, folder / "weights.png")
        return found


def recipe_of(config: Mapping[str, Any], selection: Selection) -> str:
    """The text of a recipe with which `tfgen-train` trains what was chosen.

    Args:
        config: dict, the complete configuration that the choice began from.
        selection: the `Selection`.
    """
    config = {**config, "model": {**config["model"], **selection.options()}}
    given = {
        name: {k: v for k, v in section.items() if v is not None}
        for name, section in to_plain(config).items()
    }
    return _RECIPE.format(config=pprint.pformat(given, indent=4, width=96, sort_dicts=False))


_RECIPE = '''"""Trains what was chosen: tfgen-train --config=recipe.py --workdir=FOLDER"""

from ml_collections import config_dict

CONFIG = {config}


def get_config():
    """Returns the recipe."""
    return config_dict.ConfigDict(CONFIG)
'''


def _with_options(name, given):
    for each in given:
        if isinstance(each, Mapping) and each.get("name") == name:
            return each
    return name


def _write(path, text):
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
