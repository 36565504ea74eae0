"""Blocks timed one among others, so that what disturbs one disturbs all."""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from tfgen.errors import UserError
from tfgen.files.locking import locked
from tfgen.ops.checks import in_range, whole_number
from tfgen.search.latency.backends import Backend
from tfgen.search.latency.blocks import Block, Network, distinct
from tfgen.search.latency.session import Session
from tfgen.search.latency.table import LatencyTable

LEAST_RUNS = 30
NOISY = 0.03  # mean difference of two measurements from which on a machine is not quiet
_SHARE = 0.05  # of the time, for writing the table


def measure(
    blocks: Iterable[Block | tuple[str, Any]],
    backend: Backend,
    path: str | os.PathLike | None = None,
    *,
    num_runs: int = 60,
    quantile: float = 0.5,
    warm_up: int = 10,
    at_once: int = 32,
    repeat: int = 16,
    retry_failures: bool = False,
    reference: Block | None = None,
    networks: Iterable[Network] = (),
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """A table of what blocks take; those that it has already are not timed again.

    Blocks come in groups, which share a process. Each is visited several times in between the
    others, in an order that is drawn anew every round; a visit is one run to warm up and five that
    count. At the end some are measured again from the start: where the two disagree, the machine is
    busy, and a warning says so.

    A block that cannot be converted, or ends the process in which it is timed, is noted in the
    table with its reason; the others go on. With a file, every finished entry is kept in it:
    a run that was killed goes on where it was, and a second process waits for the first to end.

    On a machine that is never quiet, a reference takes turns with every block: what counts of a
    visit is how much longer the block took than the reference just before it, times what the
    reference took when the table was begun. What slows both down, another program or a lower clock,
    cancels.

    Args:
        blocks: iterable of `Block`; those with the same key are the same.
        backend: `Backend` in which to time them.
        path: path of the table's file, JSON; None keeps the table in memory.
        num_runs: integer, timed runs of every block, at least 30. Defaults to `60`.
        quantile: float, the share of a block's runs that are faster than what counts; 0.5 is the
            median. Defaults to `0.5`.
        warm_up: integer, runs of every block before the first that counts. Defaults to `10`.
        at_once: integer, blocks in a group. Defaults to `32`.
        repeat: integer, blocks that are measured a second time; 0 looks for no noise. Defaults to
            `16`.
        retry_failures: whether blocks that failed are tried again. Defaults to `False`.
        reference: `Block` that takes turns with the others, such as `REFERENCE`; None has none.
        networks: iterable of `Network`: whole ones that are timed among their parts, so that
            `calibration` knows what sums are worth. Defaults to `()`.
        seed: integer that draws groups and orders. Defaults to `0`.
        report: function `(blocks finished, blocks to measure)`, called whenever one is finished;
            None calls nothing.

    Returns:
        The `LatencyTable`, with what else it held.

    Raises:
        UserError: the runtime is not installed, or the file is damaged, or was measured on another
            device or in another setting; the reference cannot be timed.
        ConfigError: a number is out of range.
        OSError: the file cannot be written.
    """
    networks = list(networks)
    whole = {network.key: list(network.parts) for network in networks}
    known = _known(blocks, networks)
    whole_number("num_runs", num_runs, LEAST_RUNS)
    in_range("quantile", quantile, 0.0, most=1.0)
    for name, value, least in (
        ("warm_up", warm_up, 0),
        ("at_once", at_once, 1),
        ("repeat", repeat, 0),
    ):
        whole_number(name, value, least)
    metadata = _metadata(backend, quantile, reference)
    with contextlib.nullcontext() if path is None else locked(f"{path}.lock"):
        kept = _Kept(_taken_up(path, metadata, backend))
        entries = kept.table.entries
        news = {key: parts for key, parts in whole.items() if key not in kept.table.networks}
        kept.table.networks |= news
        missing = [
            block
            for key, block in known.items()
            if key not in entries or (retry_failures and entries[key].failure)
        ]
        if missing:
            session = Session(backend, warm_up, num_runs, at_once, quantile, seed)
            if reference is not None:
                _begin_turns(session, reference, kept)
            missing = [
                block for block in missing if reference is None or block.key != reference.key
            ]
            for finished, (key, entry) in enumerate(session.entries(missing), 1):
                kept.add(key, entry)
                if report is not None:
                    report(finished, len(missing))
            kept.table.repeat = session.again(known, kept.table, repeat)
            kept.write()
        elif path is not None and (news or not os.path.exists(path)):
            kept.write()
    _warn(kept.table, known)
    return kept.table


def unmeasured(
    blocks: Iterable[Block | tuple[str, Any]],
    backend: Backend,
    path: str | os.PathLike | None = None,
    *,
    quantile: float = 0.5,
    reference: Block | None = None,
    networks: Iterable[Network] = (),
) -> list[str]:
    """The keys of what `measure` would time, none of which is timed here.

    Args:
        blocks: iterable of `Block`.
        backend: `Backend` in which to time them.
        path: path of the table's file, JSON; None: there is none.
        quantile: float, as of `measure`. Defaults to `0.5`.
        reference: `Block` that takes turns with the others; None has none.
        networks: iterable of `Network`. Defaults to `()`.

    Returns:
        A list of strings, in the order given.

    Raises:
        UserError: the runtime is not installed, or the file is damaged, or was measured on another
            device or in another setting.
    """
    held = _taken_up(path, _metadata(backend, quantile, reference), backend).entries
    missing = [key for key in _known(blocks, networks) if key not in held]
    if missing:
        backend.require()
    return missing


def _known(blocks, networks) -> dict[str, Block]:
    return distinct([*blocks, *(Block(key, item) for key, item, _ in networks)])


def _metadata(backend, quantile, reference) -> dict[str, Any]:
    found = {"quantile": float(quantile), **backend.metadata()}
    return found if reference is None else {**found, "reference": reference.key}


def _taken_up(path, metadata, backend) -> LatencyTable:
    if path is None or not os.path.lexists(path):
        return LatencyTable(metadata, path=path)
    table = LatencyTable.read(path)
    try:
        table.check(metadata)
    except UserError:
        backend.require()  # what is not installed has no version to be compared
        raise
    return table


def _begin_turns(session, reference, kept):
    """Times the reference, unless the table knows it: its times are all in that measure."""
    if reference.key not in kept.table.entries:
        ((key, entry),) = session.entries([reference])
        if not entry.milliseconds:
            raise UserError(
                entry.failure or f"the reference {key!r} takes no time; name one that computes"
            )
        kept.add(key, entry)
    session.take_turns(reference, float(kept.table.milliseconds([reference.key])[0]))


class _Kept:
    """A table that is written as it grows, as often as costs little."""

    def __init__(self, table):
        self.table, self._next = table, 0.0

    def add(self, key, entry):
        self.table.entries[key] = entry
        if time.monotonic() >= self._next:
            self.write()

    def write(self):
        if self.table.path is None:
            return
        start = time.monotonic()
        self.table.write()
        end = time.monotonic()
        self._next = end + (end - start) / _SHARE


def _warn(table, known):
    failed = [key for key in known if table.entries[key].failure]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(known)} blocks have no latency: {table.failures[failed[0]]}",
            stacklevel=3,
        )
    repeat = table.repeat
    if repeat is not None and repeat.mean_difference > NOISY:
        warnings.warn(
            f"{repeat.num_blocks} blocks that were measured twice differ by "
            f"{repeat.mean_difference:.1%} on average, more than {NOISY:.0%}: the machine is busy "
            "or its clock unsteady; measure again when it is quiet",
            stacklevel=3,
        )
