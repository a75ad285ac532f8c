"""What `contract.Session` promises, shown by the real one against real servers."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path

import pytest

from pgvigil.demo.servers import LOGIN, Server, Servers, wait_until
from pgvigil.errors import Bug, ConfigError
from pgvigil.model.sighting import Farewell, Silence
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import NoReply, QueryFailed, Rejected, Session, SessionEnded
from pgvigil.ports.postgres import STATEMENTS_MAX, PostgresSession
from tests.backends import wait_at_rest

pytestmark = pytest.mark.postgres

LONG = 30.0
SHORT = 0.3


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as made:
        yield made


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    """Shared by the tests that leave it as it is."""
    return servers.make_primary("shared")


@pytest.fixture
def own(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server to break."""
    made = servers.make_primary(f"own-{request.node.name.replace('[', '-').strip(']')}", max_connections=5)
    yield made
    made.thaw()
    made.stop("immediate")


def spec_of(server: Server, *, host: str = "", password_command: str = "", **keywords: str) -> NodeSpec:
    login = {} if password_command else {"passfile": str(server.home / f"{LOGIN}.pass")}
    conninfo = tuple({"user": LOGIN, **login, **keywords}.items())
    return spec_at(host or "127.0.0.1", server.port, conninfo, password_command)


def spec_at(
    host: str, port: int, conninfo: tuple[tuple[str, str], ...] = (), password_command: str = ""
) -> NodeSpec:
    return NodeSpec(NodeName("pg1"), host, port, conninfo, password_command)


async def opened(spec: NodeSpec) -> Session:
    session = PostgresSession(spec)
    await session.open(within_s=LONG)
    return session


async def failure_of(spec: NodeSpec, within_s: float = LONG) -> Silence | str:
    """The silence or SQLSTATE with which opening fails."""
    session = PostgresSession(spec)
    try:
        await session.open(within_s=within_s)
    except NoReply as error:
        return error.silence
    except Rejected as error:
        return error.sqlstate
    finally:
        assert await session.ended()
        session.close()
    raise AssertionError("it opened")


