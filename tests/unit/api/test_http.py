"""The HTTP face over real sockets: what it answers, whom it refuses, and that no client can disturb it."""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvigil.api import connection, http_server
from pgvigil.api.backing import Backing
from pgvigil.api.commands import NAMES
from pgvigil.api.gate import Token, digest, new_token, read_tokens, write_tokens
from pgvigil.api.http_face import HttpFace
from pgvigil.api.http_server import serving
from pgvigil.api.stream import QUEUE_MAX
from pgvigil.controller.operations import Giver, Outcome, Result
from pgvigil.controller.status import status_json
from pgvigil.demo.ports import free_port
from pgvigil.errors import ConfigError, StoreError
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.command import Rejoin, ShowParameters, ShowVersions, Switchover
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.face import Access, HttpSpec
from pgvigil.model.step import Plan, RebuildMethod, Rest
from pgvigil.model.units import ClusterName, NodeName
from tests.builders import WALL, a_cluster
from tests.fake_operations import FakeOperations

ORDERS = ClusterName("orders")
C = a_cluster()
STATUS = status_json(
    C.spec, C.record, C.view, Diagnosis(()), Plan(Rest()), wall=WALL, paused=False, busy={}
)  # fmt: skip
EVENTS = [{"number": n, "cluster": "orders", "kind": "promoted", "text": f"event {n}"} for n in (1, 2, 3)]


async def ready(_: ClusterName) -> list[CheckItem]:
    return [CheckItem(CheckLevel.WARNING, "orders/pg2", "no slot", "let it have one")]


async def reloaded() -> str:
    return "added: shop"


async def looked(_: ClusterName) -> None:
    pass


