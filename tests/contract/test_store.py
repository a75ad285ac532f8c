"""One suite over every store: what `ports.contract.Store` promises, and what only a disk can break."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvigil.errors import Bug, StoreError, Unsafe
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.parameter import ParameterChange, ParameterVersion, Trial, TriedLine
from pgvigil.model.record import ClusterRecord, Event, Fenced, Level, Origin, Paths, Phase, Scheduled
from pgvigil.model.recording import Draft, Tick, unpacked
from pgvigil.model.step import Plan, Rest
from pgvigil.model.units import ClusterName, Generation, Lsn, NodeName, SystemId, Timeline
from pgvigil.ports.contract import Store
from pgvigil.store import shelf
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.etcd import EtcdStore, owner_key
from pgvigil.store.gateway import Gateway
from pgvigil.store.limits import EVENTS_KEPT
from pgvigil.store.lock import StateLock
from pgvigil.store.memory import MemoryStore
from pgvigil.store.renew import ADDED
from pgvigil.store.sqlite import FILE_NAME, SCHEMA_VERSION, SqliteStore
from pgvigil.store.transactions import Transactions
from tests.builders import a_cluster
from tests.etcd import Etcd, etcd_servers, needs_etcd

ORDERS, WEB = ClusterName("orders"), ClusterName("web")
RECORD = ClusterRecord(
    ORDERS, Generation(1), Phase.STABLE, NodeName("pg1"), SystemId("7412345678901234567"), Timeline(1)
)
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)

VERSION = ParameterVersion(
    ORDERS,
    1,
    NOON,
    "alice@host",
    "",
    {"work_mem": "8MB", "jit": None},
    (ParameterChange("jit", "off", None),),
)

texts = st.text(max_size=20)
node_names = st.builds(NodeName, st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True))
generations = st.builds(Generation, st.integers(0, 2**40))
lsns = st.builds(Lsn, st.integers(0, 2**64 - 1))
times = st.datetimes(timezones=st.just(UTC))
records = st.builds(
    ClusterRecord,
    cluster=st.builds(ClusterName, texts),
    generation=generations,
    phase=st.sampled_from(Phase),
    primary=node_names,
    system_id=st.builds(SystemId, texts),
    timeline=st.builds(Timeline, st.integers(0, 2**32 - 1)),
    revision=st.integers(0, 2**40),
    origin=st.sampled_from(Origin),
    since=st.none() | times,
    candidate=st.none() | node_names,
    deposed=st.frozensets(node_names),
    fenced=st.none() | st.sampled_from(Fenced),
    at_least=lsns,
    forced=st.booleans(),
    paused=st.booleans(),
    paused_until=st.none() | times,
    failovers=st.lists(times, max_size=4).map(tuple),
    primary_lsn=lsns,
    paths=st.dictionaries(node_names, st.builds(Paths, texts, texts, texts), max_size=3),
)
scalars = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
an_event = st.builds(
    Event,
    cluster=st.builds(ClusterName, texts),
    at=times,
    kind=texts,
    text=texts,
    level=st.sampled_from(Level),
    node=st.none() | node_names,
    generation=generations,
    evidence=st.lists(texts, max_size=3).map(tuple),
    hint=texts,
    data=st.dictionaries(texts, scalars, max_size=3),
    number=st.integers(0, 2**40),
)

MakeStore = Callable[..., AbstractAsyncContextManager[Store]]


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


@asynccontextmanager
async def etcd_store(spec: EtcdSpec, *, events_kept: int = EVENTS_KEPT) -> AsyncIterator[EtcdStore]:
    """A store whose controller holds the locks of both clusters."""
    gateway = Gateway(spec)
    try:
        keys = Transactions(gateway, spec.name)
        locks: dict[ClusterName, int] = {}
        for cluster in (ORDERS, WEB):
            locks[cluster] = await keys.change([], [keys.put(owner_key(cluster), spec.name)])
        async with EtcdStore(keys, locks.get, events_kept=events_kept) as store:
            yield store
    finally:
        await gateway.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=needs_etcd)])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    @asynccontextmanager
    async def make(**options: int) -> AsyncIterator[Store]:
        if request.param == "memory":
            yield MemoryStore(**options)
            return
        if request.param == "etcd":
            servers: Etcd = request.getfixturevalue("etcd")
            async with etcd_store(servers.spec(), **options) as store:
                yield store
            return
        async with await SqliteStore.open(tmp_path / "state", **options) as store:
            yield store

    return make


def event(text: str, cluster: ClusterName = ORDERS) -> Event:
    return Event(cluster, NOON, "promoted", text)


def told(events: tuple[Event, ...]) -> list[str]:
    return [e.text for e in events]


# What every store promises


def test_strategies_and_codec_know_every_field() -> None:
    changed = replace(RECORD, since=NOON, candidate=NodeName("pg2"), fenced=Fenced.STOPPED)
    assert set(json.loads(to_json(changed))) == set(ClusterRecord.__dataclass_fields__)


@given(records)
@settings(deadline=None)
def test_a_record_survives_its_text(record: ClusterRecord) -> None:
    assert from_json(ClusterRecord, to_json(record)) == record


@given(an_event)
@settings(deadline=None)
def test_an_event_survives_its_text(e: Event) -> None:
    assert from_json(Event, to_json(e)) == e


@given(records)
@settings(max_examples=25, deadline=None)
def test_every_field_survives_saving(record: ClusterRecord) -> None:
    async def story(store: Store) -> None:
        saved = await store.save(replace(record, revision=0))
        assert saved == replace(record, revision=1)
        assert await store.load(record.cluster) == saved

    asyncio.run(story(MemoryStore()))


@given(st.lists(records, max_size=5, unique_by=lambda r: r.cluster))
@settings(max_examples=15, deadline=None)
def test_every_field_survives_the_disk(
    tmp_path_factory: pytest.TempPathFactory, made: list[ClusterRecord]
) -> None:
    async def story() -> None:
        state = tmp_path_factory.mktemp("state")
        async with await SqliteStore.open(state) as store:
            for record in made:
                await store.save(replace(record, revision=0))
        async with await SqliteStore.open(state) as store:
            for record in made:
                assert await store.load(record.cluster) == replace(record, revision=1)

    asyncio.run(story())


def run(make: MakeStore, story: Callable[[Store], Awaitable[None]], **options: int) -> None:
    async def whole() -> None:
        async with make(**options) as store:
            await story(store)

    asyncio.run(whole())


def test_an_unmanaged_cluster_has_no_record(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        assert await store.load(ORDERS) is None
        await store.save(RECORD)
        assert await store.load(WEB) is None

    run(make_store, story)


def test_a_save_counts_the_revision_up(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        first = await store.save(RECORD)
        second = await store.save(replace(first, paused=True))
        assert (first.revision, second.revision) == (1, 2)
        assert await store.load(ORDERS) == second

    run(make_store, story)


@pytest.mark.parametrize("stale", [0, 1, 3], ids=["as if new", "older", "from nowhere"])
def test_a_save_from_another_revision_stores_nothing(make_store: MakeStore, stale: int) -> None:
    async def story(store: Store) -> None:
        kept = await store.save(replace(await store.save(RECORD), paused=True))
        with pytest.raises(StoreError, match="changed by somebody else"):
            await store.save(replace(RECORD, revision=stale), [event("lost")])
        assert await store.load(ORDERS) == kept
        assert await store.events(None, limit=10) == ()

    run(make_store, story)


def test_of_two_saves_at_once_one_wins(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        base = await store.save(RECORD)
        outcomes = await asyncio.gather(
            *(store.save(replace(base, candidate=NodeName(f"pg{n}"))) for n in range(8)),
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, ClusterRecord)]
        assert len(won) == 1
        assert await store.load(ORDERS) == won[0]

    run(make_store, story)


def test_versions_of_parameters_are_kept_by_number_and_never_replaced(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        for number in (1, 2, 3):
            await store.add_version(replace(VERSION, number=number))
        await store.add_version(replace(VERSION, cluster=WEB))
        assert [v.number for v in await store.versions(ORDERS, limit=2)] == [2, 3]
        with pytest.raises(StoreError, match="exists already"):
            await store.add_version(replace(VERSION, number=3, who="bob@host"))
        assert {v.who for v in await store.versions(ORDERS, limit=9)} == {"alice@host"}
        assert await store.versions(WEB, limit=9) == (replace(VERSION, cluster=WEB),)

    run(make_store, story)


def test_what_is_tried_is_noted_until_it_is_a_version(make_store: MakeStore) -> None:
    lines = (
        TriedLine(NodeName("pg3"), "work_mem", None, "8MB"),
        TriedLine(NodeName("pg3"), "jit", "off", None),
    )
    trial = Trial(ORDERS, "alice@host", lines)

    async def story(store: Store) -> None:
        assert await store.trial(ORDERS) is None
        await store.note_trial(ORDERS, replace(trial, who="bob@host"))
        await store.note_trial(ORDERS, trial)
        await store.note_trial(WEB, replace(trial, cluster=WEB))
        assert await store.trial(ORDERS) == trial
        await store.add_version(VERSION)
        with pytest.raises(StoreError, match="exists already"):
            await store.add_version(VERSION)
        assert await store.trial(ORDERS) is None
        assert await store.trial(WEB) == replace(trial, cluster=WEB)
        await store.note_trial(WEB, None)
        assert await store.trial(WEB) is None

    run(make_store, story)


# S1-10
def test_events_come_numbered_oldest_first(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        await store.save(RECORD, [event("one"), event("two")])
        await store.add([event("three", WEB)])
        await store.add([])
        await store.add([event("four")])
        everything = await store.events(None, limit=10)
        assert told(everything) == ["one", "two", "three", "four"]
        assert [e.number for e in everything] == [1, 2, 3, 4]
        assert told(await store.events(ORDERS, limit=10)) == ["one", "two", "four"]
        assert told(await store.events(None, limit=2)) == ["three", "four"]
        assert told(await store.events(ORDERS, limit=2)) == ["two", "four"]
        assert told(await store.events(None, limit=10, after=2)) == ["three", "four"]
        assert told(await store.events(ORDERS, limit=1, after=1)) == ["four"]
        assert await store.events(None, limit=0) == ()
        assert await store.events(None, limit=10, after=4) == ()

    run(make_store, story)


def test_events_that_many_clusters_add_at_once_are_all_there_each_clusters_in_order(
    make_store: MakeStore,
) -> None:
    names = [ClusterName(f"c{number}") for number in range(20)]

    async def course(store: Store) -> None:
        async def tell(name: ClusterName) -> None:
            for number in range(3):
                await store.add([event(f"{name} {number}", cluster=name)])

        saving = asyncio.create_task(store.save(RECORD))
        await asyncio.gather(*(tell(name) for name in names))
        assert (await saving).revision == 1
        for name in names:
            found = await store.events(name, limit=10)
            assert [each.text for each in found] == [f"{name} {number}" for number in range(3)]

    run(make_store, course)


def test_old_events_are_dropped_and_numbers_go_on(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        for number in range(7):
            await store.add([event(f"{number}a"), event(f"{number}b")])
        kept = await store.events(None, limit=100)
        assert told(kept) == ["5a", "5b", "6a", "6b"]
        assert [e.number for e in kept] == [11, 12, 13, 14]

    run(make_store, story, events_kept=4)


# What the text in the store may be


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda fields: fields.pop("phase"), "lacks fields: phase"),
        (lambda fields: fields.update(colour="red"), "unknown fields: colour"),
        (lambda fields: fields.update(phase="resting"), "ClusterRecord.phase"),
        (lambda fields: fields.update(generation="7"), "ClusterRecord.generation"),
        (lambda fields: fields.update(generation=True), "ClusterRecord.generation"),
        (lambda fields: fields.update(forced=1), "ClusterRecord.forced"),
        (lambda fields: fields.update(at_least=16), "ClusterRecord.at_least"),
        (lambda fields: fields.update(at_least="16"), "ClusterRecord.at_least"),
        (lambda fields: fields.update(since="yesterday"), "ClusterRecord.since"),
        (lambda fields: fields.update(since="2026-07-01T12:00:00"), "not in UTC"),
        (lambda fields: fields.update(deposed="pg1"), "ClusterRecord.deposed is no list"),
        (lambda fields: fields.update(failovers=[1]), re.escape("ClusterRecord.failovers[0]")),
        (lambda fields: fields.update(paths={"pg1": {"data_dir": ""}}), "paths.pg1 lacks fields"),
        (lambda fields: fields.update(paths=[]), "paths is no object"),
    ],
)
def test_a_text_that_is_not_exactly_a_record_is_refused(
    change: Callable[[dict[str, object]], object], complaint: str
) -> None:
    fields = json.loads(to_json(RECORD))
    change(fields)
    with pytest.raises(StoreError, match=complaint):
        from_json(ClusterRecord, json.dumps(fields))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": NaN}', "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="no ClusterRecord"):
        from_json(ClusterRecord, text)


def test_a_number_json_does_not_have_is_left_out_of_an_event() -> None:
    lag = replace(event("lag"), data={"lag_s": float("inf"), "bytes": 3})
    assert from_json(Event, to_json(lag)).data == {"lag_s": None, "bytes": 3}


def test_a_time_without_zone_is_our_bug() -> None:
    with pytest.raises(Bug, match="cannot be stored"):
        to_json(replace(RECORD, since=datetime(2026, 7, 1)))  # noqa: DTZ001


# What only a disk can break


def opened(state: Path) -> str:
    """What opening the store says."""

    async def story() -> str:
        try:
            async with await SqliteStore.open(state) as store:
                await store.save(replace(RECORD, cluster=ClusterName("other")))
        except StoreError as error:
            return f"{error}"
        return "fine"

    return asyncio.run(story())


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with await SqliteStore.open(tmp_path / "a" / "state") as store:
            await store.save(RECORD)
            files = list((tmp_path / "a" / "state").iterdir())
            assert {f.name for f in files} == {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
            assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}

    old = os.umask(0o000)
    try:
        asyncio.run(story())
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    assert opened(tmp_path) == "fine"
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    assert "newer pgvigil" in opened(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    assert "another program's database" in opened(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_file_of_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(os.urandom(8192))
    assert "no store of pgvigil" in opened(tmp_path)


def test_a_damaged_page_is_noticed_when_opening(tmp_path: Path) -> None:
    async def fill() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            await store.add([event("x" * 200)] * 500)

    asyncio.run(fill())
    file = tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096:12288] = os.urandom(8192)
    file.write_bytes(content)
    assert "damaged" in opened(tmp_path)


def test_a_record_that_makes_no_sense_is_an_error_not_a_guess(tmp_path: Path) -> None:
    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            with pytest.raises(StoreError, match="no ClusterRecord"):
                await store.load(ClusterName("other"))

    assert opened(tmp_path) == "fine"
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE record SET body = '{}'")
    db.close()
    asyncio.run(story())


def test_a_file_locked_by_another_program_is_an_error_in_bounded_time(tmp_path: Path) -> None:
    assert opened(tmp_path) == "fine"
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "another program has it locked" in opened(tmp_path)
    other.close()


def test_a_state_dir_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot create the state directory" in opened(tmp_path / "file" / "state")


def test_a_store_that_could_not_be_opened_is_opened_by_a_later_call(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "state").write_text("in the way")
        async with SqliteStore(tmp_path / "state" / FILE_NAME) as store:
            with pytest.raises(StoreError):
                await store.save(RECORD)
            (tmp_path / "state").unlink()
            assert await store.save(RECORD) == await store.load(ORDERS)

    asyncio.run(story())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        store = await SqliteStore.open(tmp_path)
        await store.close()
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.load(ORDERS)

    asyncio.run(story())


def test_a_cancelled_save_is_done_whole_and_the_store_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            save = asyncio.ensure_future(store.save(RECORD, [event("once")]))
            await asyncio.sleep(0)
            save.cancel()
            with pytest.raises(asyncio.CancelledError):
                await save
            assert await store.load(ORDERS) == replace(RECORD, revision=1)
            assert told(await store.events(None, limit=9)) == ["once"]

    asyncio.run(story())


def program(body: str, *arguments: str, **options: int) -> "subprocess.Popen[str]":
    """A process of its own that uses the store; `state` is its directory."""
    head = """
        import asyncio, resource, sys
        from dataclasses import replace
        from pathlib import Path
        from pgvigil.errors import StoreError
        from pgvigil.store.sqlite import SqliteStore
        from tests.contract.test_store import RECORD, event
        state = Path(sys.argv[1])
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, bufsize=1,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    body = """
        async def story():
            store = await SqliteStore.open(state)
            record = RECORD
            while True:
                record = await store.save(record, [event(str(record.revision + 1))])
                print(record.revision, flush=True)
        asyncio.run(story())
    """
    with program(body, str(tmp_path)) as saver:
        assert saver.stdout
        for line in saver.stdout:
            if int(line) >= 100:
                break
        saver.send_signal(signal.SIGKILL)
        rest = [line for line in saver.stdout if line.endswith("\n")]
    acknowledged = int(rest[-1]) if rest else 100

    async def check() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            record = await store.load(ORDERS)
            assert record
            assert record.revision in (acknowledged, acknowledged + 1)
            events = await store.events(None, limit=10**6)
            assert told(events) == [str(n + 1) for n in range(record.revision)]  # together, or not at all

    asyncio.run(check())


