"""HANT from end to end: every phase leaves a file that the next call takes up."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from tfgen import stopping
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.ops.checks import whole_number
from tfgen.search.hant.batch_norm import reestimate
from tfgen.search.hant.distillation import distil
from tfgen.search.hant.evaluation import MeanLoss
from tfgen.search.hant.folding import merge_branches
from tfgen.search.hant.front import Front, latency_front
from tfgen.search.hant.library import Library
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.plans import InfeasibleError, Plan, diverse_plans
from tfgen.search.hant.pool import Operation, small_pool, with_teacher
from tfgen.search.hant.refinement import refined
from tfgen.search.hant.report import PlanRow, draw, table_of
from tfgen.search.hant.scores import score_swaps
from tfgen.search.hant.timing import (
    layer_blocks,
    layer_latencies,
    network_latency,
    whole_networks,
)
from tfgen.search.latency import (
    Backend,
    Calibration,
    LatencyTable,
    ReplayedBackend,
    calibration,
    measure,
)


class HANT:
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
        calibration: the `Calibration` of its latencies; None without.

    Raises:
        ConfigError: the network cannot be cut, or the pool is none.
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
        self.library = Library(folder, CutNetwork(teacher, boundaries), pool, activation)
        self._scores: list[np.ndarray] | None = None
        self._table: LatencyTable | None = None
        self.calibration: Calibration | None = None

    @property
    def operations(self) -> list[str]:
        """Names of the operations, by which plans count them."""
        return list(self.library.operations)

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

    def measure(
        self,
        backend: Backend,
        path: str | os.PathLike | None = None,
        calibrate: int = 0,
        **options,
    ) -> None:
        """Times every candidate, every layer and the network.

        Args:
            backend: `tfgen.search.latency.Backend` of the device.
            path: path of the table's file; None is one in the folder named after the back-end's
                class, and none where a table is replayed.
            calibrate: integer, whole networks with drawn operations that are timed as well; they
                say how much of what layers save a network saves. 0 takes sums as they are, else at
                least 4. Defaults to `0`.
            **options: keyword arguments of `tfgen.search.latency.measure`.

        Raises:
            UserError: fewer than four whole networks could be timed, and calibration is asked for.
        """
        if path is None and not isinstance(backend, ReplayedBackend):
            name = type(backend).__name__.removesuffix("Backend").lower()
            precision = getattr(backend, "precision", "")
            path = Path(self.library.folder, f"latency_{name}_{precision}.json".replace("_.", "."))
        networks = whole_networks(self.library, whole_number("calibrate", calibrate, 0))
        blocks = layer_blocks(self.library)
        table = measure(blocks, backend, path, networks=networks, **options)
        self.calibration = None
        if calibrate:
            whole, rest = network_latency(self.library, table)
            self.calibration = calibration(table, (whole - rest, whole))
        self._table = table

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the network as it came, measured."""
        return network_latency(self.library, self._measured())[0]

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
        return 1.0 if self.calibration is None else self.calibration.factor

    @property
    def _rest(self) -> float:
        """Milliseconds of what is in no layer."""
        whole, rest = network_latency(self.library, self._measured())
        return max(0.0, whole - self._factor * (whole - rest))

    def plans(self, budget_ms: float, num_plans: int = 1, **options) -> list[Plan]:
        """Phase 2: what to replace, by the integer programme.

        Args:
            budget_ms: float, milliseconds that the whole network may take, stem and head included.
            num_plans: integer, plans at most; see `diverse_plans`. Defaults to `1`.
            **options: keyword arguments of that function.

        Raises:
            InfeasibleError: it cannot be met, with the smallest that could.
            UserError: nothing was scored or measured.
        """
        scores, latencies = self.tables()
        rest = self._rest
        smallest = rest + sum(
            float(np.where(np.isfinite(s), b, np.inf).min()) for s, b in zip(scores, latencies)
        )
        if budget_ms < smallest and not options.get("limits"):
            raise InfeasibleError(
                f"a latency of {budget_ms:.6g} ms cannot be met: the smallest that this pool makes "
                f"is {smallest:.6g} ms, of which stem and head take {rest:.6g} ms"
            )
        return diverse_plans(scores, latencies, budget_ms - rest, num_plans, **options)

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
        latencies, rest = self.tables()[1], self._rest
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
        scores, latencies = self.tables()
        score, latency = (
            float(sum(row[place] for row, place in zip(rows, choices)))
            for rows in (scores, latencies)
        )
        return Plan(tuple(choices), score, {"latency": latency}, optimal=False)

    def front(self, resolution_ms: float | None = None) -> Front:
        """The plans of all budgets; latencies are of the layers, without stem and head.

        Args:
            resolution_ms: float, to a multiple of which latencies are rounded up; None rounds
                nothing.
        """
        return latency_front(*self.tables(), resolution_ms)

    def predicted_ms(self, plan: Plan) -> float:
        """What a plan's whole network should take.

        Args:
            plan: a `Plan`.
        """
        return plan.latency_ms + self._rest

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

    def best(
        self,
        plans: Sequence[Plan],
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        batch_size: int = 64,
        report: Callable[[int, int], None] | None = None,
    ) -> tuple[Plan, keras.Model, list[float]]:
        """Evaluates plans as whole networks: what adds up only nearly is looked at.

        Every network's moving statistics are taken anew, since replaced layers shift what those
        behind them see; they stay so in the network that is returned.

        Args:
            plans: sequence of `Plan`.
            images: array `[N, H, W, C]` of the training set.
            labels: `[N]` integers, by which the cross-entropy is measured; None measures the
                divergence from the trained network, which needs none.
            batch_size: integer, images at a time. Defaults to `64`.
            report: function `(plans finished, plans)`; None calls nothing.

        Returns:
            The plan of the smallest loss, its network, and the losses of all.

        Raises:
            DataError: there are no images.
            ConfigError: there is no plan.
        """
        if not plans:
            raise ConfigError("there is no plan; expected at least one to evaluate")
        if not len(images):
            raise DataError("there are no images; expected at least one to evaluate plans on")
        loss = MeanLoss(self.library.network.network, images, labels, batch_size)
        losses, chosen = [], None
        for number, plan in enumerate(plans):
            stopping.check()
            network = self.network(plan)
            reestimate(network, loss.images)
            losses.append(loss(network))
            if losses[-1] <= min(losses):
                chosen = plan, network
            if report is not None:
                report(number + 1, len(plans))
        return *chosen, losses

    def rows(self, plan: Plan) -> list[PlanRow]:
        """What a plan does layer by layer, list of `PlanRow`.

        Args:
            plan: a `Plan`.
        """
        teacher, found = self.operations.index(self.library.teacher_name), []
        for segment, place, score, latency in zip(
            self.library.network.segments, plan.choices, *self.tables()
        ):
            saved = float(latency[teacher] - latency[place])
            operation = self.operations[place]
            found.append(PlanRow(segment.name, operation, saved, float(score[place])))
        return found

    def describe(self, plan: Plan) -> str:
        """A plan as a table: what stands where, milliseconds saved, and what is lost.

        Args:
            plan: a `Plan`.
        """
        saved, predicted = self.latency_ms - self.predicted_ms(plan), self.predicted_ms(plan)
        return table_of(
            [*self.rows(plan), PlanRow("all", f"{predicted:.3f} ms", saved, plan.score)]
        )

    def plot(self, plan: Plan, path: str | os.PathLike) -> None:
        """Draws what a plan saves and loses in every layer.

        Args:
            plan: a `Plan`.
            path: path of the picture, written whole or not at all.
        """
        draw(self.rows(plan), path)