BACKING = Backing(lambda *_: None, lambda _: C.spec, ready, looked, reloaded)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A served face, and how to call it."""

    ops: FakeOperations
    port: int
    secrets: dict[Access, str]
    denied: list[tuple[Any, ...]] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    looked: asyncio.Event | None = None

    async def looked_at(self, cluster: ClusterName) -> None:
        if self.looked:
            await self.looked.wait()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)

    async def raw(self, sent: bytes) -> bytes:
        reader, writer = await self.open()
        writer.write(sent)
        try:
            return await reader.read()
        except (ConnectionResetError, ssl.SSLError):
            return b""
        finally:
            writer.close()

    async def ask(
        self, method: str, path: str, body: object = None, *, access: Access | None = None, **headers: str
    ) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if access:
            headers["authorization"] = f"Bearer {self.secrets[access]}"
        lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        whole = await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        head, _, rest = whole.partition(b"\r\n\r\n")
        first, *others = head.decode().split("\r\n")
        pairs = dict(line.split(": ", 1) for line in others)
        return Answer(int(first.split()[1]), pairs, rest)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Answer:
        return await self.ask("POST", path, body, **{"access": Access.OPERATOR, **options})


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[Path, dict[Access, str]]:
    made = {access: new_token(f"a-{access}", access) for access in Access}
    write_tokens(tmp_path / "tokens", [token for token, _ in made.values()])
    return tmp_path / "tokens", {access: secret for access, (_, secret) in made.items()}


Story = Callable[[Served], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run(tokens: tuple[Path, dict[Access, str]]) -> Run:
    """Run a story against a served face."""
    file, secrets = tokens

    def whole(story: Story, tls: ssl.SSLContext | None = None, **changes: Any) -> Served:
        async def served() -> Served:
            ops = FakeOperations(clusters=[STATUS], told=list(EVENTS))
            spec = replace(HttpSpec(port=free_port(), asked_for=True, tokens=str(file)), **changes)
            made = Served(ops, spec.port, secrets, tls=tls)
            async with asyncio.timeout(30):
                backing = Backing(
                    lambda *told: made.denied.append(told), lambda _: C.spec, ready, made.looked_at, reloaded
                )
                async with serving(ops, spec, backing) as port:
                    assert port == spec.port
                    await story(made)
            return made

        return asyncio.run(served())

    return whole  # type: ignore[return-value]


def test_reads_and_health_checks_need_no_token(run: Run) -> None:
    async def story(api: Served) -> None:
        assert (await api.get("/clusters")).json == [STATUS]
        assert (await api.get("/clusters/orders")).json["primary"] == "pg1"
        assert [e["number"] for e in (await api.get("/events?after=1")).json] == [2, 3]
        assert (await api.get("/clusters/orders/nodes/pg1/primary")).status == 200
        assert (await api.get("/clusters/orders/nodes/pg2/primary")).status == 503
        assert (await api.get("/clusters/orders/nodes/pg2/replica?lag=1MB")).status == 200
        assert (await api.ask("OPTIONS", "/clusters/orders/nodes/pg1/primary")).status == 200
        head = await api.ask("HEAD", "/clusters/orders/nodes/pg1/primary")
        assert (head.status, head.body) == (200, b"")
        assert (await api.get("/liveness")).status == 200

    run(story)


def test_a_health_check_says_no_only_after_a_look(run: Run) -> None:
    async def story(api: Served) -> None:
        api.looked, seen = asyncio.Event(), api.ops.clusters
        api.ops.clusters = [{**STATUS, "primary": None, "nodes": []}]  # as a controller that was just started
        paths = ("/clusters/orders/nodes/pg1/primary", "/clusters/orders/replica")
        asked = [asyncio.create_task(api.get(path)) for path in paths]
        done, _ = await asyncio.wait(asked, timeout=0.5)
        assert not done
        api.ops.clusters = seen
        api.looked.set()
        assert [(await each).status for each in asked] == [200, 200]

    run(story)


def test_haproxy_names_the_server_in_a_header(run: Run) -> None:
    async def story(api: Served) -> None:
        for server, status in (("pg1", 200), ("pg2", 503), ("pg9", 404)):
            assert (await api.get("/clusters/orders/primary", x_haproxy_server=server)).status == status
        assert (await api.get("/clusters/orders/primary")).status == 200

    run(story)


# S2-03
def test_patronis_shape_of_a_cluster(run: Run) -> None:
    async def story(api: Served) -> None:
        told = (await api.get("/clusters/orders/cluster")).json
        assert told["scope"] == "orders"
        assert [(m["name"], m["role"], m["state"]) for m in told["members"]] == [
            ("pg1", "leader", "running"),
            ("pg2", "replica", "streaming"),
            ("pg3", "replica", "streaming"),
        ]
        assert [m.get("lag") for m in told["members"]] == [None, 0, 0]

    run(story)


@pytest.mark.parametrize(
    ("path", "status", "place"),
    [
        ("/nothing", 404, ""),
        ("/ui/nothing.js", 404, ""),
        ("/ui/../http_app.py", 404, ""),
        ("/ui/%2e%2e/%2e%2e/py.typed", 404, ""),
        ("/ui/..%2f..%2fpy.typed", 404, ""),
        ("/clusters/nope", 404, "nope"),
        ("/clusters/nope/primary", 404, "nope"),
        ("/clusters/orders/nodes/pg9/primary", 404, "pg9"),
        ("/clusters/orders/nodes/pg1/leaderr", 404, ""),
        ("/clusters/orders/../../etc/passwd", 404, ""),
        ("/clusters/%2e%2e%2fetc", 404, ""),
        ("/clusters/%ff%fe", 404, ""),
        ("/clusters/" + "x" * 5000, 404, ""),
        ("/clusters/orders/nodes/pg1/replica?lag=far", 400, "lag=far"),
        ("/events?limit=0", 400, "limit"),
        ("/events?limit=x", 400, "limit"),
        ("/events?after=-1", 400, "after"),
        ("/events?after=99999999999999999999999", 400, "after"),
        ("/events?cluster=nope", 404, "nope"),
    ],
)
def test_a_wrong_path_or_value_is_named(run: Run, path: str, status: int, place: str) -> None:
    async def story(api: Served) -> None:
        answer = await api.get(path)
        assert answer.status == status, answer
        assert place in json.dumps(answer.json)
        assert answer.json["hint"]

    run(story)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer nonsense"}, 401),
        ({"authorization": "Basic cm9vdDpyb290"}, 401),
        ({"authorization": "Bearer \udcff"}, 401),
        ({"access": Access.VIEWER}, 403),
        ({"access": Access.OPERATOR}, 200),
    ],
)
def test_only_operators_give_commands(run: Run, headers: dict[str, Any], status: int) -> None:
    async def story(api: Served) -> None:
        path, body = "/clusters/orders/switchover", {"to": "pg2"}
        if headers.get("authorization", "").endswith("\udcff"):
            sent = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer \xff\r\n\r\n"
            assert b" 401 " in (await api.raw(sent % path.encode())).split(b"\r\n")[0]
        else:
            assert (await api.ask("POST", path, body, **headers)).status == status
        assert len(api.ops.orders) == (status == 200)
        assert [told[:2] for told in api.denied] == [("orders", "switchover")] * (status != 200)
        assert not any(secret in str(api.denied) for secret in (*api.secrets.values(), "nonsense"))

    run(story)


def test_reads_can_need_a_token_too_but_never_health_checks(run: Run) -> None:
    async def story(api: Served) -> None:
        for path in ("/clusters", "/clusters/orders", "/clusters/orders/cluster", "/events"):
            assert (await api.get(path)).status == 401
            assert (await api.get(path, access=Access.VIEWER)).status == 200
        assert (await api.get("/clusters/orders/primary")).status == 200
        assert (await api.get("/clusters/orders/primary", authorization="Bearer guess")).status == 200

    run(story, reads_need_token=True)


def test_a_wrong_token_is_refused_even_where_none_is_needed(run: Run) -> None:
    async def story(api: Served) -> None:
        assert (await api.get("/clusters", authorization="Bearer guess")).status == 401

    run(story)


def test_tokens_expire_and_can_be_taken_away_while_it_serves(
    run: Run, tokens: tuple[Path, dict[Access, str]]
) -> None:
    file, _ = tokens

    async def story(api: Served) -> None:
        assert (await api.post("/clusters/orders/resume")).status == 200
        over = datetime.now(UTC) - timedelta(seconds=1)
        write_tokens(file, [replace(token, expires=over) for token in read_tokens(file)])
        answer = await api.post("/clusters/orders/resume")
        assert (answer.status, "expired" in answer.json["what"]) == (401, True)
        write_tokens(file, [])
        assert (await api.post("/clusters/orders/resume")).status == 401
        file.unlink()
        assert (await api.post("/clusters/orders/resume")).status == 401
        file.write_text("nonsense\n")
        answer = await api.post("/clusters/orders/resume")
        assert (answer.status, f"{file}:1" in answer.json["what"]) == (400, True)

    run(story)


def test_whose_a_change_of_parameters_is_says_the_token_and_nobody_else(run: Run) -> None:
    async def story(api: Served) -> None:
        assert (await api.post("/clusters/orders/set-parameters", {"changes": {"jit": "off"}})).status == 200
        assert (await api.post("/clusters/orders/roll-back-parameters", {"version": 1})).status == 200
        assert [getattr(order[1], "who", "") for order in api.ops.orders] == ["token a-operator"] * 2
        claimed = {"changes": {"jit": "off"}, "who": "ann"}
        assert (await api.post("/clusters/orders/set-parameters", claimed)).status == 400

    run(story)


def test_what_would_make_a_token_worth_a_login_is_not_taken(run: Run) -> None:
    async def story(api: Served) -> None:
        for name in ("archive_command", "Restore_Command", "shared_preload_libraries"):
            answer = await api.post("/clusters/orders/set-parameters", {"changes": {"jit": "off", name: "x"}})
            assert answer.status == 400
            assert f"{name}: not over HTTP" in str(answer.json)
        assert (await api.post("/clusters/orders/promote-site", {"handed_over": True})).status == 400
        assert api.ops.orders == []

    run(story)


def test_a_command_with_its_fields(run: Run) -> None:
    async def story(api: Served) -> None:
        answer = await api.post("/clusters/orders/switchover", {"to": "pg2", "within_s": 5})
        assert (answer.status, answer.json["result"]) == (200, "done")
        await api.post("/clusters/orders/rejoin", {"node": "pg3", "method": "clone", "dry_run": True})
        assert api.ops.orders == [
            (ORDERS, Switchover(NodeName("pg2")), False, 5.0),
            (ORDERS, Rejoin(NodeName("pg3"), RebuildMethod.CLONE), True, 60.0),
        ]
        assert api.ops.givers == [Giver("token a-operator", "http 127.0.0.1")] * 2

    run(story)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", "no JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 20_000, "JSON"),
        ({"to": 1}, "command.to"),
        ({"too": "pg2"}, "command.too"),
        ({"kind": "failover"}, "kind"),
        ({"who": "ann"}, "who"),
        ({"within_s": 0}, "within_s"),
        ({"within_s": 1e99}, "within_s"),
        ({"within_s": float("nan")}, "within_s"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
def test_a_wrong_body_is_refused_by_name_and_orders_nothing(run: Run, body: object, place: str) -> None:
    async def story(api: Served) -> None:
        answer = await api.post("/clusters/orders/switchover", body)
        assert answer.status == 400, answer
        assert place in json.dumps(answer.json)
        assert not api.ops.orders

    run(story)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Result.REFUSED, 409),
        (Result.WRONG, 400),
        (Result.FAILED, 502),
        (Result.TIMED_OUT, 504),
        (Result.PLANNED, 200),
    ],
)
def test_how_a_command_ended_is_the_status(run: Run, result: Result, status: int) -> None:
    async def story(api: Served) -> None:
        api.ops.outcome = Outcome(result, "so it ended")
        assert (await api.post("/clusters/orders/switchover")).status == status

    run(story)


def test_what_goes_wrong_inside_is_an_answer_too(run: Run) -> None:
    async def story(api: Served) -> None:
        api.ops.outcome = StoreError("the state cannot be read")
        assert (await api.post("/clusters/orders/switchover")).status == 503
        api.ops.outcome = RuntimeError("a bug")
        answer = await api.post("/clusters/orders/switchover")
        assert (answer.status, answer.json["kind"]) == (500, "Bug")
        assert (await api.get("/clusters")).status == 200

    run(story)


def test_what_the_command_line_shows_can_be_read(run: Run) -> None:
    change: dict[str, Any] = {
        **EVENTS[0],
        "number": 5,
        "generation": 2,
        "kind": "promoted",
        "at": "2026-01-01T00:00:00+00:00",
    }
    change["data"] = {"origin": "switchover", "timeline": 2, "primary": "pg2", "lsn": "0/3000148"}
    begun = {**EVENTS[0], "number": 4, "generation": 2, "kind": "switchover", "data": {"by": "user ann"}}

    async def story(api: Served) -> None:
        api.ops.told = [begun, change]
        assert [e["data"]["by"] for e in (await api.get("/clusters/orders/changes")).json] == ["user ann"]
        assert (await api.get("/clusters/orders/history")).json == [
            [1, 0x3000148, "event 1", "2026-01-01T00:00:00+00:00", "pg2"]
        ]
        assert (await api.get("/clusters/orders/uri?for=read&dbname=shop")).body.startswith(b"postgresql://")
        for path in ("parameters?name=work_mem", "parameters/versions", "check", "recordings", "events/5"):
            assert (await api.get(f"/clusters/orders/{path}")).status == 401, path
        assert not api.ops.orders
        viewer = {"access": Access.VIEWER}
        api.ops.outcome = Outcome(
            Result.DONE, "", data={"recordings": [], "event": change, "recording": None}
        )
        assert (await api.get("/clusters/orders/parameters?name=work_mem", **viewer)).status == 200
        assert (await api.get("/clusters/orders/parameters/versions", **viewer)).status == 200
        assert (await api.get("/clusters/orders/recordings", **viewer)).json == []
        assert (await api.get("/clusters/orders/events/5", **viewer)).json["explained"] is None
        assert (await api.get("/clusters/orders/events/5/recording", **viewer)).status == 404
        assert [type(order[1]) for order in api.ops.orders[:2]] == [ShowParameters, ShowVersions]
        assert (await api.get("/clusters/orders/check", **viewer)).json[0]["fix"] == "let it have one"
        assert (await api.post("/reload", **viewer)).status == 403
        assert (await api.post("/reload")).json == {"text": "added: shop"}
        api.ops.outcome = Outcome(Result.FAILED, "pg1 does not answer")
        assert (await api.get("/clusters/orders/parameters", **viewer)).status == 503

    run(story)


def test_progress_comes_while_it_runs(run: Run) -> None:
    async def story(api: Served) -> None:
        answer = await api.post("/clusters/orders/switchover", {}, accept="text/event-stream")
        kinds = [line for line in answer.body.decode().splitlines() if line.startswith("event: ")]
        assert kinds == ["event: progress", "event: progress", "event: outcome"]

    run(story)


@asynccontextmanager
async def stream(
    api: Served, path: str, **headers: str
) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """The events of a stream, one by one."""
    reader, writer = await api.open()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{lines}\r\n".encode())
    assert b" 200 " in await reader.readline()

    async def following() -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            line = (await reader.readline()).decode().rstrip("\r\n")
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                found[name] = json.loads(value) if name == "data" else value
            elif not line and "data" in found:
                return found

    try:
        yield following
    finally:
        writer.close()


def test_a_stream_tells_states_and_events_and_what_was_missed(run: Run) -> None:
    async def story(api: Served) -> None:
        async with stream(api, "/events", last_event_id="1") as following:
            first = [await following() for _ in range(3)]
            assert [each["event"] for each in first] == ["state", "event", "event"]
            assert [each.get("id") for each in first] == [None, "2", "3"]
            await asyncio.sleep(0.6)  # it has looked once
            api.ops.told.append({**EVENTS[0], "number": 4})
            while (told := await following())["event"] != "event":
                pass
            assert told["id"] == "4"
            api.ops.clusters = [{**STATUS, "health": "changing"}]
            assert (await following())["data"]["health"] == "changing"

    run(story)


def test_all_who_come_back_at_once_get_what_they_missed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = [0, 0]
    events = FakeOperations.events

    async def one_at_a_time(self: FakeOperations, *words: Any, **options: Any) -> list[Any]:
        reading[:] = [reading[0] + 1, max(reading[1], reading[0] + 1)]
        await asyncio.sleep(0.001)
        reading[0] -= 1
        return await events(self, *words, **options)

    monkeypatch.setattr(FakeOperations, "events", one_at_a_time)

    async def story(api: Served) -> None:
        async def missed() -> list[str]:
            async with stream(api, "/events", last_event_id="1") as following:
                return [(await following()).get("id", "") for _ in range(3)]

        found = await asyncio.gather(*(missed() for _ in range(100)))
        assert found == [["", "2", "3"]] * 100
        assert reading[1] <= 2  # they, and the look for news: a controller's state has one reader for each

    run(story)


def test_the_state_of_more_clusters_than_a_queue_holds_drops_nobody(run: Run) -> None:
    async def story(api: Served) -> None:
        names = {f"c{number}" for number in range(2 * QUEUE_MAX)}
        api.ops.clusters = [{**STATUS, "cluster": name} for name in names]
        async with stream(api, "/events") as following:
            first = {(await following())["data"]["cluster"] for _ in names}
            api.ops.clusters = [{**each, "health": "changing"} for each in api.ops.clusters]
            told: set[str] = set()
            while told != names:
                state = (await following())["data"]
                told |= {state["cluster"]} if state["health"] == "changing" else set()
        assert first == names

    run(story)


def test_a_client_that_does_not_read_is_dropped_and_others_are_served(run: Run) -> None:
    async def story(api: Served) -> None:
        deaf = [await api.open() for _ in range(20)]
        for _, writer in deaf:
            writer.write(b"GET /events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
        await asyncio.sleep(0.6)
        for number in range(4, 4 + 8 * QUEUE_MAX):
            api.ops.told.append({**EVENTS[0], "number": number, "text": "x" * 4000})
        async with stream(api, "/events") as following:
            assert (await following())["event"] == "state"
        assert (await api.get("/clusters")).status == 200
        for _, writer in deaf:
            writer.close()

    run(story)


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection."""
    try:
        while await reader.read(2**16):
            pass
    except ConnectionError:
        return True
    return True


