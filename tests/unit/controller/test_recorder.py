"""What happens around an event is kept, what is quiet is not, and nothing secret is in it."""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from pgvigil.controller.recorder import BEFORE, LONGEST, Recorder
from pgvigil.controller.replay import replayed
from pgvigil.decide.engine import decide, order
from pgvigil.model.command import Pause
from pgvigil.model.recording import Draft, Tick, packed, unpacked
from pgvigil.model.shell import CommandShell
from pgvigil.model.sighting import HostSilent
from pgvigil.model.spec import Fencing, Hooks, OwnCommands, WhenUnreachable, WitnessSpec
from pgvigil.model.units import Instant
from pgvigil.store.memory import MemoryStore
from tests.builders import WALL, Cluster, a_cluster, crashed, host_silent, in_role, receiver_lost, seen
from tests.unit.decide.situations import situation

C = a_cluster("pg1* pg2 pg3")
DOWN = receiver_lost(crashed(C, "pg1"))


class Kept(MemoryStore):
    """A store that shows its recordings as they came."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[Draft] = []

    async def keep(self, draft: Draft) -> None:
        self.drafts.append(draft)
        await super().keep(draft)


def at(cluster: Cluster, seconds: float) -> Cluster:
    return replace(cluster, view=replace(cluster.view, at=Instant(cluster.view.at + seconds)))


def noted(course: Sequence[tuple[Cluster, float]], *, flush: bool = False) -> list[Draft]:
    """What is kept of a course of moments."""

    async def go() -> list[Draft]:
        store = Kept()
        recorder = Recorder(C.spec, store, structlog.get_logger())
        writing = asyncio.ensure_future(recorder.run())
        for cluster, seconds in course:
            known = situation(at(cluster, seconds), WALL + timedelta(seconds=seconds))
            recorder.note(known, decide(known))
            await asyncio.sleep(0)
        if flush:
            await recorder.flush()
        await asyncio.sleep(0)
        writing.cancel()
        return store.drafts

    return asyncio.run(go())


QUIET = [(C, n * 0.5) for n in range(100)]


def test_nothing_is_kept_of_a_quiet_time() -> None:
    assert noted(QUIET) == []


def test_an_event_is_kept_with_what_was_before_it_and_after() -> None:
    course = [*QUIET, (DOWN, 50.0), (DOWN, 50.5), *((C, 51.0 + n * 0.5) for n in range(20))]
    (draft,) = noted(course)
    assert draft.began < WALL + timedelta(seconds=50) - timedelta(seconds=0.4 * BEFORE)
    assert draft.ended > WALL + timedelta(seconds=53)
    (kept,) = [t for t in draft.ticks if t.wall == WALL + timedelta(seconds=50)]
    assert kept.view.node(DOWN.record.primary).answer is None


def test_a_hold_that_stays_is_kept_once() -> None:
    course = [*QUIET, *((DOWN, 50.0 + n * 0.5) for n in range(100))]
    assert len(noted(course)) == 1


def test_a_restless_cluster_is_kept_in_pieces_of_bounded_length() -> None:
    course = [(DOWN if n % 2 else C, n * 0.1) for n in range(1000)]
    drafts = noted(course)
    assert len(drafts) >= 2
    assert all(len(draft.ticks) <= LONGEST for draft in drafts)


def test_somebody_who_asks_in_the_middle_gets_what_there_is_and_later_the_whole() -> None:
    begun = [*QUIET, (DOWN, 50.0)]
    (draft,) = noted(begun, flush=True)
    assert draft.ended == WALL + timedelta(seconds=50)


SECRET = "hunter2-Geheimnis"


def planted() -> Cluster:
    """Every place where a user could have written a secret has one."""
    node = replace(
        C.spec.nodes[0],
        conninfo=(("user", "pgvigil"), ("password", SECRET), ("sslpassword", SECRET)),
        password_command=f"echo {SECRET}",
        promote_command=f"promote {SECRET}",
        follow_command=f"follow {SECRET}",
        control=OwnCommands(f"start {SECRET}", f"stop {SECRET}", f"reload {SECRET}"),
        shell=CommandShell(("kubectl", f"--token={SECRET}")),
    )
    spec = replace(
        C.spec,
        nodes=(node, *C.spec.nodes[1:]),
        replication=replace(C.spec.replication, conninfo=(("password", SECRET),)),
        fencing=Fencing(WhenUnreachable.PROMOTE, command=f"ipmitool -P {SECRET}"),
        hooks=Hooks((f"curl -H {SECRET}",), (f"ask {SECRET}",)),
        witnesses=(WitnessSpec("w1", "10.0.0.9", CommandShell(("ssh", SECRET))),),
    )
    cluster = replace(C, spec=spec)
    conninfo = f"host=10.0.0.11 port=5432 user=replicator password='{SECRET}' application_name=pg2"
    cluster = in_role(cluster, "pg2", conninfo=conninfo)
    answer = cluster.view.node(C.spec.nodes[2].name).answer
    assert answer
    settings = {**answer.facts.settings, "restore_command": f"fetch --key {SECRET}"}
    answer = replace(answer, facts=replace(answer.facts, settings=settings))
    cluster = seen(cluster, "pg3", sql=answer, last=answer)
    hidden = host_silent(cluster, "pg1", for_s=1.0)
    look = hidden.view.node(C.record.primary).host
    assert isinstance(look, HostSilent)
    return seen(hidden, "pg1", host=replace(look, detail=SECRET))


def test_no_secret_is_in_a_recording_and_it_is_decided_the_same_without() -> None:
    cluster = planted()
    known = situation(cluster)
    ticks = noted_ticks(cluster)
    assert SECRET in repr(known)
    body = packed(Draft(cluster.spec, ticks, changed_primary=False))
    text = zlib.decompress(body, wbits=31).decode()
    assert SECRET not in text
    assert "10.0.0.11" in text
    assert all(each.same for each in replayed(unpacked(body)))


def noted_ticks(cluster: Cluster) -> tuple[Tick, ...]:
    known, broken = situation(cluster), situation(receiver_lost(crashed(cluster, "pg1"), ["pg2"]))
    pause = Pause()
    return (
        Tick(WALL, known.record, known.view, decide(known)),
        Tick(WALL, broken.record, broken.view, decide(broken)),
        Tick(WALL, known.record, known.view, order(known, pause), pause),
    )
