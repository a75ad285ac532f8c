"""One fault on one system, and what came of it for clients."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg

from bench.compare.system import Kind, System, await_whole, is_whole, libpq_client, writer
from bench.compare.table import LIMIT_S, Run, beside, longest_gap
from tests.lab import Ack, Cluster, Fault, Lab, LabError, LabHost, Writer, faults

READY_S = 90.0
"""All must be well within this time before a fault."""
BACK_S = 30.0
"""Who is not back so long after the end of a fault needs a human."""
GOES_ON_S = 5.0
"""Clients go on so long after the end of a fault: an old primary that still acknowledges shows."""
GOES_WRONG = (LabError, psycopg.Error, OSError)


@dataclass(frozen=True, slots=True)
class Blow:
    """How a fault is set, how it ends, and whether the old primary's answers count as an end of the gap."""

    strike: Callable[[LabHost], Fault]
    ends: Callable[[System, LabHost], object]
    old_counts: bool = False
    inside: bool = False


def _revive(system: System, old: LabHost) -> None:
    faults.revive_host(old)
    system.boot(old)


BLOWS = {
    "crash": Blow(faults.kill_postgres, lambda *_: None, old_counts=True),
    "host": Blow(faults.lose_host, _revive),
    "hang": Blow(faults.freeze, lambda _, old: faults.thaw(old)),
    "isolated": Blow(faults.link_down, lambda _, old: faults.link_up(old), inside=True),
}


def measure(kind: Kind, fault: str, n: int) -> Iterator[Run]:
    """A fault n times; on one cluster as long as each run ends whole."""
    left = n
    while left > 0:
        with Lab(auth=kind.auth) as lab:
            for run in _on_one_cluster(kind, lab, fault, left):
                left -= 1
                yield run


def _on_one_cluster(kind: Kind, lab: Lab, fault: str, n: int) -> Iterator[Run]:
    try:
        system = kind.make(lab)
        system.start()
    except GOES_WRONG as error:
        yield _failed(kind, fault, error)
        return
    for _ in range(n):
        try:
            await_whole(system, READY_S)
            run = one_round(kind, system, fault)
        except GOES_WRONG as error:
            print(system.last_words(), file=sys.stderr)
            yield _failed(kind, fault, error)
            return
        yield run
        if run.back_s is None or not is_whole(system.cluster):
            return


def _failed(kind: Kind, fault: str, error: Exception) -> Run:
    return Run(kind.system, kind.settings, fault, None, None, 0, 0, 0.0, None, failed=str(error))


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw of a fault: its beginning, the gaps, the first row of the new primary (None: none)."""

    began: float
    gap_s: float | None
    client_s: float | None
    first: Ack | None


def one_round(kind: Kind, system: System, fault: str) -> Run:
    """Strike, wait for writes, end the fault, wait for the old primary. Raises LabError."""
    cluster = system.cluster
    old, blow = cluster.primary(), BLOWS.get(fault)
    with ExitStack() as stack:
        outside = stack.enter_context(writer(cluster))
        client = stack.enter_context(libpq_client(cluster))
        writers = [outside, client]
        if blow and blow.inside:
            writers.append(stack.enter_context(writer(cluster, beside=old)))
        time.sleep(1 + time.monotonic() % 1)
        seen = _struck(system, blow, writers, old) if blow else _switched_over(system, writers, old)
        over = time.monotonic()
        back_s = _back(system, over, GOES_ON_S)
        time.sleep(max(0.0, over + GOES_ON_S - time.monotonic()))
        for each in writers:
            each.stop()
        back_s = back_s or _back(system, over, BACK_S)
        lost = _lost(cluster, seen.first, writers)
    acks = [ack for each in writers for ack in each.acks]
    exposed_s = _exposed_s([ack for ack in acks if ack.node in (old.name, old.address)], seen)
    both = len(beside(acks, seen.first))
    return Run(
        system=kind.system,
        settings=kind.settings,
        fault=fault,
        gap_s=seen.gap_s,
        client_s=seen.client_s,
        lost=lost,
        beside=both,
        exposed_s=exposed_s if fault == "isolated" else 0.0,
        back_s=back_s,
    )


def _exposed_s(of_old: list[Ack], seen: Seen) -> float:
    """How long after the beginning the old primary acknowledged on its old timeline."""
    last = max(
        (a.acknowledged for a in of_old if seen.first is None or a.timeline < seen.first.timeline),
        default=0.0,
    )
    return max(0.0, last - seen.began)


def _struck(system: System, blow: Blow, writers: list[Writer], old: LabHost) -> Seen:
    struck = blow.strike(old)
    passed_over = () if blow.old_counts else (old.name, old.address)
    try:
        first = _first(writers[0], struck.done, passed_over, LIMIT_S)
        left_s = struck.done + LIMIT_S - time.monotonic()
        late = _first(writers[1], struck.done, passed_over, left_s if first else 0.0)
        time.sleep(GOES_ON_S if first else 0.0)
    finally:
        blow.ends(system, old)
    return Seen(struck.began, _since(struck.began, first), _since(struck.began, late), first)


def _switched_over(system: System, writers: list[Writer], old: LabHost) -> Seen:
    new = next(node for node in system.cluster.nodes if node is not old)
    began = time.monotonic()
    system.switchover(new)
    first, late = (_first(writer, began, (old.name, old.address), LIMIT_S) for writer in writers)
    time.sleep(1)
    if first is None or late is None:
        return Seen(began, None, None, first)
    gap_s, client_s = (
        longest_gap([a.acknowledged for a in writer.acks], began, ack.acknowledged)
        for writer, ack in zip(writers, (first, late), strict=True)
    )
    return Seen(began, gap_s, client_s, first)


def _since(began: float, ack: Ack | None) -> float | None:
    return ack.acknowledged - began if ack else None


def _first(writer: Writer, moment: float, not_on: Sequence[str], within_s: float) -> Ack | None:
    """The first acknowledgement after that, None if none comes. Raises LabError if the writer ended."""
    try:
        return writer.first_after(moment, within_s=within_s, not_on=not_on)
    except LabError:
        if not writer.runs():
            raise
    return None


def _back(system: System, over: float, within_s: float) -> float | None:
    """Seconds until all stream and the system is content, None if not within the time."""
    while (passed_s := time.monotonic() - over) < within_s:
        if is_whole(system.cluster) and system.is_content():
            return time.monotonic() - over
        time.sleep(min(0.2, within_s - passed_s))
    return None


def _lost(cluster: Cluster, first: Ack | None, writers: Sequence[Writer]) -> int | None:
    """Acknowledged rows that are not on the new primary; without one, on the only one there is, if any."""
    if first is None and len(cluster.primaries()) != 1:
        return None
    primary = cluster.node(first.node) if first else cluster.primary()
    with cluster.lab.connect(primary) as connection:
        return sum(len(writer.lost(connection)) for writer in writers)
