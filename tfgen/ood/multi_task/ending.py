"""A run of `tfgen-train` ends with a detector: fitted, and calibrated by what was set aside."""

import numpy as np

from tfgen.errors import ConfigError
from tfgen.metrics.conformal import fewest_images
from tfgen.training import Model
from tfgen.training.averages import averaged_weights

FITTED_TO = 4096  # images that scores are fitted to, at most


class FinishesCalibrated(Model):
    """A `tfgen.training.Model` with `fit_scores`, `calibrate`, `acceptance` and `calibrated_on`."""

    def training_callbacks(self, held_out, directory=None):
        del directory
        if held_out is not None:
            check_enough(held_out, self.acceptance)  # not after a day of training
        self._kept["held_out"] = held_out
        return []

    def before_fit(self, x) -> None:
        if self._kept.get("held_out") is not None:
            self._kept["training"] = x

    def finish(self) -> bool:
        """Fits and calibrates with the images that were set aside, once, if there are any."""
        held_out = self._kept.get("held_out")
        if held_out is None or int(self.calibrated_on.numpy()):
            return False
        images, labels = first_of(held_out, None)
        training = self._kept.get("training")
        known = (images, labels) if training is None else first_of(training, FITTED_TO)
        with averaged_weights(self):  # those that are loaded later
            self.fit_scores(*known)
            self.calibrate(images, labels)
        return True

    @property
    def _kept(self) -> dict:
        """Data that were seen, out of Keras's sight."""
        return self.__dict__.setdefault("_data_for_the_end", {})


def check_enough(held_out, acceptance: float) -> None:
    """Raises a ConfigError where no threshold could be set by the images of a data set."""
    least, found = fewest_images(acceptance), 0
    for batch in held_out:
        found += len(batch["images"])
        if found >= least:
            return
    raise ConfigError(
        f"{found} images are set aside, too few for a threshold that accepts {acceptance:g} of "
        f"what is like them; raise config.data.held_out until there are {least}, or set it to 0"
    )


def first_of(data, count: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels, if any, of arrays or a data set: all, or the first `count`."""
    if isinstance(data, dict):
        labels = data.get("labels")
        return data["images"][:count], None if labels is None else labels[:count]
    images, labels, done = [], [], 0
    for batch in data:
        images.append(np.asarray(batch["images"]))
        if "labels" in batch:
            labels.append(np.asarray(batch["labels"]))
        done += len(images[-1])
        if count is not None and done >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(labels)[:count] if labels else None
