"""How often a classifier is right, and how sure."""

import dataclasses
from typing import ClassVar

import numpy as np

from tfgen.export.traces import Traces
from tfgen.runs.evaluators.base import Evaluator, images_of
from tfgen.serving import as_servable


@dataclasses.dataclass(frozen=True)
class Classification(Evaluator):
    """Accuracy and cross-entropy of a model whose `predict` answers `probabilities` `[B, K]`."""

    shown: ClassVar = {
        "accuracy": float,
        "accuracy_standard_error": float,
        "cross_entropy": float,
        "cross_entropy_standard_error": float,
        "num_images": float,
        "images": str | None,
    }

    def check(self, subject):
        subject.source().check_classes(subject.model.num_classes)

    def measure(self, subject, found):
        del found
        predict = Traces(as_servable(subject.served))["predict"]
        right, surprise, done = [], [], 0
        with subject.progress("classifying", subject.num_images) as advance:
            for batch in subject.pipeline().dataset():
                labels = batch["labels"].numpy()
                probabilities = predict(images=batch["images"])["probabilities"].numpy()
                right.append(np.argmax(probabilities, axis=1) == labels)
                chosen = probabilities[np.arange(len(labels)), labels]
                surprise.append(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)))
                done += len(labels)
                advance(done)
        return {
            "num_images": done,
            **_mean("accuracy", np.concatenate(right)),
            **_mean("cross_entropy", np.concatenate(surprise)),
        }

    def lines(self, found):
        yield (
            f"accuracy {found['accuracy']:.2%} +- {found['accuracy_standard_error']:.2%}, "
            f"cross-entropy {found['cross_entropy']:.4f} +- "
            f"{found['cross_entropy_standard_error']:.4f} nats"
        )

    @classmethod
    def table(cls, numbers):
        yield "| Split | Images | Accuracy | Cross-entropy (nats) |"
        yield "|---|---|---|---|"
        for split, n in numbers.items():
            yield (
                f"| {split} | {images_of(n)} | {n['accuracy']:.2%} ± "
                f"{n['accuracy_standard_error']:.2%} | {n['cross_entropy']:.4f} ± "
                f"{n['cross_entropy_standard_error']:.4f} |"
            )


def _mean(name: str, values: np.ndarray) -> dict[str, float]:
    values = values.astype(np.float64)
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}
