"""What a search is asked when it is over, or at any time."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from tfgen.errors import ConfigError, DataError, plain_user_errors
from tfgen.ops.checks import whole_number
from tfgen.search.unas.ranking import Found, most_probable
from tfgen.training import averaged_weights
from tfgen.training.given import checked

_LOOKED_AT = 10  # times as many probable architectures, to find those that meet bounds


class Answers:
    """What `UNAS` says of architectures, from its distribution, its criteria and its supernet."""

    def top(self, count: int = 1) -> list[Found]:
        """The most probable architectures, best first; of choices that are one network, such as
        the two edges of a node the other way round, the most probable.

        Args:
            count: integer, how many; fewer where there are no more. Defaults to `1`.
        """
        return most_probable(self.distribution, whole_number("count", count, 1), self.normal_form)

    def normal_form(self, choices: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The choices that stand for all that are the same network: those of the supernet's own
        `normal_form`; where it has none no two are.

        Args:
            choices: dict of group name -> `[factors]` integers.
        """
        own = getattr(self.supernet, "normal_form", None)
        return choices if own is None else own(choices)

    def candidates(self, count: int = 16) -> list[Found]:
        """Probable architectures, those that meet all targets first, then the more probable.

        Where there are targets ten times as many are looked at.

        Args:
            count: integer, how many; fewer where there are no more. Defaults to `16`.
        """
        return [found for _, found in self._candidates(whole_number("count", count, 1))]

    def _candidates(self, count) -> list[tuple[bool, Found]]:
        """Pairs of whether a target is missed and an architecture, in the order of `candidates`."""
        looked_at = self.top(_LOOKED_AT * count if self._bounds() else count)
        # Whatever measures may take its time: it is asked once.
        found = [(not self.meets_targets(one.choices), one) for one in looked_at]
        return sorted(found, key=lambda pair: pair[0])[:count]

    def best(self, count: int = 1, candidates: int = 16, data: Iterable | None = None):
        """The most probable architectures in the order of what the search minimises, measured.

        A distribution of independent factors knows no more than which choice of each is good with
        what the others mostly are; of its most probable architectures the first need not be the
        best. Each is measured alone: all criteria's penalties, and the loss of its network with the
        shared weights, by the statistics of each batch; where the optimizer keeps averages of the
        shared weights (`Phases.ema_momentum`), with those. Those that meet all bounds are measured
        rather than more probable ones.

        Args:
            count: integer, how many; fewer where there are no more. Defaults to `1`.
            candidates: integer, how many of the most probable are measured. Defaults to `16`.
            data: iterable of batches as training has them, which every candidate sees; None where
                there is no supernet.

        Returns:
            List of `Found`: those that meet every target first, of them the least objective, of
            equal ones the more probable.

        Raises:
            ConfigError: there is a supernet and no data, or data and no supernet.
            DataError: the data hold no batch, or something that is no images in [0, 1] or no labels
                of them.
        """
        whole_number("count", count, 1)
        if (data is None) != (self.supernet is None):
            raise ConfigError(
                "the best architectures of a search are measured on batches of images where it has "
                "a supernet, and without any where it has none"
            )
        batches = None if data is None else [checked(batch, self) for batch in data]
        if batches is not None and not (batches and all(len(b["images"]) for b in batches)):
            raise DataError(
                "the architectures are measured on batches of images, and the data hold none, or "
                "an empty one; expected at least one image in each"
            )
        number = max(count, whole_number("candidates", candidates, 1))
        ranked = []
        with averaged_weights(self), plain_user_errors():
            for misses, found in self._candidates(number):
                objective = self._measured_objective(found.choices, batches)
                ranked.append((misses, objective, found._replace(objective=objective)))
        ranked.sort(key=lambda row: row[:2])
        return [found for *_, found in ranked[:count]]

    def _measured_objective(self, choices, batches) -> float:
        """What the search minimises, of one architecture."""
        weights = self._one_hot(choices)
        step = self.architecture_steps.value
        total = sum(float(c.excess(c.values(weights), step)[0]) for c in self.criteria)
        if batches is None:
            return total
        losses = [float(self._compiled_objective(batch, weights)) for batch in batches]
        return total + float(np.mean(losses))

    def genotypes(self, count: int = 1) -> list:
        """The genotypes of the most probable architectures, best first; see `top`."""
        self._need_supernet("genotypes")
        return [self.supernet.genotype(found.choices) for found in self.top(count)]

    def extract(self) -> keras.Model:
        """The network of the most probable architecture with the shared weights."""
        self._need_supernet("a network")
        return self.supernet.extract(self.genotypes()[0])

    def prepare(self) -> dict[str, dict[str, float]]:
        """Fits the criteria's surrogates and looks whether targets can be reached; see
        `Criterion.prepare`. Call it once, before the distribution learns."""
        return {c.name: c.prepare(self.distribution, self.seed) for c in self.criteria}

    def measured(self, choices: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Every criterion of one architecture.

        Args:
            choices: dict of group name -> `[factors]` integers.
        """
        return {c.name: float(c.measure(choices)) for c in self.criteria}

    def meets_targets(self, choices: Mapping[str, np.ndarray]) -> bool:
        """Whether one architecture is within every bound: the targets of "hinge" and "lagrangian".

        Args:
            choices: dict of group name -> `[factors]` integers.
        """
        return all(float(c.measure(choices)) <= c.target for c in self._bounds())

    def _bounds(self):
        return [c for c in self.criteria if c.form in ("hinge", "lagrangian")]

    def _need_supernet(self, what):
        if self.supernet is None:
            raise ConfigError(f"a search without a supernet has no {what}; ask it for top()")