def test_a_full_disk_is_an_error_and_the_store_recovers_with_it(tmp_path: Path) -> None:
    body = """
        async def story():
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            store = await SqliteStore.open(state)
            record = await store.save(RECORD)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
            try:
                while True:
                    record = await store.save(record, [event("x" * 2000)])
            except StoreError as error:
                print("full" in error.what, bool(error.hint))
            assert await store.load(record.cluster) == record
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            record = await store.save(record, [event("again")])
            await store.close()
            store = await SqliteStore.open(state)
            print(await store.load(record.cluster) == record)
            await store.close()
        asyncio.run(story())
    """
    with program(body, str(tmp_path)) as filler:
        out, _ = filler.communicate(timeout=60)
    assert out.split() == ["True", "True", "True"]


def test_the_state_dir_is_one_process_at_a_time(tmp_path: Path) -> None:
    body = """
        from pgvigil.store.lock import StateLock
        with StateLock(state):
            print("locked", flush=True)
            sys.stdin.read()
    """
    state = tmp_path / "state"
    with StateLock(state), pytest.raises(Unsafe, match=f"process {os.getpid()} holds"), StateLock(state):
        pass
    code = textwrap.dedent(
        "import sys; from pathlib import Path; state = Path(sys.argv[1])\n"
    ) + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(Unsafe, match=f"process {holder.pid} holds") as refusal, StateLock(state):
            pass
        assert refusal.value.hint
        holder.kill()
    with StateLock(state):
        assert (state / "lock").read_text() == f"{os.getpid()}\n"


