"""`pgvigil store migrate`: SQLite to a real etcd, and back."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.model.parameter import Trial
from pgvigil.store.gateway import Gateway
from pgvigil.store.lock import StateLock
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.sqlite import FILE_NAME, SqliteStore
from pgvigil.store.transactions import Transactions
from tests.contract.test_store import NOON, ORDERS, RECORD, VERSION, draft, event
from tests.etcd import Etcd, etcd_servers, needs_etcd

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


def migrate(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["store", "migrate", *words, "--config", str(folder / "pgvigil.yaml")])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def test_the_state_goes_to_etcd_and_back_whole(etcd: Etcd, tmp_path: Path) -> None:
    state, spec = tmp_path / "state", etcd.spec()
    endpoint = etcd.urls[0].removeprefix("http://")
    (tmp_path / "pgvigil.yaml").write_text(
        f"clusters: {{orders: {{nodes: {{pg1: h1}}}}}}\nstate_dir: {state}\n"
        f"store: {{kind: etcd, endpoints: ['{endpoint}'], prefix: {spec.prefix}, name: ctl1}}\n"
    )
    trial = Trial(ORDERS, "alice@host", ())
    events = [replace(event(f"event {n}"), number=n) for n in range(4, 8)]

    async def fill() -> None:
        async with await SqliteStore.open(state, events_kept=4) as store:
            await store.add([event(f"event {n}") for n in range(1, 8)])
            saved = await store.save(replace(RECORD, failovers=(NOON,)))
            await store.save(replace(saved, paused=True))
            await store.add_version(VERSION)
            await store.note_trial(ORDERS, trial)
            for minute in (0, 1):
                await store.keep(draft(minute))

    async def held() -> tuple[object, ...]:
        async with await SqliteStore.open(state) as store:
            record, kept = await store.load(ORDERS), await store.recordings(ORDERS)
            assert record
            recording = await store.recording(ORDERS, kept[1].began)
            told, versions = await store.events(None, limit=99), await store.versions(ORDERS, limit=9)
            assert told == tuple(events)
            return replace(record, revision=0), kept, recording, versions, await store.trial(ORDERS)

    async def other_controller(*words: str) -> tuple[int, str]:
        gateway = Gateway(spec)
        roster = EtcdRoster(Transactions(gateway, "ctl2"), replace(spec, name="ctl2"), "elsewhere")
        await roster.enter([ORDERS])
        done = await asyncio.to_thread(migrate, tmp_path, *words)
        await roster.leave()
        await gateway.close()
        return done

    asyncio.run(fill())
    before = asyncio.run(held())
    assert migrate(tmp_path, "etcd", "--dry-run")[0] == 0
    assert "other controllers run: ctl2" in asyncio.run(other_controller("etcd", "--yes"))[1]
    with StateLock(state):
        assert "another pgvigil works" in migrate(tmp_path, "etcd", "--yes")[1]
    code, out = migrate(tmp_path, "etcd", "--yes", "--json")
    assert code == 0, out
    counts = {"records": 1, "events": 4, "recordings": 2, "versions": 1}
    assert json.loads(out) == {"to": "etcd", "dry_run": False, **counts}
    assert not (state / FILE_NAME).exists()
    (state / f"{FILE_NAME}.migrated").rename(state / FILE_NAME)
    assert "etcd holds records already: orders" in migrate(tmp_path, "etcd", "--yes")[1]
    assert "there is a store already" in migrate(tmp_path, "sqlite", "--yes")[1]
    (state / FILE_NAME).unlink()

    code, out = migrate(tmp_path, "sqlite", "--yes")
    assert code == 0, out
    assert asyncio.run(held()) == before
    with sqlite3.connect(state / FILE_NAME) as db:
        db.execute("DELETE FROM record")
    db.close()
    assert "taken to etcd: 0 records" in migrate(tmp_path, "etcd", "--yes")[1], "its records went with them"


def test_without_etcd_in_the_configuration_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "pgvigil.yaml").write_text("clusters: {orders: {nodes: {pg1: h1}}}\n")
    assert "names no etcd" in migrate(tmp_path, "etcd", "--yes")[1]
