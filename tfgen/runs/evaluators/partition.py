"""log Z of a model that is known up to it."""

import dataclasses

from tfgen.runs.evaluators.base import Evaluator


@dataclasses.dataclass(frozen=True)
class Partition(Evaluator):
    """Bounds log Z by annealing, and lets the model's likelihoods count the larger bound."""

    def measure(self, subject, found):
        del found
        bounds = subject.model.estimate_log_partition(seed=subject.seed)
        # The frozen form was made before: it takes over what was found.
        if subject.served is not subject.model:
            subject.served.log_z.assign(subject.model.log_partition())
        return {f"log_z_{name}": float(value) for name, value in bounds._asdict().items()}

    def lines(self, found):
        yield (
            f"log Z between {found['log_z_lower']:.3f} +- "
            f"{found['log_z_lower_standard_error']:.3f} and {found['log_z_upper']:.3f} +- "
            f"{found['log_z_upper_standard_error']:.3f} nats; likelihoods take the larger"
        )