def test_who_does_not_read_an_answer_is_dropped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_WITHIN_S", 0.3)

    async def story(api: Served) -> None:
        api.ops.clusters = [{**STATUS, "text": "x" * 2**24}]
        for sent in (b"accept: text/event-stream\r\n", b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=2**10)
            writer.write(b"GET /clusters/orders HTTP/1.1\r\nhost: x\r\n%b\r\n" % sent)
            assert b" 200 " in await reader.readline()
            await asyncio.sleep(1)
            assert await ends(reader)  # a stream that is read would go on, and so would a kept connection
            writer.close()

    run(story)


def test_silent_connections_make_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 10)

    async def story(api: Served) -> None:
        async with stream(api, "/events") as following:
            assert (await following())["event"] == "state"
            silent = [await api.open() for _ in range(25)]
            assert (await api.get("/clusters/orders/primary")).status == 200
            assert await ends(silent[0][0])
            api.ops.clusters = [{**STATUS, "health": "changing"}]
            while (await following())["data"]["health"] != "changing":  # who listens is no silent one
                pass
            for _, writer in silent:
                writer.close()

    run(story)


def test_large_and_slow_requests_are_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADERS_WITHIN_S", 0.3)
    monkeypatch.setattr(http_server, "BODY_WITHIN_S", 0.3)

    async def story(api: Served) -> None:
        assert (await api.post("/clusters/orders/switchover", b" " * 100_000)).status == 413
        start = b"POST /clusters/orders/switchover HTTP/1.1\r\nhost: x\r\n"
        assert b" 408 " in await api.raw(start + b"content-length: 10\r\nconnection: close\r\n\r\n{")
        assert await api.raw(start) == b""  # headers that never end
        assert await api.raw(start + b"x: " + b"y" * 2_000_000) == b""
        assert b" 400 " in await api.raw(b"nonsense\r\n\r\n")
        assert (await api.get("/clusters")).status == 200

    run(story)


