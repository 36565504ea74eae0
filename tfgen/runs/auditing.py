"""What `tfgen-audit` does: a configuration in, a finished audit out."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.data import load
from tfgen.errors import ConfigError, DataError, reason_of
from tfgen.files.regular import regular_file
from tfgen.privacy import GradientAudit, ThreatModel, build_classifier, trained_accuracy
from tfgen.privacy.attack.resumption import Checkpoint, fingerprint
from tfgen.privacy.audit.result import AuditResult
from tfgen.privacy.defence import defence_from_config
from tfgen.runs.config import check_sections, to_plain
from tfgen.runs.fields import REQUIRED, complete_section
from tfgen.training import StopOnSignal

# Every field with its default; REQUIRED has none.
DEFAULTS: dict[str, dict[str, Any]] = {
    "model": dict(
        name=REQUIRED,
        options={},
        weights=None,  # a local .weights.h5 or .keras file
        epochs=0,  # of training before the audit
        learning_rate=1e-3,
        batch_size=64,
        pixel_mean=0.0,
        pixel_std=1.0,
    ),
    "data": dict(name=REQUIRED, split="test", train_split="train", image_size=None, num_classes=10),
    "threat_model": dict(
        batch_norm_mode=REQUIRED,
        batch_norm_statistics=REQUIRED,
        labels=REQUIRED,
        batch_size=REQUIRED,
    ),
    "audit": dict(
        batch_sizes=(4,),
        num_batches=1,
        unique_labels=True,
        pool_size=256,
        threshold_db=1.0,
        delta=1e-5,
        seed=0,
        utility_steps=0,
        utility_batch_size=16,
        utility_learning_rate=0.05,
    ),
}
# The types of fields whose default does not say it.
KINDS: dict[str, dict[str, Any]] = {
    "model": dict(name=str, weights=str | None, pixel_mean=float | list, pixel_std=float | list),
    "data": dict(name=str, image_size=int | list | None),
    "threat_model": dict.fromkeys(DEFAULTS["threat_model"], str),
    "audit": {},
}
# Sections whose fields are names of the user's choice.
_FREE = ("attacks", "defences")


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a configuration of an audit and fills in what it leaves out.

    Raises:
        ConfigError: a section or field that does not exist, is missing or of another type.
    """
    config = to_plain(config)
    check_sections(config, [*DEFAULTS, *_FREE])
    completed = {name: dict(config.get(name) or {}) for name in _FREE}
    for section, defaults in DEFAULTS.items():
        given = config.get(section) or {}
        completed[section] = complete_section(f"config.{section}", given, defaults, KINDS[section])
    if not completed["attacks"]:
        raise ConfigError("config.attacks is empty; name at least one, with its settings")
    completed["defences"] = completed["defences"] or {"none": {"name": "none"}}
    return completed


