"""Plans of a network, of its fronts and its pictures, whatever stands for its layers."""

import abc
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from tfgen import stopping
from tfgen.errors import ConfigError, DataError
from tfgen.ops.checks import whole_number
from tfgen.search.hant.batch_norm import reestimate
from tfgen.search.hant.evaluation import MeanLoss
from tfgen.search.hant.front import Front, latency_front
from tfgen.search.hant.library import Library
from tfgen.search.hant.plans import InfeasibleError, Plan, diverse_plans
from tfgen.search.hant.report import PlanRow, draw, table_of
from tfgen.search.hant.segments import Runs
from tfgen.search.hant.timing import network_latency, whole_networks
from tfgen.search.latency import (
    Backend,
    Block,
    Calibration,
    LatencyTable,
    ReplayedBackend,
    calibration,
    measure,
)


class Planner(abc.ABC):
    """What is chosen by scores and latencies: of layers (`HANT`), of runs of them (`Grouping`).

    Attributes:
        library: the `Library` of the layers.
    """

    library: Library

    @property
    def operations(self) -> list[str]:
        """Names of the operations, by which plans count them."""
        return list(self.library.operations)

    @property
    @abc.abstractmethod
    def runs(self) -> list[tuple[int, int]]:
        """The first and the last layer of every row of the tables; those of single layers first."""

    @property
    @abc.abstractmethod
    def latency_ms(self) -> float:
        """Milliseconds of the network as it came, measured."""

    @property
    @abc.abstractmethod
    def rest_ms(self) -> float:
        """Milliseconds of what is in no layer: stem and head."""

    @abc.abstractmethod
    def tables(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Scores and milliseconds, each one array a row of the operations in their order.

        Raises:
            UserError: nothing was scored or measured.
        """

    @abc.abstractmethod
    def network(self, plan: Plan, name: str | None = None) -> keras.Model:
        """The network of a plan, a plain functional model with trained candidates.

        Args:
            plan: a `Plan`.
            name: string, the model's name; None is the network's.
        """

    @property
    @abc.abstractmethod
    def calibration(self) -> Calibration | None:
        """How much of what layers save a network saves; None where sums are taken as they are."""

    @abc.abstractmethod
    def blocks(self) -> list[Block]:
        """What `measure` times, the network among it."""

    @abc.abstractmethod
    def take_latencies(self, table: LatencyTable, calibrated: Calibration | None = None) -> None:
        """Uses what was measured before.

        Args:
            table: `LatencyTable`, of `blocks` among others.
            calibrated: the `Calibration` of its entries; None takes them as they are.
        """

    def measure(
        self,
        backend: Backend,
        path: str | os.PathLike | None = None,
        calibrate: int = 0,
        **options,
    ) -> None:
        """Times every candidate, every layer and the network, which take turns.

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
        table = measure(self.blocks(), backend, path, networks=networks, **options)
        calibrated = None
        if calibrate:
            whole, rest = network_latency(self.library, table)
            calibrated = calibration(table, (whole - rest, whole))
        self.take_latencies(table, calibrated)

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
        (scores, latencies), rest = self.tables(), self.rest_ms
        usable = [np.where(np.isfinite(s), b, np.inf).min() for s, b in zip(scores, latencies)]
        smallest = rest + Runs(self.runs).least(usable)
        if budget_ms < smallest and not options.get("limits"):
            raise InfeasibleError(
                f"a latency of {budget_ms:.6g} ms cannot be met: the smallest that this pool makes "
                f"is {smallest:.6g} ms, of which stem and head take {rest:.6g} ms"
            )
        options["runs"] = self.runs
        return diverse_plans(scores, latencies, budget_ms - rest, num_plans, **options)

    def front(self, resolution_ms: float | None = None) -> Front:
        """The plans of all budgets; latencies are of the layers, without stem and head.

        Args:
            resolution_ms: float, to a multiple of which latencies are rounded up; None rounds
                nothing.
        """
        return latency_front(*self.tables(), resolution_ms, self.runs)

    def predicted_ms(self, plan: Plan) -> float:
        """What a plan's whole network should take.

        Args:
            plan: a `Plan`.
        """
        return plan.latency_ms + self.rest_ms

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
        (scores, latencies), found = self.tables(), []
        names = [segment.name for segment in self.library.network.segments]
        teacher = self.operations.index(self.library.teacher_name)
        for row in Runs(self.runs).in_order(plan.choices):
            (first, last), place = self.runs[row], plan.choices[row]
            layer = names[first] if first == last else f"{names[first]} to {names[last]}"
            # The first rows are those of single layers.
            as_it_came = sum(latencies[k][teacher] for k in range(first, last + 1))
            saved, lost = float(as_it_came - latencies[row][place]), float(scores[row][place])
            found.append(PlanRow(layer, self.operations[place], saved, lost, last - first + 1))
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
