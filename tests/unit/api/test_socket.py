import asyncio
import json
import os
import pwd
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from pgvigil.api import socket_server
from pgvigil.api.socket_client import SocketOperations
from pgvigil.api.socket_server import serve
from pgvigil.api.wire import LINE_MAX
from pgvigil.controller.operations import Giver, Json, Outcome, Result
from pgvigil.errors import Bug, ConfigError, Unreachable, Unsafe, UsageError
from pgvigil.model.command import Switchover
from pgvigil.model.units import ClusterName, NodeName
from tests.fake_operations import FakeOperations

ORDERS = ClusterName("orders")
COMMAND = Switchover(NodeName("pg2"))


@asynccontextmanager
async def served(ops: FakeOperations, path: Path, **options: Any) -> AsyncIterator[SocketOperations]:
    ready = asyncio.Event()
    task = asyncio.create_task(serve(ops, path, ready=ready, **options))
    first = asyncio.create_task(ready.wait())
    await asyncio.wait({task, first}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        first.cancel()
        task.result()
    try:
        yield SocketOperations(path)
    finally:
        task.cancel()
        await asyncio.wait({task})


def run(
    ops: FakeOperations, path: Path, body: Callable[[SocketOperations], Awaitable[None]], **options: Any
) -> None:
    async def story() -> None:
        async with asyncio.timeout(20), served(ops, path, **options) as client:
            await body(client)

    asyncio.run(story())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "control.sock"


async def raw(path: Path, sent: bytes) -> list[Json]:
    """What the server answers to these bytes, until it ends the connection."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_MAX * 8)
    writer.write(sent)
    writer.write_eof()
    lines = [json.loads(line) async for line in reader]
    writer.close()
    return lines


def test_an_order_tells_its_progress_and_outcome(path: Path) -> None:
    ops = FakeOperations()
    heard: list[str] = []

    async def body(client: SocketOperations) -> None:
        outcome = await client.order(ORDERS, COMMAND, dry_run=False, within_s=5, progress=heard.append)
        assert outcome == ops.outcome

    run(ops, path, body)
    assert heard == ["stopping pg1", "promoting pg2"]
    assert ops.orders == [(ORDERS, COMMAND, False, 5.0)]
    own = Giver(f"user {pwd.getpwuid(os.getuid()).pw_name}", f"socket, process {os.getpid()}")
    assert ops.givers == [own]  # the kernel's word, not the client's


def test_status_and_events_come_item_by_item(path: Path) -> None:
    big = {"cluster": "b", "text": "x" * 900_000}
    events = [{"cluster": "a", "number": n} for n in range(1, 300)]

    async def body(client: SocketOperations) -> None:
        assert await client.status() == [{"cluster": "a"}, big]
        assert await client.status(ClusterName("a")) == [{"cluster": "a"}]
        assert await client.events(None, limit=5, after=290) == events[-5:]
        assert (await client.ping())["protocol"] == 1

    run(FakeOperations(clusters=[{"cluster": "a"}, big], told=events), path, body)


@pytest.mark.parametrize("error", [Unsafe("not now", detail="d", hint="h"), UsageError("no cluster x")])
def test_errors_arrive_as_what_they_are(path: Path, error: Exception) -> None:
    async def body(client: SocketOperations) -> None:
        with pytest.raises(type(error)) as raised:
            await client.order(ORDERS, COMMAND, dry_run=True, within_s=5, progress=lambda _: None)
        assert raised.value.what == error.what  # type: ignore[attr-defined]  # PgvigilError has it

    run(FakeOperations(outcome=error), path, body)


def test_a_bug_behind_the_socket_is_answered_and_the_server_lives(path: Path) -> None:
    async def body(client: SocketOperations) -> None:
        with pytest.raises(Bug):
            await client.order(ORDERS, COMMAND, dry_run=True, within_s=5, progress=lambda _: None)
        assert await client.ping()

    run(FakeOperations(outcome=ZeroDivisionError("x")), path, body)


def test_an_order_goes_on_when_its_client_goes_away(path: Path) -> None:
    ops = FakeOperations(pause_s=0.1)

    async def body(client: SocketOperations) -> None:
        order = client.order(ORDERS, COMMAND, dry_run=False, within_s=5, progress=lambda _: None)
        task = asyncio.create_task(order)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        await ops.finished.wait()
        assert await client.ping()

    run(ops, path, body)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff garbage\n",
        b"\n\n\n",
        b'{"verb": "ping"',
        b"",
        b'{"verb": "order", "cluster": "x", "command": {"kind": "boom"}}\n',
        b"x" * (LINE_MAX + 10) + b"\n",
        b"y" * (3 * LINE_MAX),
    ],
)
def test_whatever_is_sent_the_next_client_is_served(path: Path, sent: bytes) -> None:
    async def body(client: SocketOperations) -> None:
        try:
            answers = await raw(path, sent)
        except ConnectionError:
            answers = []
        assert all(set(answer) == {"id", "error"} for answer in answers)
        assert await client.ping()

    run(FakeOperations(), path, body)


def test_several_requests_on_one_connection_are_answered_in_their_order(path: Path) -> None:
    async def body(_: SocketOperations) -> None:
        answers = await raw(path, b'{"id":1,"verb":"ping"}\n{"id":2,"verb":"x"}\n{"id":3,"verb":"ping"}\n')
        assert [(a["id"], "done" in a) for a in answers] == [(1, True), (2, False), (3, True)]

    run(FakeOperations(), path, body)


def test_a_client_that_does_not_read_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_server, "DRAIN_MAX_S", 0.2)
    huge = [{"cluster": "a", "text": "x" * 500_000}] * 50

    async def body(client: SocketOperations) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"verb":"status"}\n')
        assert await client.ping()
        await asyncio.sleep(0.5)
        got = await reader.read(-1)
        assert len(got) < 10_000_000
        assert b"done" not in got[-200:]
        writer.close()

    run(FakeOperations(clusters=huge), path, body)


def test_a_client_that_lets_progress_pile_up_is_dropped_and_the_order_goes_on(path: Path) -> None:
    ops = FakeOperations(lines=("x" * 500_000,) * 40)

    async def body(client: SocketOperations) -> None:
        _, writer = await asyncio.open_unix_connection(str(path))
        command = {"kind": "switchover"}
        request = {"verb": "order", "cluster": "a", "command": command, "dry_run": False, "within_s": 9}
        writer.write(json.dumps(request).encode() + b"\n")
        await ops.finished.wait()
        assert await client.ping()
        writer.close()

    run(ops, path, body)


def test_too_many_connections_are_turned_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_server, "CONNECTIONS_MAX", 2)

    async def body(client: SocketOperations) -> None:
        first = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(UsageError, match="too many"):
            await client.ping()
        first[0][1].close()
        await asyncio.sleep(0.05)
        assert await client.ping()
        first[1][1].close()

    run(FakeOperations(), path, body)


def test_a_silent_connection_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_server, "IDLE_MAX_S", 0.1)

    async def body(_: SocketOperations) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"verb": "pi')
        assert await reader.read() == b""
        writer.close()

    run(FakeOperations(), path, body)


def test_only_our_user_may_open_the_socket_and_it_is_gone_afterwards(path: Path) -> None:
    modes: list[int] = []

    async def body(client: SocketOperations) -> None:
        assert await client.ping()
        modes.append(stat.S_IMODE(os.stat(path).st_mode))  # the loop is only ours

    run(FakeOperations(), path, body)
    assert modes == [0o600]
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))

    async def body(client: SocketOperations) -> None:
        assert await client.ping()

    run(FakeOperations(), path, body)


def test_a_socket_somebody_listens_on_is_left_alone(path: Path) -> None:
    async def body(client: SocketOperations) -> None:
        with pytest.raises(UsageError, match="another controller"):
            await serve(FakeOperations(), path)
        assert await client.ping()

    run(FakeOperations(), path, body)


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConfigError):
        asyncio.run(serve(FakeOperations(), path))
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        asyncio.run(serve(FakeOperations(), tmp_path / ("x" * 120)))


def test_without_a_controller_the_client_says_so(path: Path) -> None:
    with pytest.raises(Unreachable, match="no controller answers"):
        asyncio.run(SocketOperations(path).ping())


def test_a_controller_that_ends_in_the_middle_is_told_from_an_answer(path: Path) -> None:
    async def story() -> None:
        async with served(FakeOperations(pause_s=5), path) as client:
            order = client.order(ORDERS, COMMAND, dry_run=False, within_s=9, progress=lambda _: None)
            task = asyncio.create_task(order)
            await asyncio.sleep(0.1)
        with pytest.raises(Unreachable, match="went away"):
            await task

    asyncio.run(story())


def test_reload_answers_what_changed(path: Path) -> None:
    async def reload() -> str:
        return "1 cluster added"

    async def body(client: SocketOperations) -> None:
        assert await client.reload() == "1 cluster added"

    with structlog.testing.capture_logs() as lines:
        run(FakeOperations(), path, body, reload=reload)
    (told,) = (line for line in lines if line["event"] == "reloaded")
    assert (told["changes"], told["by"].split()[0], told["whence"].split(",")[0]) == (
        "1 cluster added",
        "user",
        "socket",
    )


def test_outcomes_other_than_done_are_values_not_errors(path: Path) -> None:
    refused = Outcome(Result.REFUSED, "no", "because", "then")

    async def body(client: SocketOperations) -> None:
        got = await client.order(ORDERS, COMMAND, dry_run=False, within_s=9, progress=lambda _: None)
        assert got == refused

    run(FakeOperations(outcome=refused), path, body)