def run(main: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await main

    asyncio.run(bounded())


# queries


def test_rows_come_as_text_and_null_as_none(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        sql = "SELECT $1::text AS text, $2::int + 1 AS number, $3::text AS nothing, true AS yes"
        expected = ({"text": "主库 ü '", "number": "42", "nothing": None, "yes": "t"},)
        for _ in range(4):
            assert await session.query(sql, ("主库 ü '", "41", None), within_s=LONG) == expected
        assert await session.query("SELECT 1 AS n WHERE false", within_s=LONG) == ()
        assert await session.query("SET work_mem = '1MB'", within_s=LONG) == ()
        assert len(await session.query("SELECT generate_series(1, 20000) AS n", within_s=LONG)) == 20000
        session.close()

    run(main())


def test_large_statements_are_sent_whole(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        rows = await session.query("SELECT length($1) AS n", ("x" * 20_000_000,), within_s=LONG)
        assert rows == ({"n": "20000000"},)
        assert await session.query("SELECT 1 AS n", within_s=LONG) == ({"n": "1"},)
        session.close()

    run(main())


def test_settings_of_the_session(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server, options="-c work_mem=123kB -c statement_timeout=5000"))
        names = ("application_name", "search_path", "client_encoding", "work_mem", "statement_timeout")
        sql = "SELECT current_setting($1) AS it"
        values = [(await session.query(sql, (name,), within_s=LONG))[0]["it"] for name in names]
        assert values == ["pgvigil", "pg_catalog", "UTF8", "123kB", "5s"]
        session.close()

    run(main())


def test_a_failed_query_tells_why_and_the_session_lives(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        for _ in range(3):
            with pytest.raises(QueryFailed) as failed:
                await session.query("SELECT 1/0", within_s=LONG)
            assert failed.value.sqlstate == "22012"
            with pytest.raises(QueryFailed) as failed:
                await session.query("SELECT pg_promot()", within_s=LONG)
            assert failed.value.sqlstate == "42883"
            assert failed.value.hint.startswith("No function matches")
        assert await session.query("SELECT 1 AS n", within_s=LONG) == ({"n": "1"},)
        assert session.is_open
        session.close()

    run(main())


def test_prepared_at_the_second_use_and_not_without_limit(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        count = "SELECT count(*) AS n FROM pg_prepared_statements WHERE NOT statement LIKE '%prepared%'"
        for expected in ("0", "1", "1"):
            await session.query("SELECT 'again'", within_s=LONG)
            assert (await session.query(count, within_s=LONG))[0]["n"] == expected
        for number in range(2 * STATEMENTS_MAX):
            for _ in range(2):
                await session.query(f"SELECT {number}", within_s=LONG)
        assert (await session.query(count, within_s=LONG))[0]["n"] == str(STATEMENTS_MAX - 1)
        session.close()

    run(main())


def test_a_stale_prepared_statement_is_prepared_anew(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        await session.query("CREATE TEMP TABLE t AS SELECT 1 AS a", within_s=LONG)
        for _ in range(3):
            await session.query("SELECT * FROM t", within_s=LONG)
        await session.query("ALTER TABLE t ADD b int", within_s=LONG)
        with pytest.raises(QueryFailed) as failed:
            await session.query("SELECT * FROM t", within_s=LONG)
        assert failed.value.sqlstate == "0A000"
        for _ in range(3):
            assert await session.query("SELECT * FROM t", within_s=LONG) == ({"a": "1", "b": None},)
        session.close()

    run(main())


def test_ten_at_once_are_answered_in_order(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        order: list[int] = []

        async def ask(number: int) -> None:
            sql = "SELECT $1::int AS n" if number % 3 else "SELECT 1/$1::int"
            with contextlib.suppress(QueryFailed):
                rows = await session.query(sql, (str(number),), within_s=LONG)
                assert number % 3 == 0 or rows == ({"n": str(number)},)
            order.append(number)

        await asyncio.gather(*(ask(number) for number in range(10)))
        assert order == list(range(10))
        session.close()

    run(main())


def test_copy_is_refused(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        with pytest.raises(Bug):
            await session.query("COPY (SELECT 1) TO STDOUT", within_s=LONG)
        assert not session.is_open

    run(main())


# opening


def test_every_way_to_the_server(server: Server) -> None:
    async def main() -> None:
        passfile = server.home / f"{LOGIN}.pass"
        ways = (
            spec_of(server, host="localhost"),  # ::1 is tried too, nobody listens there
            spec_of(server, host="elsewhere.invalid", hostaddr="127.0.0.1"),
            spec_of(server, host=str(server.home / "socket")),
            spec_of(server, password_command=f"cut -d: -f5 {passfile}; echo"),
        )
        for spec in ways:
            session = await opened(spec)
            assert await session.query("SELECT 1 AS n", within_s=LONG) == ({"n": "1"},)
            session.close()

    run(main())


def test_what_the_server_says_when_it_rejects_us(server: Server) -> None:
    async def main() -> None:
        assert await failure_of(spec_of(server, dbname="none")) == "3D000"
        assert await failure_of(spec_of(server, passfile="/nowhere")) == "28P01"
        assert (
            await failure_of(spec_of(server, user="postgres", hostaddr="127.0.0.1", sslmode="require"))
            == "08001"
        )
        assert await failure_of(spec_of(server, options="-c no_such_setting=1")) == "42704"

    run(main())


def test_a_wrong_password_is_not_repeated_to_anybody(server: Server) -> None:
    async def main() -> None:
        session = PostgresSession(spec_of(server, password_command="echo s3cret"))
        with pytest.raises(Rejected) as rejected:
            await session.open(within_s=LONG)
        assert rejected.value.sqlstate == "28P01"
        assert "s3cret" not in f"{rejected.value} {rejected.value.detail} {await session.ended()}"

    run(main())


@pytest.mark.parametrize("command", ["true", "exit 3", "sleep 60 & wait", "printf '\\377'; exit 1"])
def test_a_password_command_that_fails_is_our_trouble(server: Server, command: str) -> None:
    run(_fails_with(Silence.NO_ADDRESS, spec_of(server, password_command=command)))


async def _fails_with(expected: Silence, spec: NodeSpec) -> None:
    assert await failure_of(spec, SHORT) == expected


def test_no_connection_left(own: Server) -> None:
    async def main() -> None:
        sessions = [await opened(spec_of(own)) for _ in range(5)]
        assert await failure_of(spec_of(own)) == "53300"
        for session in sessions:
            session.close()

    run(main())


def test_a_server_that_shuts_down(own: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(own))
        os.kill(own.pid() or 0, signal.SIGTERM)
        while True:
            late = PostgresSession(spec_of(own))
            try:
                await late.open(within_s=LONG)
            except Rejected as rejected:
                assert rejected.sqlstate == "57P03"  # noqa: PT017
                break
            late.close()
        assert await session.query("SELECT 1 AS n", within_s=LONG) == ({"n": "1"},)
        session.close()

    run(main())


def test_rejections_are_understood_in_chinese(own: Server) -> None:
    catalog = Path("/usr/share/locale/zh_CN/LC_MESSAGES/postgres-15.mo")
    if not catalog.exists() or not shutil.which("localedef"):
        pytest.skip("no Chinese messages")
    locales = own.home / "locales"
    locales.mkdir()
    made = subprocess.run(["localedef", "-i", "zh_CN", "-f", "UTF-8", locales / "zh_CN.UTF-8"], check=False)
    if made.returncode:
        pytest.skip("no Chinese locale")
    own.stop()
    with (own.data_dir / "postgresql.conf").open("a") as file:
        file.write("lc_messages = 'zh_CN.UTF-8'\n")
    environment = {"LOCPATH": str(locales), "PATH": os.defpath, "LC_ALL": "zh_CN.UTF-8"}
    command: list[str | Path] = [own.bin_dir / "postgres", "-D", own.data_dir]
    with subprocess.Popen(command, env=environment, user=own.account.name, cwd=own.data_dir) as postmaster:

        async def main() -> None:
            session = PostgresSession(spec_of(own, dbname="none"))
            with pytest.raises(Rejected) as rejected:
                await session.open(within_s=LONG)
            assert rejected.value.sqlstate == "3D000"
            assert "数据库" in rejected.value.detail
            kept = await opened(spec_of(own))
            postmaster.send_signal(signal.SIGINT)
            farewell = await kept.ended()
            assert (farewell.sqlstate, farewell.source) == ("57P01", "ProcessInterrupts")
            assert "administrator" not in farewell.message

        try:
            wait_until(own.log.exists, within_s=LONG, what="its log")
            wait_until(lambda: own._accepts(postmaster.pid), within_s=LONG, what="the server")
            run(main())
        finally:
            postmaster.send_signal(signal.SIGQUIT)


def test_nobody_listens(servers: Servers, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for host in ("127.0.0.1", "localhost", str(tmp_path)):
            run(_fails_with(Silence.REFUSED, spec_at(host, port)))


def test_no_such_host() -> None:
    run(_fails_with(Silence.NO_ADDRESS, spec_at("no-such-host.invalid", 5432)))


def test_unknown_keywords_are_the_files_fault() -> None:
    with pytest.raises(ConfigError, match="databse"):
        PostgresSession(spec_at("127.0.0.1", 5432, (("databse", "x"),)))
    run(_fails_with(Silence.NO_ADDRESS, spec_at("127.0.0.1", 1, (("sslmode", "often"), ("hostaddr", "x")))))


def test_a_host_that_does_not_take_connections() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as crowd:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        _fill(listener, crowd)
        run(_fails_with(Silence.TIMED_OUT, spec_at("127.0.0.1", listener.getsockname()[1])))


def test_a_unix_socket_that_does_not_take_connections(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as crowd:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen(0)
        _fill(listener, crowd)
        run(_fails_with(Silence.MUTE, spec_at(str(tmp_path), 5432)))


def _fill(listener: socket.socket, crowd: contextlib.ExitStack) -> None:
    for _ in range(3):
        one = crowd.enter_context(socket.socket(listener.family))
        one.settimeout(0.1)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            one.connect(listener.getsockname())


@pytest.mark.parametrize(
    ("says", "closes", "expected"),
    [
        (b"", False, Silence.MUTE),
        (b"N", False, Silence.MUTE),
        (b"", True, Silence.CLOSED),
        (b"N", True, Silence.CLOSED),
        (b"HTTP/1.1 400 Bad Request", False, "08001"),
        (b"Ecould not fork new process for connection: \xe8\xb5\x84\n\0", True, "08001"),
    ],
)
def test_a_listener_that_is_no_healthy_server(says: bytes, closes: bool, expected: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peer.recv(4096)
                peer.sendall(says)
                if closes:
                    peer.close()
                else:
                    kept.append(peer)

    async def main() -> None:
        assert await failure_of(spec_at("127.0.0.1", listener.getsockname()[1]), SHORT) == expected

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        run(main())
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for peer in (listener, *kept):
            peer.close()


def test_tls(servers: Servers) -> None:
    key, certificate = servers.home / "tls.key", servers.home / "tls.crt"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    for path in (key, certificate):
        path.chmod(0o600)
        servers.account.own(path)
    server = servers.make_primary("tls", ssl=True, ssl_key_file=str(key), ssl_cert_file=str(certificate))

    async def main() -> None:
        trusting = {"sslmode": "verify-full", "sslrootcert": str(certificate), "host": "localhost"}
        session = await opened(spec_of(server, **trusting, channel_binding="require"))
        sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        for _ in range(3):
            assert await session.query(sql, within_s=LONG) == ({"ssl": "t"},)
        rows = await session.query("SELECT repeat('x', 3000000) AS x", within_s=LONG)
        assert len(rows[0]["x"] or "") == 3_000_000
        assert await failure_of(spec_of(server, sslmode="require", dbname="none")) == "3D000"
        assert await failure_of(spec_of(server, sslmode="verify-ca")) == "08001"
        server.freeze()
        assert await failure_of(spec_of(server, sslmode="require"), SHORT) == Silence.MUTE
        server.kill_all()
        assert await session.ended() == Farewell()

    run(main())


# the end


def test_a_frozen_server_costs_no_more_than_the_deadline(own: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(own))
        own.freeze()
        asks = [session.query("SELECT 1", within_s=within_s) for within_s in (LONG, SHORT, LONG)]
        for outcome in await asyncio.gather(*asks, return_exceptions=True):
            assert isinstance(outcome, NoReply)
            assert outcome.silence is Silence.OVERDUE
        assert not session.is_open
        assert (await session.ended()).message == "closed by us: no answer within 0.3 s"
        with pytest.raises(SessionEnded):
            await session.query("SELECT 1", within_s=LONG)
        assert await failure_of(spec_of(own), SHORT) == Silence.MUTE

    run(main())


@pytest.mark.parametrize(
    ("end", "sqlstate", "source"),
    [
        ("fast", "57P01", "ProcessInterrupts"),
        ("immediate", "57P01", "quickdie"),
        ("kill all", None, ""),
        ("kill postmaster", "57P01", "secure_read"),
        ("kill another backend", "57P02", "quickdie"),
        ("terminate", "57P01", "ProcessInterrupts"),
    ],
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_why_a_session_ended(own: Server, end: str, sqlstate: str | None, source: str, busy: bool) -> None:
    async def main() -> None:
        session, other = await opened(spec_of(own)), await opened(spec_of(own))
        me, them = [int(await _pid(of)) for of in (session, other)]
        waiters = [asyncio.create_task(session.ended()) for _ in range(3)]
        asked = asyncio.create_task(session.query("SELECT pg_sleep(60)", within_s=LONG)) if busy else None
        if asked:
            sql = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
            while (await other.query(sql, (str(me),), within_s=LONG))[0]["wait_event"] != "PgSleep":
                pass
        await asyncio.to_thread(wait_at_rest, own)
        match end:
            case "fast" | "immediate":
                await asyncio.to_thread(own.stop, end)
            case "kill all":
                own.freeze()  # else the last to be killed may still notice that the postmaster was the first
                own.kill_all()
            case "kill postmaster":
                own.kill_postmaster()
            case "kill another backend":
                os.kill(them, signal.SIGKILL)
            case _:
                await other.query("SELECT pg_terminate_backend($1)", (str(me),), within_s=LONG)
        farewells = await asyncio.gather(*waiters)
        if asked:
            with pytest.raises(SessionEnded) as ended:
                await asked
            assert ended.value.farewell == farewells[0]
        # without postmaster, a backend that does not read from us ends where it waits, without a word
        mute = busy and end == "kill postmaster"
        expected = (None, "") if mute else (sqlstate, source)
        assert [(farewell.sqlstate, farewell.source) for farewell in farewells] == [expected] * 3
        assert bool(farewells[0].message) == bool(expected[0])
        with pytest.raises(SessionEnded):
            await session.query("SELECT 1", within_s=LONG)
        session.close()
        assert await session.ended() == farewells[0]
        other.close()

    run(main())


async def _pid(session: Session) -> str:
    return (await session.query("SELECT pg_backend_pid() AS pid", within_s=LONG))[0]["pid"] or ""


@pytest.mark.parametrize("uses", [1, 2, 3], ids=["first use", "being prepared", "prepared"])
def test_a_cancelled_query_leaves_the_session_to_the_others(server: Server, uses: int) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        slow = "SELECT pg_sleep($1::float)"
        for _ in range(uses - 1):
            await session.query(slow, ("0",), within_s=LONG)
        given_up = asyncio.create_task(session.query(slow, ("0.2",), within_s=LONG))
        unsent = asyncio.create_task(session.query("SELECT no_such_function()", within_s=LONG))
        other = asyncio.create_task(session.query("SELECT 1 AS one", within_s=LONG))
        await asyncio.sleep(0)
        for task in (given_up, unsent):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await other == ({"one": "1"},)
        assert await session.query(slow, ("0",), within_s=LONG) == ({"pg_sleep": ""},)
        session.close()

    run(main())


def test_the_answer_to_a_cancelled_query_must_come_in_its_time(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        given_up = asyncio.create_task(session.query("SELECT pg_sleep(60)", within_s=0.3))
        other = asyncio.create_task(session.query("SELECT 1", within_s=LONG))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        with pytest.raises(NoReply) as overdue:
            await other
        assert overdue.value.silence is Silence.OVERDUE
        assert not session.is_open

    run(main())


def test_closing_is_final_and_tells_all_who_wait(server: Server) -> None:
    async def main() -> None:
        session = await opened(spec_of(server))
        asked = asyncio.create_task(session.query("SELECT pg_sleep(60)", within_s=LONG))
        waiter = asyncio.create_task(session.ended())
        await asyncio.sleep(0)
        session.close()
        session.close()
        assert (await waiter).message == "closed by us"
        with pytest.raises(SessionEnded):
            await asked
        never = PostgresSession(spec_of(server))
        with pytest.raises(SessionEnded):
            await never.query("SELECT 1", within_s=LONG)
        never.close()
        with pytest.raises(NoReply):
            await never.open(within_s=LONG)

    run(main())


def test_giving_up_while_opening_leaves_nothing(server: Server) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            spec = spec_at("127.0.0.1", mute.getsockname()[1])
            cancelled, closed = PostgresSession(spec), PostgresSession(spec)
            opening = [asyncio.create_task(session.open(within_s=LONG)) for session in (cancelled, closed)]
            mute.setblocking(False)
            for _ in opening:
                peer, _ = await asyncio.get_running_loop().sock_accept(mute)
                peer.close()
            cancelled_, closed_ = opening
            cancelled_.cancel()
            closed.close()
            with pytest.raises(asyncio.CancelledError):
                await cancelled_
            with pytest.raises(NoReply):
                await closed_
            assert (await cancelled.ended()).message == "never opened"
            assert (await closed.ended()).message == "closed by us"

    run(main())


def test_no_socket_is_left_behind(own: Server) -> None:
    async def main() -> None:
        assert await failure_of(spec_of(own, host="localhost", dbname="none"))  # what loads once is loaded
        before = _sockets()
        for _ in range(10):
            session = await opened(spec_of(own))
            await session.query("SELECT 1", within_s=LONG)
            session.close()
            assert await failure_of(spec_of(own, dbname="none"))
            assert await failure_of(spec_of(own, host="localhost", passfile="/nowhere"))
        last = await opened(spec_of(own))
        own.kill_all()
        await last.ended()
        assert await failure_of(spec_of(own)) in (Silence.REFUSED, Silence.CLOSED)
        del last
        gc.collect()
        assert _sockets() == before

    run(main())


def _sockets() -> list[str]:
    """Our open sockets; other descriptors come and go with the thread that minds the servers."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(name for name in found if name.startswith("socket:"))
