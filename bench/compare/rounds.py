"""One fault on one system, and what came of it for clients."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg

from bench.compare.system import Kind, System, await_whole, is_whole
from bench.compare.table import LIMIT_S, Run, beside, longest_gap
from tests.lab import Ack, Cluster, Fault, Lab, LabError, LabHost, Writer, faults

READY_S = 90.0
"""All must be well within this time before a fault."""
BACK_S = 60.0
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


def measure(kind: Kind, wanted: list[str], n: int) -> Iterator[Run]:
    """Every fault n times; a new cluster for every fault, and after each run that did not end whole."""
    for fault in wanted:
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
    return Run(kind.system, kind.settings, fault, None, 0, 0, 0.0, None, failed=str(error))


def one_round(kind: Kind, system: System, fault: str) -> Run:
    """Strike, wait for writes, end the fault, wait for the old primary. Raises LabError."""
    cluster = system.cluster
    old = cluster.primary()
    writers = ExitStack()
    with writers:
        outside = writers.enter_context(cluster.lab.writer(cluster.nodes))
        blow = BLOWS.get(fault)
        inside = None
        if blow and blow.inside:
            inside = writers.enter_context(cluster.lab.writer([old], netns=old.netns))
        time.sleep(1 + time.monotonic() % 1)
        if blow is None:
            gap_s, first, began = _switched_over(system, outside, old)
        else:
            gap_s, first, began = _struck(system, blow, outside, old)
        over = time.monotonic()
        back_s = _back(system, over, GOES_ON_S)
        time.sleep(max(0.0, over + GOES_ON_S - time.monotonic()))
        for writer in filter(None, (outside, inside)):
            writer.stop()
        back_s = back_s or _back(system, over, BACK_S)
        lost = _lost(cluster, first, outside, inside)
        acks = [*outside.acks, *(inside.acks if inside else ())]
        of_old = [ack.acknowledged for ack in acks if ack.node == old.name and _is_older(ack, first)]
        exposed_s = max(0.0, max(of_old, default=0.0) - began) if inside else 0.0
    both = len(beside(acks, first))
    return Run(kind.system, kind.settings, fault, gap_s, lost, both, exposed_s, back_s)


def _is_older(ack: Ack, first: Ack | None) -> bool:
    return first is None or ack.timeline < first.timeline


def _struck(
    system: System, blow: Blow, outside: Writer, old: LabHost
) -> tuple[float | None, Ack | None, float]:
    struck = blow.strike(old)
    first: Ack | None = None
    try:
        passed_over = () if blow.old_counts else (old.name,)
        first = outside.first_after(struck.done, within_s=LIMIT_S, not_on=passed_over)
        time.sleep(GOES_ON_S)
    except LabError:
        if not outside.runs():
            raise
    finally:
        blow.ends(system, old)
    return (first.acknowledged - struck.began if first else None), first, struck.began


def _switched_over(system: System, outside: Writer, old: LabHost) -> tuple[float | None, Ack | None, float]:
    new = next(node for node in system.cluster.nodes if node is not old)
    began = time.monotonic()
    system.switchover(new)
    try:
        first = outside.first_after(began, within_s=LIMIT_S, not_on=[old.name])
    except LabError:
        return None, None, began
    time.sleep(1)
    times = [ack.acknowledged for ack in outside.acks]
    return longest_gap(times, began, first.acknowledged), first, began


def _back(system: System, over: float, within_s: float) -> float | None:
    """Seconds until all stream and the system is content, None if not within the time."""
    while (passed_s := time.monotonic() - over) < within_s:
        if is_whole(system.cluster) and system.is_content():
            return time.monotonic() - over
        time.sleep(min(0.2, within_s - passed_s))
    return None


def _lost(cluster: Cluster, first: Ack | None, *writers: Writer | None) -> int:
    """Acknowledged rows that are not on the new primary; without one, on the only one there is."""
    primary = cluster.node(first.node) if first else cluster.primary()
    with cluster.lab.connect(primary) as connection:
        return sum(len(writer.lost(connection)) for writer in writers if writer)