def test_a_hundred_connections_that_say_nothing_hinder_nobody(run: Run) -> None:
    async def story(api: Served) -> None:
        silent = [await api.open() for _ in range(100)]
        assert (await api.get("/clusters/orders/primary")).status == 200
        for _, writer in silent:
            writer.close()

    run(story)


def test_the_page_that_describes_it_has_every_command(run: Run) -> None:
    async def story(api: Served) -> None:
        page = (await api.get("/openapi.json")).json
        for name in NAMES:
            operation = page["paths"][f"/clusters/{{cluster}}/{name}"]["post"]
            assert {"200", "400", "401", "403", "409", "502", "504"} <= operation["responses"].keys()
        text = json.dumps(page)
        referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
        assert referred <= page["components"]["schemas"].keys()
        assert "$defs" not in text

    run(story)


def certificate(folder: Path, name: str, *, signed_by: str = "") -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
    by = ["-CA", f"{signed_by}.crt", "-CAkey", f"{signed_by}.key", "-CAcreateserial"] if signed_by else []
    (folder / f"{name}.ext").write_text(
        "subjectAltName=IP:127.0.0.1\n" if signed_by else "basicConstraints=CA:TRUE\n"
    )
    own = by or ["-signkey", f"{name}.key"]
    openssl("x509", "-req", "-in", f"{name}.csr", *own, "-days", "2", "-out", f"{name}.crt",
            "-extfile", f"{name}.ext")  # fmt: skip


