"""Real HAProxy and PgBouncer, without a database behind: what they refuse, and what is left alone."""

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvigil.demo.ports import HOST, free_port
from pgvigil.demo.processes import Account, server_account
from pgvigil.errors import ConfigError, PgvigilError, StepFailed, Unreachable
from pgvigil.model.endpoint import Aim, Haproxy, Pgbouncer
from pgvigil.model.shell import LocalShell
from pgvigil.model.units import Generation, NodeName
from pgvigil.ports.endpoints.haproxy import HaproxyEndpoint
from pgvigil.ports.endpoints.pgbouncer import PgbouncerEndpoint
from pgvigil.ports.shell import make_shell
from tests.builders import a_cluster
from tests.postgres.fronts import HAPROXY, PGBOUNCER, Bouncer, needs, running_haproxy

SPEC = a_cluster("pg1* pg2").spec
PG1, PG2 = NodeName("pg1"), NodeName("pg2")
AT_PG1, AT_PG2 = Aim(Generation(1), PG1), Aim(Generation(2), PG2)


@pytest.fixture(scope="module")
def account() -> Account:
    return server_account()


@pytest.fixture
def home(account: Account) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgvigil-") as name:
        Path(name).chmod(0o755)
        account.own(Path(name))
        yield Path(name)


def bouncing(bouncer: Bouncer, account: Account, **changes: object) -> PgbouncerEndpoint:
    words = (("host", HOST), ("port", str(bouncer.port)), ("user", "pgvigil"), ("dbname", "pgbouncer"))
    shell = LocalShell(account.name if account.switch else "")
    wanted = Pgbouncer(
        "pgbouncer", words, (("postgres", ""),), str(bouncer.file), shell, timedelta(milliseconds=300)
    )
    wanted = replace(wanted, **changes)  # type: ignore[arg-type]  # checked by replace itself
    return PgbouncerEndpoint(wanted, SPEC, make_shell(shell, host=HOST))


async def closed_after(endpoint: PgbouncerEndpoint, work: Coroutine[Any, Any, str]) -> None:
    try:
        await work
    finally:
        endpoint.close()


@pytest.mark.skipif(**needs(PGBOUNCER, "pgbouncer"))
def test_a_pgbouncer_is_led_on_and_only_our_own_pause_is_ended(account: Account, home: Path) -> None:
    with Bouncer(account, home) as bouncer:
        endpoint = bouncing(bouncer, account)

        async def play() -> None:
            assert await endpoint.move(Aim(Generation(1), None)) == ""
            with pytest.raises(StepFailed, match="does not lead anywhere yet"):
                await endpoint.hold()
            assert await endpoint.move(AT_PG1) == "leads to pg1"
            assert await endpoint.move(AT_PG1) == ""
            assert await endpoint.look()

            await endpoint.hold()
            assert bouncer.paused
            held = replace(AT_PG2, held=True)
            assert await endpoint.move(held) == "leads to pg2"
            assert bouncer.paused
            endpoint.close()
            again = bouncing(bouncer, account)  # of another controller: the first one died
            assert await again.move(AT_PG2) == "clients go on"
            assert [bouncer.paused] == [False]
            assert "host=10.0.0.12" in bouncer.file.read_text()

            bouncer.tell("PAUSE postgres")  # somebody else's
            assert await again.move(AT_PG1) == "leads to pg1"
            assert bouncer.paused
            with pytest.raises(StepFailed, match="somebody else has paused postgres"):
                await again.hold()
            assert bouncer.paused
            again.close()

        try:
            asyncio.run(play())
        finally:
            endpoint.close()


@pytest.mark.skipif(**needs(PGBOUNCER, "pgbouncer"))
def test_what_is_wrong_with_a_pgbouncer_is_said_with_its_fix(account: Account, home: Path) -> None:
    def fix(endpoint: PgbouncerEndpoint, *, move: bool = False) -> str:
        with pytest.raises(PgvigilError) as wrong:
            asyncio.run(closed_after(endpoint, endpoint.move(AT_PG1) if move else endpoint.look()))
        return wrong.value.hint

    with Bouncer(account, home, admin="somebody") as bouncer:
        assert "admin_users" in fix(bouncing(bouncer, account))
    with Bouncer(account, home, retry="15") as bouncer:
        assert "server_login_retry = 0.2" in fix(bouncing(bouncer, account))
    with Bouncer(account, home) as bouncer:
        elsewhere = home / "bouncer" / "other.ini"
        assert f"%include {elsewhere}" in fix(bouncing(bouncer, account, file=str(elsewhere)), move=True)
        assert "must belong to" in fix(bouncing(bouncer, account, file="/proc/no/such"))
    assert "is it running" in fix(bouncing(bouncer, account))


@pytest.mark.skipif(**needs(HAPROXY, "haproxy"))
def test_what_is_wrong_with_a_haproxy_is_said_with_its_fix(home: Path) -> None:
    admin, user = home / "admin.sock", home / "user.sock"
    (home / "haproxy.cfg").write_text(
        f"global\n    stats socket {admin} level admin\n    stats socket {user} level user\n"
        "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"
        f"listen orders_write\n    bind {HOST}:{free_port()}\n    server pg1 {HOST}:{free_port()}\n"
    )
    only_pg1 = a_cluster("pg1*").spec

    def endpoint(address: Path, backend: str = "orders_write") -> HaproxyEndpoint:
        return HaproxyEndpoint(Haproxy("haproxy", str(address), backend), only_pg1)

    async def play() -> None:
        assert "orders_write has pg1" in await endpoint(admin).look()
        with pytest.raises(ConfigError) as wrong:
            await endpoint(user).look()
        assert "level admin" in wrong.value.hint
        with pytest.raises(ConfigError, match="no backend other"):
            await endpoint(admin, "other").move(AT_PG1)
        with pytest.raises(ConfigError, match="no server pg2"):
            await endpoint(admin).move(AT_PG2)
        assert await endpoint(admin).move(Aim(Generation(2), None)) == "pg1 out"
        assert await endpoint(admin).move(AT_PG1) == "pg1 in"
        with pytest.raises(Unreachable, match="does not answer"):
            await endpoint(home / "nobody.sock").move(AT_PG1)

    with running_haproxy(home / "haproxy.cfg", admin, user):
        asyncio.run(play())