def test_a_store_of_an_older_pgvigil_is_brought_up_to_date(tmp_path: Path) -> None:
    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            await store.save(RECORD)
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            (body,) = db.execute("SELECT body FROM record").fetchone()
            old = {name: value for name, value in json.loads(body).items() if name not in added}
            db.execute("UPDATE record SET body = ?", (json.dumps(old),))
            db.execute("DROP TABLE parameter_version")
            db.execute("DROP TABLE parameter_trial")
            db.execute("PRAGMA user_version = 1")
            db.execute("DROP TABLE recording")
        db.close()
        async with await SqliteStore.open(tmp_path) as store:
            assert await store.load(RECORD.cluster) == replace(RECORD, revision=1)
            await store.keep(draft(0))
            assert len(await store.recordings(ORDERS)) == 1
            await store.add_version(VERSION)
            assert await store.versions(ORDERS, limit=5) == (VERSION,)

    added = {name for fields in ADDED.values() for name in fields}
    asyncio.run(story())


def test_what_was_scheduled_before_it_could_be_repeated_is_done_once(tmp_path: Path) -> None:
    scheduled = (Scheduled(7, NOON, "{}"), Scheduled(8, NOON, "{}"))

    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            await store.save(replace(RECORD, scheduled=scheduled))
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute(
                "UPDATE record SET body = "
                "json_remove(body, '$.scheduled[0].every_s', '$.scheduled[1].every_s')"
            )
            db.execute("DROP TABLE parameter_trial")
            db.execute("PRAGMA user_version = 7")
        db.close()
        async with await SqliteStore.open(tmp_path) as store:
            assert (await store.load(RECORD.cluster)) == replace(RECORD, scheduled=scheduled, revision=1)

    asyncio.run(story())