class Auditing:
    """A configured audit, ready to run.

    Args:
        config: dict, the configuration, completed.
        data_dir: folder with data sets.

    Raises:
        UserError: whatever does not fit.
    """

    def __init__(self, config: Mapping[str, Any], data_dir: str | None = None):
        self.config = config
        self._data_dir = data_dir
        self._images, self._labels = self._read(config["data"]["split"])
        self._training = {"weights": config["model"]["weights"], "epochs": 0}
        self.model = self._model()
        audit = {k: v for k, v in config["audit"].items() if not k.startswith("utility_")}
        section = config["model"]
        self.audit = GradientAudit(
            self.model,
            threat_model=ThreatModel(**config["threat_model"]),
            attacks=config["attacks"],
            defences=[defence_from_config(d) for d in config["defences"].values()],
            pixel_mean=section["pixel_mean"],
            pixel_std=section["pixel_std"],
            **audit,
        )
        self.audit.check(self._images, self._labels)

    def plan(self) -> dict[str, Any]:
        """What is going to run."""
        described, section = self.audit.describe(), self.config["audit"]
        combinations = len(described["attacks"]) * len(described["defences"])
        batches = len(section["batch_sizes"]) * section["num_batches"]
        return {**described, "attacks_in_all": combinations * batches}

    def prepare(self, report=print, verbose: int = 1, workdir: Path | None = None) -> None:
        """Trains the network first, where the configuration asks for it.

        Args:
            report: function that is told in a line how it went.
            verbose: integer; 0 shows no bar. Defaults to `1`.
            workdir: folder that the trained network is kept in, and taken from again by a run that
                goes on; None: it is kept nowhere.

        Raises:
            CheckpointError: what lies in the folder was trained by another audit, or is damaged.
            Stopped: a signal arrived; training begins again next time.
        """
        section = self.config["model"]
        if not section["epochs"]:
            return
        # Also where nothing is left to train: the loss of attacks is that of a compiled model.
        self.model.compile(
            keras.optimizers.Adam(section["learning_rate"]),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        images, labels = self._read(self.config["data"]["train_split"])
        path = None if workdir is None else workdir / "network.safetensors"
        trained = Checkpoint(path, self._training_identity(images, labels))
        accuracy = tf.constant([0.0], tf.float64)
        kept, _ = trained.load([accuracy, *self.model.get_weights()])
        if kept is None:
            kept = [np.float64([self._fit(images, labels, verbose)]), *self.model.get_weights()]
            trained.save(kept, 0.0, now=True)
        self.model.set_weights([np.asarray(weight) for weight in kept[1:]])
        self._training |= {
            "epochs": section["epochs"],
            "num_images": len(images),
            "accuracy": float(kept[0][0]),
        }
        report(
            f"trained {section['epochs']} epochs on {len(images):,} images: "
            f"training accuracy {self._training['accuracy']:.1%}"
        )

    def _fit(self, images, labels, verbose):
        """Trains the network; returns its accuracy in training."""
        section = self.config["model"]
        inputs = self.audit.network.normalize(images).numpy()
        options = dict(epochs=section["epochs"], batch_size=section["batch_size"], verbose=verbose)
        history = self.model.fit(inputs, labels, callbacks=[StopOnSignal()], **options).history
        stopping.check()
        return history["accuracy"][-1]

    def _training_identity(self, images, labels):
        """What has to be equal for a trained network to be the one that is asked for."""
        return {
            "model": self.config["model"],
            "initial weights": fingerprint(self.model.get_weights()),
            "images": fingerprint([images, labels]),
        }

    def run(self, workdir: Path, report=print, verbose: int = 1) -> AuditResult:
        """The audit, and the accuracy that each defence leaves."""
        result = self.audit.run(
            self._images,
            self._labels,
            data={k: self.config["data"][k] for k in ("name", "split")} | self._labelled,
            workdir=workdir / "attacks",
            report=functools.partial(report, flush=True) if report is print else report,
            verbose=verbose,
        )
        result.description["training"] = self._training
        if self.config["audit"]["utility_steps"]:
            result.utility = self._utility(report)
        return result

    def _utility(self, report):
        section = self.config["audit"]
        images, labels = self._read(self.config["data"]["train_split"])
        found = []
        for defence in self.audit.defences:
            accuracy = trained_accuracy(
                self.audit.network,
                defence,
                images,
                labels,
                self._images,
                self._labels,
                batch_size=section["utility_batch_size"],
                num_steps=section["utility_steps"],
                learning_rate=section["utility_learning_rate"],
                seed=section["seed"],
            )
            report(f"accuracy after training with {defence.describe()}: {accuracy:.1%}")
            found.append({"defence": defence.describe(), "accuracy": accuracy})
        return found

    def _read(self, split):
        section = self.config["data"]
        source = load(section["name"], split, self._data_dir, image_size=section["image_size"])
        images = np.asarray(source.images[np.arange(len(source))], np.float32) / np.float32(255)
        self._labelled = {"labelled": source.labels is not None}
        if source.labels is not None:
            return images, np.asarray(source.labels, np.int64)
        if section["name"].partition(":")[0] != "folder":
            raise DataError(f"{section['name']!r} has no labels, which gradients of a loss need")
        # Pictures without labels: any will do for a network with random weights.
        rng = np.random.default_rng(self.config["audit"]["seed"])
        classes = rng.permutation(section["num_classes"])
        return images, np.resize(classes, len(images))  # again from the first, where they run out

    def _model(self):
        section = self.config["model"]
        model = build_classifier(
            section["name"],
            self._images.shape[1:],
            self.config["data"]["num_classes"],
            seed=self.config["audit"]["seed"],
            **section["options"],
        )
        if section["weights"] is not None:
            try:
                model.load_weights(regular_file(section["weights"], ConfigError))
            except ConfigError:
                raise
            except Exception as error:  # h5py and Keras raise whatever they like
                raise ConfigError(
                    f"config.model.weights {section['weights']!r} do not fit {section['name']}: "
                    f"{reason_of(error)}"
                ) from error
            if not all(np.all(np.isfinite(weight)) for weight in model.get_weights()):
                raise ConfigError(
                    f"config.model.weights {section['weights']!r} are not all finite; give those "
                    "of a training that went well"
                )
        return model
