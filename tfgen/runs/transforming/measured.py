"""Teacher and student as files for devices: what they take, and how often they are right."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfgen import stopping
from tfgen.data import Source
from tfgen.runs.transforming.records import Record, digest
from tfgen.search import latency
from tfgen.search.hant.chain import at_rest

TEACHER, STUDENT = "teacher", "student"
TEACHER_INT8, INT8 = "teacher int8", "student int8"
# The files of those in int8, beside teacher.keras and student.keras.
_FILES = {TEACHER_INT8: "../teacher_int8.tflite", INT8: "int8.tflite"}


def backend_of(section: Mapping[str, Any]) -> latency.Backend:
    """The back-end of the section `latency` of a configuration.

    Args:
        section: dict of that section's fields.

    Raises:
        UserError: it is not installed, or does not compute in the precision.
    """
    options = {key: section[key] for key in ("threads", "batch_size", "precision")}
    found = latency.BACKENDS[section["backend"]](**options)
    found.require()
    return found


class Devices:
    """The networks as they are used.

    Args:
        config: dict of the transformation, complete.
        folder: path of the student's folder.
        teacher: `keras.Model` that was made fast.
        student: the `NetworkClassifier` that came of it.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path, teacher: keras.Model, student):
        self.config, self.folder = config, folder
        self.teacher, self.student = teacher, student
        weights = [*teacher.get_weights(), *student.network.get_weights()]
        self._weights = digest(*weights)
        self._int8: dict[str, bytes] = {}

    @property
    def num_networks(self) -> int:
        """How many there are."""
        return 2 + len(self._int8)

    def write(self, some: Callable[[int], tuple], say: Callable[[str], None]) -> None:
        """Writes `float32.tflite` and, if wanted, `int8.tflite`; nothing where LiteRT is missing.

        Then there is `teacher_int8.tflite` as well, beside `teacher.keras`.

        Args:
            some: function of a number to so many images `[N, H, W, C]` in [0, 1] and their labels,
                of which int8 learns.
            say: function that is told a line.

        Raises:
            UserError: a network cannot be converted, or differs from the Keras model.
        """
        from tfgen.export import export_litert

        try:
            import ai_edge_litert  # noqa: F401
        except ImportError:
            say("files for LiteRT are left out: pip install 'tfgen[litert]'")
            return
        about = {"weights": self._weights, **self.config["quantization"]}
        record = Record(self.folder / "litert.json", about)
        if record.read() is None:
            export_litert(self.student, str(self.folder / "float32.tflite"), overwrite=True)
            found = {}
            if self.config["quantization"]["method"] is not None:
                say(self._quantize(some))
                found["method"] = self.config["quantization"]["method"]
            record.write(found)
        if self.config["quantization"]["method"] is not None:
            self._int8 = {name: (self.folder / file).read_bytes() for name, file in _FILES.items()}

    def _quantize(self, some) -> str:
        """Writes the files; says what that of the student holds."""
        from tfgen.search import hant

        section = self.config["quantization"]
        network, tuning = self.student.network, self.config["fine_tuning"]
        options = dict(num_images=section["num_images"], seed=self.config["training"]["seed"])
        images = some(section["num_images"])[0]
        # What one would have without any of this, so nothing is trained.
        before = hant.quantize(self.teacher, images, float_stem=section["float_stem"], **options)
        before.save(self.folder / _FILES[TEACHER_INT8])
        if section["method"] == "post_training":
            found = hant.quantize(network, images, float_stem=section["float_stem"], **options)
        else:
            options["method"] = section["method"]
            for name in ("epochs", "batch_size", "learning_rate"):
                options[name] = section[name]
            for name in ("temperature", "student_loss_weight"):
                options[name] = tuning[name]
            images, labels = some(section["training_images"])
            found = hant.quantize_aware(self.teacher, network, images, labels, verbose=0, **options)
        found.save(self.folder / _FILES[INT8])
        return found.describe()

    def latencies(self, report: Callable[[int, int], None]) -> dict[str, float]:
        """Milliseconds of the whole networks by name, which took turns; none of another device.

        Networks are in float32 and, with LiteRT, in int8 as well, whichever the plan was made for.

        Args:
            report: function `(networks finished, networks)`.
        """
        section = self.config["latency"]
        if section["table"] is not None:
            return {}
        blocks = [
            latency.Block(TEACHER, self.teacher),
            latency.Block(STUDENT, self.student.network),
        ]
        if section["backend"] == "litert":
            blocks += [latency.Block(name, content) for name, content in self._int8.items()]
        names = [block.key for block in blocks]
        about = {**section, "weights": self._weights, "int8": digest(*self._int8.values())}

        def find():
            table = latency.measure(
                blocks,
                backend_of({**section, "precision": "float32"}),
                num_runs=section["num_runs"],
                repeat=0,
                report=report,
            )
            return dict(zip(names, map(float, table.milliseconds(names))))

        return Record(self.folder / "latencies.json", about).taken(find)

    def accuracies(self, source: Source, advance: Callable[[int], None]) -> dict[str, Any]:
        """The share of images on which each network is right, by name; and of which images.

        Args:
            source: `Source` of images that none was trained on.
            advance: function of how many images are done.

        Raises:
            DataError: there are no labels, or others than the networks' classes.
        """
        source.check_classes(self.student.num_classes)
        about = {
            "weights": self._weights,
            "int8": digest(*self._int8.values()),
            "images": source.fingerprint(),
        }
        runs = {
            TEACHER: at_rest(self.teacher),
            STUDENT: at_rest(self.student.network),
        }
        runs |= {name: _int8_run(content) for name, content in self._int8.items()}

        def find():
            found: dict[str, Any] = {"images": source.extent, "num_images": len(source)}
            for number, (name, run) in enumerate(runs.items()):
                first = number * len(source)
                right = self._right(source, run, lambda done, first=first: advance(first + done))
                found[name] = right / len(source)
            return found

        return Record(self.folder / "accuracies.json", about).taken(find)

    def _right(self, source, run, advance) -> int:
        size, right = self.config["evaluation"]["batch_size"], 0
        for start in range(0, len(source), size):
            stopping.check()
            rows = np.arange(start, min(start + size, len(source)))
            images = np.asarray(source.images[rows], np.float32) / np.float32(255)
            found = np.asarray(run(images))
            right += int(np.sum(np.argmax(found, axis=-1) == source.labels[rows]))
            advance(int(rows[-1]) + 1)
        return right


def _int8_run(content):
    from tfgen.search.hant import Int8Model

    return Int8Model(content, "int8").predict
