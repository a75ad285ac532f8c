"""The simulated server waits for standbys as a real one does. What real ones do: docs/internals."""

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest

from pgvigil.model.units import NodeName
from pgvigil.sim.clock import VirtualLoop
from pgvigil.sim.cluster import a_cluster
from pgvigil.sim.server import Server
from pgvigil.sim.synchrony import NAMES, Names, Told, read_names
from pgvigil.sim.wal import Record
from pgvigil.sim.world import World

LONG_S = 15.0
"""Every process has taken note by then, and every standby has said how far it is."""


class Trial:
    """Three servers without a controller, and the answers to commits on them."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.world = World(loop, 1, a_cluster(3, random.Random(1)))
        self.world.begin()
        self.world.recycles = False
        self.told: dict[int, Told | None] = {}
        self._rows = 1_000_000

    def __getitem__(self, name: str) -> Server:
        return self.world.servers[NodeName(name)]

    async def set(self, name: str, names: str) -> None:
        """Have every process of that server know the setting."""
        self[name].data.settings[NAMES] = names
        self[name].reload()
        await asyncio.sleep(LONG_S)

    async def cut(self, name: str) -> None:
        self[name].data.settings["primary_conninfo"] = ""
        self[name].reload()
        await asyncio.sleep(1.0)

    def write(self, name: str, *, local: bool = False) -> Record:
        self._rows += 1
        return self[name].commit(self._rows, self._note, local=local)

    def _note(self, record: Record, told: Told | None) -> None:
        self.told[record.row] = told

    async def told_of(self, record: Record) -> Told | str | None:
        """What the client has heard in the end; "waits" if nothing."""
        await asyncio.sleep(LONG_S)
        return self.told.get(record.row, "waits")


def on_three_servers(course: Callable[[Trial], Coroutine[None, None, None]]) -> None:
    loop = VirtualLoop()

    async def run() -> None:
        trial = Trial(loop)
        await asyncio.sleep(LONG_S)  # all stream
        await course(trial)
        assert not trial.world.rules.violations

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", Names()),
        ("  ", Names()),
        ('ANY 1 ("pg2", "pg3")', Names(1, frozenset({"pg2", "pg3"}))),
        ("any 2 (pg2,pg3)", Names(2, frozenset({"pg2", "pg3"}))),
        ('ANY 1 ("a b", "c""d")', Names(1, frozenset({"a b", 'c"d'}))),
    ],
)
def test_the_setting_is_read(text: str, names: Names) -> None:
    assert read_names(text) == names


@pytest.mark.parametrize("text", ["pg2", "FIRST 1 (pg2)", "ANY 0 (pg2)", "ANY 1 ()", "ANY (pg2)"])
def test_other_forms_are_not_known(text: str) -> None:
    with pytest.raises(ValueError, match=NAMES):
        read_names(text)


def test_without_names_nobody_waits() -> None:
    async def course(trial: Trial) -> None:
        assert await trial.told_of(trial.write("pg1")) is Told.UNWAITED

    on_three_servers(course)


def test_one_of_two_is_enough_and_with_both_cut_commits_wait() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", 'ANY 1 ("pg2", "pg3")')
        assert await trial.told_of(trial.write("pg1")) is Told.REPLICATED
        await trial.cut("pg2")
        assert await trial.told_of(trial.write("pg1")) is Told.REPLICATED
        await trial.cut("pg3")
        assert await trial.told_of(trial.write("pg1")) == "waits"
        assert await trial.told_of(trial.write("pg1", local=True)) is Told.LOCAL

    on_three_servers(course)


def test_two_of_two_wait_for_both() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", "ANY 2 (pg2, pg3)")
        assert await trial.told_of(trial.write("pg1")) is Told.REPLICATED
        await trial.cut("pg2")
        assert await trial.told_of(trial.write("pg1")) == "waits"

    on_three_servers(course)


def test_who_is_not_listed_does_not_count() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", 'ANY 1 ("pg2")')
        await trial.cut("pg2")
        assert await trial.told_of(trial.write("pg1")) == "waits"
        states = {s.below.server.name: s.priority for s in trial["pg1"].senders.values()}
        assert states == {"pg3": 0}

    on_three_servers(course)


def test_emptied_names_release_who_waits() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", "ANY 1 (elsewhere)")
        record = trial.write("pg1")
        assert await trial.told_of(record) == "waits"
        await trial.set("pg1", "")
        assert await trial.told_of(record) is Told.UNWAITED

    on_three_servers(course)


def test_a_lower_number_releases_who_waits_when_a_standby_says_something() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", "ANY 2 (pg2, pg3)")
        await trial.cut("pg2")
        record = trial.write("pg1")
        assert await trial.told_of(record) == "waits"
        await trial.set("pg1", "ANY 1 (pg2, pg3)")
        assert await trial.told_of(record) is Told.REPLICATED

    on_three_servers(course)


def test_who_cancels_is_told_nothing_and_the_row_stays() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", "ANY 1 (elsewhere)")
        record = trial.write("pg1")
        assert trial["pg1"].sync.cancel(record)
        assert not trial["pg1"].sync.cancel(record)
        assert await trial.told_of(record) == "waits"
        assert record.row in trial["pg1"].data.rows()

    on_three_servers(course)


@pytest.mark.parametrize("end", ["stop", "kill", "kill_postmaster", "stop_at_once"])
def test_a_session_that_waits_ends_with_its_server_and_the_row_is_there_after_recovery(end: str) -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", "ANY 1 (elsewhere)")
        record, server = trial.write("pg1"), trial["pg1"]
        server.supervised = False
        getattr(server, end)()
        assert await trial.told_of(record) is None
        server.start()
        await asyncio.sleep(5.0)
        assert server.takes_writes
        assert server.data.has(record)
        assert await trial.told_of(trial.write("pg1")) == "waits"

    on_three_servers(course)


def test_a_setting_made_on_a_standby_counts_from_its_first_commit() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg2", 'ANY 1 ("pg3")')
        trial["pg1"].supervised = False
        trial["pg1"].kill()
        trial["pg2"].promote()
        while not trial["pg2"].takes_writes:  # noqa: ASYNC110  # a simulated server tells nobody
            await asyncio.sleep(0.001)
        record = trial.write("pg2")
        assert await trial.told_of(record) == "waits"
        trial["pg3"].data.settings["primary_conninfo"] = "host=10.0.0.12 port=5432"
        trial["pg3"].data.settings["primary_slot_name"] = ""
        trial["pg3"].reload()
        assert await trial.told_of(record) is Told.REPLICATED

    on_three_servers(course)


def test_a_standby_of_a_standby_never_acknowledges() -> None:
    async def course(trial: Trial) -> None:
        await trial.set("pg1", 'ANY 1 ("pg3")')
        trial["pg3"].data.settings["primary_conninfo"] = "host=10.0.0.12 port=5432"
        trial["pg3"].data.settings["primary_slot_name"] = ""
        trial["pg3"].reload()
        await trial.set("pg2", 'ANY 1 ("pg3")')
        record = trial.write("pg1")
        assert await trial.told_of(record) == "waits"
        assert trial["pg3"].data.has(record)
        assert [stream.priority for stream in trial["pg2"].senders.values()] == [0]

    on_three_servers(course)


def test_processes_take_note_of_a_reload_at_moments_of_their_own() -> None:
    async def course(trial: Trial) -> None:
        server, early = trial["pg1"], 0
        for turn in range(60):
            names = 'ANY 1 ("pg2", "pg3")' if turn % 2 == 0 else ""
            server.data.settings[NAMES] = names
            server.reload()
            while server.settings.get(NAMES, "") != names:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.0005)
            early += server.sync.waits != bool(names)
            await asyncio.sleep(5.0)
            assert server.sync.waits == bool(names)
        assert 0 < early < 60

    on_three_servers(course)


def test_wal_that_was_recycled_cannot_be_streamed() -> None:
    async def course(trial: Trial) -> None:
        primary = trial["pg1"]
        trial.world.recycles, trial["pg3"].supervised = True, False
        trial["pg3"].kill()
        await asyncio.sleep(1.0)
        primary.data.slots.pop("pg3")
        trial["pg3"].data.settings["primary_slot_name"] = ""
        for _ in range(3):
            trial.write("pg1")
            await asyncio.sleep(0.5)
            primary.checkpoint_now()
        trial["pg3"].start()
        await asyncio.sleep(30.0)
        assert trial["pg3"].receiving.stream is None
        assert trial["pg2"].receiving.stream is not None

    on_three_servers(course)
