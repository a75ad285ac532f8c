"""What only etcd can break: servers that die or hang, answers that never come, logins, leases."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pgvigil.errors import StoreError, Unsafe
from pgvigil.model.etcd import EtcdSpec
from pgvigil.model.record import ClusterRecord
from pgvigil.store import etcd_shelf
from pgvigil.store.etcd import EtcdStore
from pgvigil.store.gateway import Gateway, Json, Unanswered
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.transactions import Transactions
from tests.contract.test_store import ORDERS, RECORD, WEB, draft, event, told
from tests.etcd import Etcd, etcd_servers, needs_etcd

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def one() -> Iterator[Etcd]:
    with etcd_servers(1) as etcd:
        yield etcd


class Controller:
    """A store and a roster over one connection, as a controller has them."""

    def __init__(self, spec: EtcdSpec, gateway: Gateway | None = None, *, identity: str = "") -> None:
        self.gateway = gateway or Gateway(spec)
        self.keys = Transactions(self.gateway, spec.name)
        self.now = 0.0
        self.roster = EtcdRoster(self.keys, spec, identity or spec.name, now=lambda: self.now)
        self.store = EtcdStore(self.keys, self.roster.lock)


@asynccontextmanager
async def controller(
    spec: EtcdSpec, gateway: Gateway | None = None, *, identity: str = ""
) -> AsyncIterator[Controller]:
    made = Controller(spec, gateway, identity=identity)
    try:
        await made.roster.enter([ORDERS, WEB])
        yield made
    finally:
        await made.gateway.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story()

    asyncio.run(whole())


class LosesAnswers(Gateway):
    """Carries out what it is told, and does not hear the answer."""

    lose = 0

    async def tell(self, path: str, body: Json) -> Json:
        answer = await super().tell(path, body)
        if self.lose:
            self.lose -= 1
            raise Unanswered("etcd did not answer")
        return answer


def test_what_was_carried_out_without_an_answer_is_not_done_twice(one: Etcd) -> None:
    async def story() -> None:
        spec = one.spec()
        gateway = LosesAnswers(spec)
        async with controller(spec, gateway) as ctl:
            assert await ctl.roster.claim(ORDERS)
            gateway.lose = 1
            saved = await ctl.store.save(RECORD, [event("one")])
            gateway.lose = 1
            saved = await ctl.store.save(replace(saved, paused=True), [event("two"), event("three")])
            assert await ctl.store.load(ORDERS) == saved
            assert saved.revision == 2
            assert told(await ctl.store.events(None, limit=9)) == ["one", "two", "three"]

    run(story)


def test_a_lock_that_was_taken_without_an_answer_is_found_at_the_next_look(one: Etcd) -> None:
    class Deaf(LosesAnswers):
        async def ask(self, path: str, body: Json) -> Json:
            if self.lose < 0:
                raise StoreError("etcd does not answer")
            return await super().ask(path, body)

        async def tell(self, path: str, body: Json) -> Json:
            try:
                return await super().tell(path, body)
            except Unanswered:
                self.lose = -1
                raise

    async def story() -> None:
        spec = one.spec()
        gateway = Deaf(spec)
        async with controller(spec, gateway) as ctl:
            gateway.lose = 1
            with pytest.raises(StoreError):
                await ctl.roster.claim(ORDERS)
            gateway.lose = 0
            assert ctl.roster.lost(ORDERS)
            await ctl.roster.look()
            assert not ctl.roster.lost(ORDERS)
            assert await ctl.store.save(RECORD)

    run(story)


# S2-01
def test_only_who_holds_the_lock_writes(one: Etcd) -> None:
    async def story() -> None:
        spec = one.spec("ctl1")
        other = replace(spec, name="ctl2")
        async with controller(spec) as ctl1, controller(other) as ctl2:
            with pytest.raises(StoreError, match="not guarded by this controller"):
                await ctl1.store.save(RECORD)
            assert await ctl1.roster.claim(ORDERS)
            assert not await ctl2.roster.claim(ORDERS)
            saved = await ctl1.store.save(RECORD)
            with pytest.raises(StoreError, match="not guarded by this controller"):
                await ctl2.store.save(saved)
            # Its lock is taken from it: what it does not know yet, etcd does.
            await ctl1.keys.change([], [ctl1.keys.delete("owner/orders")])
            assert await ctl2.roster.claim(ORDERS)
            with pytest.raises(StoreError, match="held by ctl2"):
                await ctl1.store.save(replace(saved, paused=True), [event("lost")])
            with pytest.raises(StoreError, match="held by ctl2"):
                await ctl1.store.note_trial(ORDERS, None)
            assert await ctl2.store.load(ORDERS) == saved
            assert await ctl2.store.events(None, limit=9) == ()
            await ctl1.roster.look()
            assert "does not hold the lock" in ctl1.roster.lost(ORDERS)

    run(story)


def test_a_record_that_was_removed_and_made_anew_is_another(one: Etcd) -> None:
    async def story() -> None:
        async with controller(one.spec()) as ctl:
            await ctl.roster.claim(ORDERS)
            saved = await ctl.store.save(RECORD)
            await ctl.keys.change([], [ctl.keys.delete("record/orders")])
            await ctl.keys.change([], [ctl.keys.put("record/orders", "{}")])
            with pytest.raises(StoreError, match="changed by somebody else"):
                await ctl.store.save(saved)

    run(story)


def test_events_of_two_controllers_are_numbered_in_one_row(one: Etcd) -> None:
    async def story() -> None:
        spec = one.spec("ctl1")
        async with controller(spec) as ctl1, controller(replace(spec, name="ctl2")) as ctl2:
            for number in range(10):
                await asyncio.gather(
                    ctl1.store.add([event(f"{number}")]), ctl2.store.add([event(f"{number}", WEB)])
                )
            everything = await ctl1.store.events(None, limit=100)
            assert [e.number for e in everything] == list(range(1, 21))
            assert told(await ctl2.store.events(WEB, limit=3)) == ["7", "8", "9"]
            many = [event(str(n)) for n in range(150)]
            await ctl1.store.add([*many, event("x" * 200_000)])
            *_, before, last = await ctl2.store.events(ORDERS, limit=200)
            assert (before.text, last.number) == ("149", 171)
            assert last.text.endswith("(cut: too large for etcd)")

    run(story)


def test_so_many_recordings_are_kept_and_changes_of_primary_longest(
    one: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_shelf, "RECORDINGS_KEPT", 2)
    monkeypatch.setattr(etcd_shelf, "CHANGES_KEPT", 2)

    async def story() -> None:
        async with controller(one.spec()) as ctl:
            for minute in range(5):
                await ctl.store.keep(draft(minute, changed=minute == 0))
            kept = await ctl.store.recordings(ORDERS)
            assert [each.changed_primary for each in kept] == [True, False, False]
            with pytest.raises(StoreError, match="more than etcd takes at once"):
                await ctl.keys.change([], [ctl.keys.put("large", "x" * 2_000_000)])

    run(story)


def test_a_lease_counts_for_two_thirds_of_its_time_and_goes_with_its_controller(one: Etcd) -> None:
    async def story() -> None:
        spec = one.spec("ctl1", lease_s=6.0)
        async with controller(spec) as ctl1, controller(replace(spec, name="ctl2")) as ctl2:
            assert await ctl1.roster.claim(ORDERS)
            assert ctl1.roster.lost(ORDERS) == ""
            ctl1.now = 3.9
            assert ctl1.roster.lost(ORDERS) == ""
            ctl1.now = 4.0
            assert "not confirmed by etcd" in ctl1.roster.lost(ORDERS)
            assert set((await ctl2.roster.look()).peers) == {"ctl1", "ctl2"}
            await ctl1.roster.leave()
            assert set((await ctl2.roster.look()).peers) == {"ctl2"}
            assert await ctl2.roster.claim(ORDERS)

    run(story)


def test_no_two_controllers_have_one_name_and_one_that_comes_back_does_not_wait_for_itself(one: Etcd) -> None:
    async def story() -> None:
        spec = one.spec("ctl1")
        async with controller(spec, identity="here") as before:
            assert await before.roster.claim(ORDERS)
            with pytest.raises(Unsafe, match="another controller is called ctl1"):
                await Controller(spec, before.gateway, identity="there").roster.enter([ORDERS])
            async with controller(spec, identity="here") as again:
                assert await again.roster.claim(ORDERS)
                await before.roster.look()
                assert before.roster.lost(ORDERS)

    run(story)


def test_a_store_of_another_version_is_left_alone(one: Etcd) -> None:
    async def story() -> None:
        async with controller(one.spec()) as ctl:
            await ctl.keys.change([], [ctl.keys.put("format", "999")])
            with pytest.raises(StoreError, match="another version of pgvigil"):
                await ctl.store.prepare()

    run(story)


def test_with_a_login_a_token_is_renewed_when_etcd_forgets_it(one: Etcd) -> None:
    async def story() -> None:
        for words in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("auth", "enable"),
        ):
            done = one.ctl(*words)
            assert done.returncode == 0, done.stderr
        try:
            # Passwords are checked slowly on purpose, slower still on a loaded machine.
            spec = one.spec("ctl1", user="root", password_command="echo secret", retry_s=10.0)
            async with controller(spec) as ctl:
                await ctl.roster.claim(ORDERS)
                saved = await ctl.store.save(RECORD)
                ctl.gateway._token = "forgotten.1"
                assert await ctl.store.save(saved)
            wrong = Gateway(replace(spec, password_command="echo wrong"))
            with pytest.raises(StoreError, match="refuses our login"):
                await wrong.ask("/v3/kv/range", {"key": "YQ=="})
            await wrong.close()
        finally:
            assert one.ctl("--user=root:secret", "auth", "disable").returncode == 0

    run(story)


def test_records_survive_servers_that_hang_or_die() -> None:
    async def story(etcd: Etcd) -> None:
        async with controller(etcd.spec(retry_s=5.0)) as ctl:
            assert await ctl.roster.claim(ORDERS)
            record = await ctl.store.save(RECORD)

            async def saves(count: int, record: ClusterRecord) -> ClusterRecord:
                for _ in range(count):
                    record = await ctl.store.save(record, [event(str(record.revision + 1))])
                return record

            first = await asyncio.to_thread(etcd.leader)
            etcd.hang(first)
            record = await saves(3, record)
            etcd.go_on(first)
            await asyncio.to_thread(etcd.await_health)
            etcd.stop(next(n for n in range(3) if n != first))
            record = await saves(3, record)
            assert record.revision == 7
            assert told(await ctl.store.events(None, limit=99)) == [str(n) for n in range(2, 8)]

    with etcd_servers(3) as etcd:
        asyncio.run(story(etcd))


# S4-12
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_over_tls_both_sides_show_certificates(tmp_path: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=ca",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    )
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "pgvigil"):
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            "csr",
        )
        openssl(
            *("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-extfile", "names", "-out", f"{name}.crt"),
        )
    file = {
        name: str(tmp_path / name)
        for name in ("ca.crt", "server.crt", "server.key", "pgvigil.crt", "pgvigil.key")
    }
    options = (
        f"--cert-file={file['server.crt']}",
        f"--key-file={file['server.key']}",
        f"--trusted-ca-file={file['ca.crt']}",
        "--client-cert-auth",
    )

    async def story(etcd: Etcd) -> None:
        spec = etcd.spec(ca=file["ca.crt"], cert=file["pgvigil.crt"], key=file["pgvigil.key"], retry_s=20.0)
        async with controller(spec) as ctl:
            assert await ctl.roster.claim(ORDERS)
            assert await ctl.store.save(RECORD)
        for stranger in (replace(spec, ca="", retry_s=1.0), replace(spec, cert="", retry_s=1.0)):
            gateway = Gateway(stranger)
            with pytest.raises(StoreError, match="etcd does not answer"):
                await gateway.ask("/v3/kv/range", {"key": "YQ=="})
            await gateway.close()

    with etcd_servers(1, options=options, scheme="https") as etcd:
        asyncio.run(story(etcd))
