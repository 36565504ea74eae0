"""Visits to blocks, one among others, in orders that are drawn anew every round."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.search.latency.backends import Backend, Timer
from tfgen.search.latency.blocks import Block, BlockError
from tfgen.search.latency.table import Entry, LatencyTable, Repeat

RUNS_A_VISIT = 5


class Session:
    """One way to measure.

    Args:
        backend: `Backend` in which to time blocks.
        warm_up: integer, runs of every block before the first that counts.
        num_runs: integer, timed runs of every block, rounded up to whole visits.
        at_once: integer, blocks that take turns.
        quantile: float, the share of a block's runs that are faster than what counts.
        seed: integer that draws groups and orders.
    """

    def __init__(
        self,
        backend: Backend,
        warm_up: int,
        num_runs: int,
        at_once: int,
        quantile: float,
        seed: int,
    ):
        self._backend, self._warm_up = backend, warm_up
        self._num_visits, self._at_once = -(-num_runs // RUNS_A_VISIT), at_once
        self._quantile, self._rng = float(quantile), np.random.default_rng(seed)
        self._reference, self._reference_ms = None, None

    def take_turns(self, reference: Block, milliseconds: float) -> None:
        """From now on a block's times are in the measure of a reference that is run before it.

        Args:
            reference: the `Block` that takes turns.
            milliseconds: float, what it takes in that measure.
        """
        self._reference, self._reference_ms = reference, milliseconds

    def entries(self, blocks: Sequence[Block]) -> Iterator[tuple[str, Entry]]:
        """Pairs of a key and what was found of its block, as they are finished.

        Args:
            blocks: sequence of `Block`.
        """
        order = self._rng.permutation(len(blocks))
        with self._backend.timer(self._warm_up) as timer:
            for start in range(0, len(blocks), self._at_once):
                group = [blocks[k] for k in order[start : start + self._at_once]]
                yield from self._group(group, timer)
                timer.clear()

    def _group(self, blocks, timer: Timer):
        if self._reference is not None:
            timer.load(self._reference)
        times = {}
        for block in blocks:
            stopping.check()
            key = block.key
            try:
                if timer.load(block):
                    times[key] = []
                else:
                    yield key, Entry(0.0)
            except BlockError as error:
                yield key, Entry(None, failure=str(error))
        for visit in range(self._num_visits):
            keys = list(times)
            for place in self._rng.permutation(len(keys)):
                stopping.check()
                key = keys[place]
                try:
                    times[key].append(self._visit(timer, key))
                except BlockError as error:
                    del times[key]
                    yield key, Entry(None, failure=str(error))
                    continue
                if visit == self._num_visits - 1:
                    yield key, Entry.of_runs(np.concatenate(times.pop(key)), self._quantile)

    def _visit(self, timer, key) -> np.ndarray:
        """Milliseconds of some runs in a row."""
        if self._reference is None:
            return timer.run(key, RUNS_A_VISIT)
        try:
            beside = np.median(timer.run(self._reference.key, RUNS_A_VISIT))
        except BlockError as error:  # no fault of the block whose turn it is
            raise UserError(f"the reference of latencies failed: {error}") from error
        return timer.run(key, RUNS_A_VISIT) * (self._reference_ms / beside)

    def again(self, known: Mapping[str, Block], table: LatencyTable, count: int) -> Repeat | None:
        """Measures some of the blocks that took time a second time.

        Args:
            known: mapping of keys to `Block`.
            table: `LatencyTable` of the first measurement.
            count: integer, how many.

        Returns:
            The `Repeat`; None where nothing was measured twice.
        """
        timed = [key for key in known if table.entries[key].num_runs]
        if not timed or not count:
            return None
        chosen = [timed[k] for k in self._rng.permutation(len(timed))[:count]]
        found = dict(self.entries([known[key] for key in chosen]))
        both = [key for key in chosen if found[key].failure is None]
        if not both:
            return None
        second = np.array([found[key].milliseconds for key in both])
        return Repeat.of(table.milliseconds(both), second)