def draft(minute: int, *, changed: bool = False, cluster: ClusterName = ORDERS) -> Draft:
    """A recording of ten seconds at that minute."""
    scene = a_cluster(name=cluster)
    at = NOON + timedelta(minutes=minute)
    ticks = [Tick(at + timedelta(seconds=s), scene.record, scene.view, Plan(Rest())) for s in range(11)]
    return Draft(scene.spec, tuple(ticks), changed_primary=changed)


def test_recordings_are_found_by_their_moment(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        for minute in (0, 1):
            await store.keep(draft(minute))
        await store.keep(draft(1, cluster=WEB))
        kept = await store.recordings(ORDERS)
        assert [(each.began, each.ticks) for each in kept] == [(NOON, 11), (NOON + timedelta(minutes=1), 11)]
        body = await store.recording(ORDERS, NOON + timedelta(seconds=63))
        assert body
        assert unpacked(body).frames[0].wall == NOON + timedelta(minutes=1)
        assert await store.recording(ORDERS, NOON + timedelta(seconds=45)) is None
        assert await store.recording(ORDERS, NOON + timedelta(seconds=12)), (
            "told a little after the last tick"
        )

    run(make_store, story)


def test_an_event_is_found_by_its_number(make_store: MakeStore) -> None:
    async def story(store: Store) -> None:
        await store.add([event("one"), event("two")])
        (_, two) = await store.events(None, limit=9)
        assert await store.event(two.number) == two
        assert await store.event(two.number + 1) is None

    run(make_store, story)


def test_so_many_recordings_are_kept_and_changes_of_primary_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "RECORDINGS_KEPT", 2)
    monkeypatch.setattr(shelf, "CHANGES_KEPT", 2)

    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            for minute in range(5):
                await store.keep(draft(minute, changed=minute == 0))
            kept = await store.recordings(ORDERS)
            assert [each.changed_primary for each in kept] == [True, False, False]
            assert all(each.size for each in kept)

    asyncio.run(story())


def test_a_recording_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "RECORDING_AT_MOST", 10)

    async def story() -> None:
        async with await SqliteStore.open(tmp_path) as store:
            with pytest.raises(StoreError, match="too large"):
                await store.keep(draft(0))
            assert await store.recordings(ORDERS) == ()

    asyncio.run(story())
