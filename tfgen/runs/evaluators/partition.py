"""log Z of a model that is known up to it."""

import dataclasses
import math
from typing import ClassVar

from tfgen.runs.evaluators.base import Evaluator
from tfgen.samplers.annealed_importance import SMALLEST_SAMPLE


@dataclasses.dataclass(frozen=True)
class Partition(Evaluator):
    """Bounds log Z by annealing, and lets the model's likelihoods count the larger bound."""

    shown: ClassVar = {
        "log_z_lower": float,
        "log_z_lower_standard_error": float,
        "log_z_upper": float,
        "log_z_upper_standard_error": float,
        "log_z_sample_size": float,
        "log_z_upper_sample_size": float,
        "log_z_interval": tuple,
    }

    def measure(self, subject, found):
        del found
        bounds = subject.model.estimate_log_partition(seed=subject.seed)
        # The frozen form was made before: it takes over what was found.
        if subject.served is not subject.model:
            subject.served.log_z.assign(subject.model.log_partition())
        values = {f"log_z_{name}": float(value) for name, value in bounds._asdict().items()}
        return {**values, "log_z_interval": [float(end) for end in bounds.interval()]}

    @classmethod
    def table(cls, numbers):
        for split, found in numbers.items():
            text = ". ".join(line[0].upper() + line[1:] for line in cls().lines(found))
            yield f"{split}: {text}.".replace("+-", "±")

    def lines(self, found):
        yield (
            f"log Z: lower bound {found['log_z_lower']:.3f} +- "
            f"{found['log_z_lower_standard_error']:.3f}, upper bound {found['log_z_upper']:.3f} +- "
            f"{found['log_z_upper_standard_error']:.3f} nats; likelihoods take the larger"
        )
        sizes = [found[f"log_z_{name}sample_size"] for name in ("", "upper_")]
        low, high = found["log_z_interval"]
        errors = [found[f"log_z_{side}_standard_error"] for side in ("lower", "upper")]
        crossed = found["log_z_lower"] - found["log_z_upper"] > 2 * math.hypot(*errors)
        if min(sizes) < SMALLEST_SAMPLE:
            between = f"nine runs of ten hold log Z between {low:.1f} and {high:.1f}"
            above = f"log Z is above {low:.1f} in nineteen runs of twenty"
            yield (
                f"only {sizes[0]:.1f} effective walks carry the lower bound and {sizes[1]:.1f} the "
                f"upper: another seed may move them by nats; {above if crossed else between}"
            )
        if crossed:
            yield (
                "the bounds cross: the walks of the upper one began where chains had not reached "
                "the target, and it does not hold; only the lower one does"
            )
