"""HANT from end to end: every phase leaves a file that the next call takes up."""

import os
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from tfgen.errors import UserError
from tfgen.search.hant.answers import check_classifier
from tfgen.search.hant.distillation import distil
from tfgen.search.hant.folding import merge_branches
from tfgen.search.hant.library import Library
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.planner import Planner
from tfgen.search.hant.plans import InfeasibleError, Plan
from tfgen.search.hant.pool import Operation, small_pool, with_teacher
from tfgen.search.hant.problem import chosen_sum
from tfgen.search.hant.refinement import refined
from tfgen.search.hant.scores import score_swaps
from tfgen.search.hant.segments import Runs
from tfgen.search.hant.timing import layer_blocks, layer_latencies, network_latency
from tfgen.search.latency import Block, Calibration, LatencyTable


class HANT(Planner):
    """A trained classifier whose layers are replaced by cheaper ones (HANT, arXiv:2107.10624).

    Args:
        teacher: functional `keras.Model` of images `[B, H, W, C]` to logits or probabilities; it
            is never changed.
        folder: path of the folder in which candidates, scores and latencies are kept.
        pool: iterable of dicts, the operations to choose from; None is `small_pool()`. The layer
            itself is always among them.
        boundaries: sequence of names of Keras layers behind which the network is cut; None finds
            them, see `CutNetwork`.
        activation: string, name of the activation within candidates. Defaults to `"relu"`.

    Attributes:
        library: the `Library` of candidates.

    Raises:
        ConfigError: the network cannot be cut or is no classifier, or the pool is none.
        UserError: the folder is of another network.
    """

    def __init__(
        self,
        teacher: keras.Model,
        folder: str | os.PathLike,
        pool: Iterable[Operation] | None = None,
        boundaries: Sequence[str] | None = None,
        activation: str = "relu",
    ):
        pool = with_teacher(small_pool() if pool is None else pool)
        network = CutNetwork(teacher, boundaries)
        check_classifier(network.network)
        self.library = Library(folder, network, pool, activation)
        self._scores: list[np.ndarray] | None = None
        self._table: LatencyTable | None = None
        self._calibration: Calibration | None = None

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Every layer by itself."""
        return Runs.single(len(self.library.network.segments)).pairs

    def distil(self, images, **options) -> None:
        """Phase 1: trains the candidates that are missing.

        Args:
            images: array `[N, H, W, C]` or `tf.data.Dataset`; see `tfgen.search.hant.distil`.
            **options: keyword arguments of that function.
        """
        distil(self.library, images, **options)

    def score(self, images: np.ndarray, labels=None, measure: str = "kl", **options) -> None:
        """What every candidate loses where it alone replaces its layer.

        Args:
            images: array `[N, H, W, C]`; see `score_swaps`.
            labels: `[N]` integers, where the measure needs them. None by default.
            measure: string, "kl", "loss" or "accuracy". Defaults to `"kl"`.
            **options: keyword arguments of that function.
        """
        found = score_swaps(self.library, images, labels, measure, **options)
        # No candidate is better than its layer but by the noise of a small sample.
        self._scores = [np.maximum(row, 0.0) for row in found]

    def blocks(self) -> list[Block]:
        """What `measure` times, the network among it."""
        return layer_blocks(self.library)

    def take_latencies(self, table: LatencyTable, calibrated: Calibration | None = None) -> None:
        """Uses what was measured before.

        Args:
            table: `LatencyTable`, of `blocks` among others.
            calibrated: the `Calibration` of its entries; None takes them as they are.
        """
        self._table, self._calibration = table, calibrated

    @property
    def calibration(self) -> Calibration | None:
        """How much of what layers save a network saves; None where sums are taken as they are."""
        return self._calibration

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the network as it came, measured."""
        return network_latency(self.library, self._measured())[0]

    @property
    def rest_ms(self) -> float:
        """Milliseconds of what is in no layer: stem and head."""
        whole, rest = network_latency(self.library, self._measured())
        return max(0.0, whole - self._factor * (whole - rest))

    def _measured(self):
        if self._table is None:
            raise UserError("there are no latencies yet; call measure() first")
        return self._table

    def tables(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Scores and milliseconds, each one array a layer of the operations in their order.

        Raises:
            UserError: nothing was scored or measured.
        """
        if self._scores is None:
            raise UserError("there are no scores yet; call score() first")
        rows = layer_latencies(self.library, self._measured())
        return self._scores, [self._factor * row for row in rows]

    @property
    def _factor(self) -> float:
        return 1.0 if self._calibration is None else self._calibration.factor

    def refine(
        self,
        plan: Plan,
        budget_ms: float,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        measure: str = "kl",
        *,
        num_changes: int | None = None,
        rounds: int = 3,
        batch_size: int = 64,
    ) -> Plan:
        """Solves again around a plan, by scores that are taken around its network.

        Far from the trained network its scores say less. A round replaces each layer of the plan's
        network in turn and changes a few layers where that helps; a change that makes the whole
        network no better is taken back, and half as many are tried.

        Args:
            plan: a `Plan`.
            budget_ms: float, milliseconds that the whole network may take.
            images: array `[N, H, W, C]`; see `score_swaps`.
            labels: `[N]` integers, where the measure needs them; None without.
            measure: string, "kl", "loss" or "accuracy". Defaults to `"kl"`.
            num_changes: integer, layers that the first round may change; None is a third of them.
            rounds: integer, rounds at most. Defaults to `3`.
            batch_size: integer, images at a time. Defaults to `64`.

        Returns:
            The plan, or a better one; its `score` is that around the trained network.

        Raises:
            InfeasibleError: the plan itself takes longer.
        """
        if self.predicted_ms(plan) > budget_ms * (1 + 1e-9):
            raise InfeasibleError(
                f"the plan takes {self.predicted_ms(plan):.6g} ms, more than the budget of "
                f"{budget_ms:.6g} ms; refine one of plans(budget_ms)"
            )
        latencies, rest = self.tables()[1], self.rest_ms
        found = refined(
            self.library,
            latencies,
            budget_ms - rest,
            plan.choices,
            images,
            labels,
            num_changes=num_changes or max(1, len(plan.choices) // 3),
            rounds=rounds,
            measure=measure,
            batch_size=batch_size,
        )
        return self._plan(found)

    def _plan(self, choices) -> Plan:
        score, latency = (chosen_sum(rows, choices) for rows in self.tables())
        return Plan(tuple(choices), score, {"latency": latency}, optimal=False)

    def network(self, plan: Plan, name: str | None = None) -> keras.Model:
        """The network of a plan, a plain functional model with trained candidates.

        Args:
            plan: a `Plan`.
            name: string, the model's name; None is the network's.
        """
        cut, replacements = self.library.network, {}
        for number, place in enumerate(plan.choices):
            operation = self.operations[place]
            family = self.library.operations[operation]["family"]
            if family != "teacher":
                replacements[number] = self.deployed(number, operation)
        return cut.assemble(replacements, name)

    def deployed(self, number: int, operation: str) -> keras.Model | None:
        """A trained candidate as it is used, branches folded into one convolution.

        Args:
            number: integer, the layer.
            operation: string, the operation's name.
        """
        model = self.library.candidate(number, operation)
        family = self.library.operations[operation]["family"]
        return merge_branches(model) if family == "repvgg" else model