# S4-12
def test_tls_and_client_certificates(run: Run, tmp_path: Path) -> None:
    for name, by in (("ca", ""), ("server", "ca"), ("dba", "ca"), ("intern", "ca"), ("stranger", "")):
        certificate(tmp_path, name, signed_by=by)

    def client(name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        if name:
            context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        return context

    async def story(api: Served) -> None:
        for name, status in (("dba", 200), ("intern", 403), ("", 401)):
            api.tls = client(name)
            assert (await api.ask("POST", "/clusters/orders/resume")).status == status, name
            assert (await api.get("/clusters/orders/primary")).status == 200
        api.tls = client("stranger")
        plain = b"GET /clusters HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert await api.raw(plain) == b""
        assert [by.who for by in api.ops.givers if by] == ["certificate dba"]
        assert [told[2].who for told in api.denied] == ["certificate intern"]  # and then nobody, too soon
        api.tls = None
        assert await api.raw(plain) == b""

    run(
        story, cert=str(tmp_path / "server.crt"), key=str(tmp_path / "server.key"),
        client_ca=str(tmp_path / "ca.crt"), clients={"dba": Access.OPERATOR, "intern": Access.VIEWER},
    )  # fmt: skip


def test_an_address_that_is_taken() -> None:
    async def story() -> None:
        spec = HttpSpec(port=free_port(), asked_for=True)
        async with serving(FakeOperations(), spec, BACKING):
            with pytest.raises(ConfigError, match="cannot listen"):
                async with serving(FakeOperations(), spec, BACKING):
                    pass
            async with serving(FakeOperations(), replace(spec, asked_for=False), BACKING) as port:
                assert port is None  # told in the log; the controller goes on

    asyncio.run(story())


def test_the_face_follows_the_configuration() -> None:
    async def story() -> None:
        one, other = (HttpSpec(port=free_port(), asked_for=True) for _ in range(2))
        async with HttpFace(FakeOperations(clusters=[STATUS]), BACKING) as face:
            for spec in (one, other, one):
                await face.serve(spec)
                assert (await Served(FakeOperations(), spec.port, {}).get("/clusters")).status == 200
            with pytest.raises(ConfigError, match="certificates"):
                await face.serve(replace(other, cert="/nowhere", key="/nowhere"))
            assert (await Served(FakeOperations(), one.port, {}).get("/clusters")).status == 200
            await face.serve(None)
            with pytest.raises(ConnectionError):
                await Served(FakeOperations(), one.port, {}).get("/clusters")

    asyncio.run(story())


@pytest.mark.parametrize(
    "line", ["a", "a operator", "a king " + "0" * 64, "a viewer 00", f"a viewer {'0' * 64} soon",
             f"a viewer {'0' * 64} 2030-01-01T00:00:00", f"a viewer {'0' * 64} 2030-01-01 more"],
)  # fmt: skip
def test_a_line_that_is_no_token_is_named(tmp_path: Path, line: str) -> None:
    good = Token("x", Access.VIEWER, digest("y")).line()
    (tmp_path / "tokens").write_text(f"{good}\n\n{line}\n")
    with pytest.raises(ConfigError, match="tokens:3"):
        read_tokens(tmp_path / "tokens")


def test_tokens_are_kept_as_hashes_for_their_owner_alone(tmp_path: Path) -> None:
    token, secret = new_token("grafana", Access.VIEWER, datetime(2030, 1, 1, tzinfo=UTC))
    write_tokens(tmp_path / "tokens", [token])
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600
    assert secret not in (tmp_path / "tokens").read_text()
    assert read_tokens(tmp_path / "tokens") == (token,)


def test_the_dashboard_loads_from_here_alone_and_knows_its_visitor(run: Run) -> None:
    async def story(api: Served) -> None:
        page = await api.get("/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        parts = re.findall(r'(?:src|href)="(/[^"]+)"', page.body.decode())
        assert "/ui/js/main.js" in parts
        for path in ("/", *parts):
            answer = await api.get(path)
            assert answer.status == 200, path
            assert answer.headers["content-security-policy"].startswith("default-src 'self';")
            assert answer.headers["cache-control"] == "no-cache"
            again = await api.get(path, if_none_match=answer.headers["etag"])
            assert (again.status, again.body) == (304, b"")
        assert (await api.get("/caller")).json == {"name": None, "access": None}
        for access in Access:
            found = await api.get("/caller", access=access)
            assert found.json == {"name": f"token a-{access}", "access": access}
        assert (await api.get("/caller", authorization="Bearer wrong")).status == 401

    run(story)
