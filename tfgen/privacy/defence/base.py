"""Defences: what a client shares in place of its gradient, and what an informed attacker does then.

A defence is judged against an attacker who knows it (`adapt`, `masks`): pruned entries are left out
of the comparison, clipped gradients are compared up to a factor, signs by their signs. Otherwise a
mere change of scale would look like protection.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.network.shared import SharedNetwork


@dataclasses.dataclass(frozen=True)
class NoDefence:
    """The gradient as it is; base of all defences.

    `release` is what crosses the border. Its randomness depends on `seed` alone.
    """

    name: ClassVar[str] = "none"

    @property
    def batch_factor(self) -> int:
        """How many batches one released gradient is the mean of."""
        return 1

    def check(self, network: SharedNetwork) -> None:
        """Refuses a network for which the defence does not do what it says.

        Raises:
            UserError: it does not.
        """
        del network

    def release(
        self, network: SharedNetwork, images: np.ndarray, labels: np.ndarray, seed: int = 0
    ) -> list[tf.Tensor]:
        """What the client shares.

        Args:
            network: the `SharedNetwork` whose gradient is shared.
            images: array `[K, H, W, C]`, float in [0, 1] or uint8.
            labels: array of class indices `[K]` or `[K, 1]`, or rows `[K, N]`.
            seed: integer, seed of the defence's noise, and of the client's dropout masks. Defaults
                to `0`.

        Returns:
            One tensor for each trainable variable.
        """
        return self.transform(network.gradients(images, labels, seed), seed)

    def transform(self, gradients: Sequence[tf.Tensor], seed: int = 0) -> list[tf.Tensor]:
        """The defence of an already averaged gradient."""
        del seed
        return list(gradients)

    def adapt(self, settings: AttackSettings) -> AttackSettings:
        """The settings of an attacker who knows of this defence."""
        return settings

    def masks(self, released: Sequence[tf.Tensor]) -> list[tf.Tensor] | None:
        """Where a released gradient says something; None: everywhere."""
        del released
        return None

    def epsilon(self, delta: float = 1e-5) -> float | None:
        """The privacy loss of one release at `delta`; None where nothing is guaranteed."""
        del delta
        return None

    def describe(self) -> str:
        """The defence with its numbers, in a few words."""
        numbers = ", ".join(f"{k}={v:g}" for k, v in dataclasses.asdict(self).items())
        return f"{self.name} ({numbers})" if numbers else self.name

    def explain(self) -> str:
        """What the defence does, in a sentence."""
        return "The gradient is shared as it is."

    def get_config(self) -> dict[str, Any]:
        """Name and numbers, as `defence_from_config` takes them."""
        return {"name": self.name, **dataclasses.asdict(self)}


def at_least_zero(defence: NoDefence, field: str) -> None:
    """Refuses a number of a defence below 0, infinite or NaN."""
    value = getattr(defence, field)
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{field} is {value}; expected at least 0")


def above_zero(defence: NoDefence, field: str) -> None:
    """Refuses a number of a defence that is not above 0 and finite."""
    value = getattr(defence, field)
    if not 0 < value < float("inf"):
        raise ConfigError(f"{field} is {value}; expected above 0")
