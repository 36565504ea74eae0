"""Secure aggregation: the server sees sums over clients, and nothing of one alone."""

import dataclasses
from typing import ClassVar

from tfgen.errors import ConfigError
from tfgen.privacy.defence.base import NoDefence


@dataclasses.dataclass(frozen=True)
class Aggregation(NoDefence):
    """Secure aggregation: only the mean over several clients is seen.

    Attributes:
        num_clients: integer U; the effective batch is U K. Defaults to `4`.
    """

    num_clients: int = 4
    name: ClassVar[str] = "aggregation"

    def __post_init__(self):
        if self.num_clients < 1:
            raise ConfigError(f"num_clients is {self.num_clients}; expected at least 1")

    def explain(self):
        return f"Only the mean gradient of {self.num_clients} clients is seen."

    @property
    def batch_factor(self):
        return self.num_clients
