"""The HTTP face (DESIGN §6): clusters, events, commands, health checks, and the page that describes them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from pgvigil import __version__
from pgvigil.api import commands, wire
from pgvigil.api.gate import Caller, Gate, Unauthorized
from pgvigil.api.health import CHECKS, Case, cluster_passes, passes, wanted
from pgvigil.api.metrics import CONTENT_TYPE, Metrics
from pgvigil.api.stream import Hub
from pgvigil.controller.operations import Json, Operations
from pgvigil.errors import Bug, PgvigilError, Unreachable, UsageError
from pgvigil.model.units import ClusterName

DESCRIPTION: Final = """Whatever changes something needs a token (`Authorization: Bearer …`) or a client
certificate; reads do where the configuration says so; health checks never. An error is answered by an
object with `what`, `detail` and `hint`. Whoever accepts `text/event-stream` gets news as they happen."""

Audit = Callable[[ClusterName, str, str], None]
"""Keeps that somebody gave a command: cluster, who, what."""

log = structlog.get_logger()


class NotFound(PgvigilError):
    """There is no such thing here."""

    status = 404
    hint = "see the list of paths: /openapi.json"


class Face:
    """What all routes share."""

    def __init__(self, ops: Operations, gate: Gate, audit: Audit) -> None:
        self.ops, self.gate, self.audit = ops, gate, audit
        self.hub, self.metrics = Hub(ops), Metrics(ops)

    def reader(self, request: Request) -> None:
        """Raises Unauthorized where reads need a token, or when a wrong one is given."""
        self.gate.may_read(request.headers, certified(request))

    def operator(self, request: Request) -> Caller:
        """Raises Unauthorized or Forbidden."""
        return self.gate.may_order(request.headers, certified(request))

    async def cluster(self, name: str) -> Json:
        """A cluster's state. Raises NotFound."""
        try:
            (found,) = await self.ops.status(ClusterName(name))
        except (UsageError, ValueError):
            raise NotFound(f"there is no cluster {name}") from None
        return found


def certified(request: Request) -> str:
    """Common name of the client's certificate, verified by TLS; empty: it showed none."""
    return str(getattr(request.state, "common_name", ""))


def make_app(ops: Operations, gate: Gate, audit: Audit) -> FastAPI:
    """The application. Its `state.hub` has to be closed when it is no longer served."""
    face = Face(ops, gate, audit)
    app = FastAPI(
        title="pgvigil", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    app.state.hub = face.hub
    _add_errors(app)
    _add_health(app, face)
    _add_reads(app, face)
    _add_commands(app, face)
    app.openapi_schema = commands.described(app.openapi())
    return app


def _error(error: PgvigilError) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
    return JSONResponse(wire.error_json(error), error.status, headers)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(PgvigilError)
    async def ours(_: Request, error: PgvigilError) -> Response:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        places = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
        return _error(UsageError("the request is wrong", detail="; ".join(places), hint="see /openapi.json"))

    @app.exception_handler(HTTPException)
    async def known(_: Request, error: HTTPException) -> Response:
        made = NotFound(str(error.detail).lower())
        return JSONResponse(wire.error_json(made), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        log.exception("request_failed", path=request.url.path, exc_info=error)
        return _error(Bug("the controller failed to answer", detail=repr(error)))


def _add_health(app: FastAPI, face: Face) -> None:
    """Plain routes, without FastAPI's machinery: load balancers ask often."""

    async def node(request: Request) -> Response:
        cluster = await face.cluster(request.path_params["cluster"])
        name, check = request.path_params["node"], request.path_params["check"]
        for each in cluster["nodes"]:
            if each["name"] == name:
                case = Case(cluster, each, wanted(request.query_params))  # type: ignore[arg-type]  # a ClusterStatus
                body = {key: each[key] for key in ("name", "role", "state", "timeline", "replay_lag_bytes")}
                return JSONResponse(body, 200 if passes(check, case) else 503)
        raise NotFound(f"{cluster['cluster']} has no node {name}")

    async def whole(request: Request) -> Response:
        cluster = await face.cluster(request.path_params["cluster"])
        demand = wanted(request.query_params)
        if name := request.headers.get("x-haproxy-server"):
            request.path_params["node"] = name
            return await node(request)
        passed = cluster_passes(request.path_params["check"], cluster, demand)  # type: ignore[arg-type]
        body = {key: cluster[key] for key in ("cluster", "health", "primary", "phase")}
        return JSONResponse(body, 200 if passed else 503)

    async def alive(_: Request) -> Response:
        return JSONResponse({"version": __version__})

    methods = ["GET", "HEAD", "OPTIONS"]
    for check in CHECKS:
        for path, answer in (("/clusters/{cluster}/nodes/{node}/", node), ("/clusters/{cluster}/", whole)):
            app.router.routes.append(Route(f"{path}{check}", _with(answer, check), methods=methods))
    app.router.routes.append(Route("/liveness", alive, methods=methods))


def _with(
    answer: Callable[[Request], Awaitable[Response]], check: str
) -> Callable[[Request], Awaitable[Response]]:
    async def route(request: Request) -> Response:
        request.path_params["check"] = check
        return await answer(request)

    return route


def _add_reads(app: FastAPI, face: Face) -> None:
    @app.get("/clusters", summary="All clusters.")
    async def clusters(request: Request) -> list[Json]:
        face.reader(request)
        return await face.ops.status()

    @app.get("/clusters/{cluster}", summary="One cluster, or its states and events as a stream.")
    async def cluster(request: Request, cluster: str) -> Response:
        face.reader(request)
        found = await face.cluster(cluster)
        if _streams(request):
            return _stream(face, request, ClusterName(cluster))
        return JSONResponse(found)

    @app.get("/metrics", summary="Everything for Prometheus.", response_class=Response)
    async def metrics(request: Request) -> Response:
        face.reader(request)
        return Response(await face.metrics.page(), media_type=CONTENT_TYPE)

    @app.get("/clusters/{cluster}/cluster", summary="One cluster in the shape of Patroni's /cluster.")
    async def patroni(request: Request, cluster: str) -> Json:
        face.reader(request)
        return _patroni(await face.cluster(cluster))

    @app.get("/events", summary="The newest events, oldest first, or a stream of them.")
    async def events(
        request: Request,
        cluster: str | None = None,
        limit: Annotated[int, Query(ge=1, le=wire.EVENTS_MAX)] = 100,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    ) -> Response:
        face.reader(request)
        name = ClusterName((await face.cluster(cluster))["cluster"]) if cluster is not None else None
        if _streams(request):
            return _stream(face, request, name)
        return JSONResponse(await face.ops.events(name, limit=limit, after=after))


def _streams(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _stream(face: Face, request: Request, cluster: ClusterName | None) -> Response:
    if face.hub.is_full:
        raise Unreachable("too many streams are open", hint="ask again later, or without a stream")
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 18 else None
    return _sse(face.hub.listen(cluster, after))


def _sse(messages: AsyncIterator[bytes]) -> Response:
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


def _patroni(cluster: Json) -> Json:
    """What tools that read Patroni's `GET /cluster` expect."""
    members = []
    for node in cluster["nodes"]:
        is_leader = node["name"] == cluster["primary"] and node["role"] == "primary"
        leads = cluster["standby_cluster"] and node["name"] == cluster["primary"]
        streaming = bool(node["receiver"]) and node["receiver"]["status"] == "streaming"
        member = {
            "name": node["name"],
            "role": "leader" if is_leader else "standby_leader" if leads else "replica",
            "state": "streaming" if streaming else "running" if node["connection"] != "none" else "stopped",
            "host": node["host"],
            "port": node["port"],
            "timeline": node["timeline"],
            "tags": dict.fromkeys(node["tags"], True),
        }
        if not is_leader:
            member["lag"] = "unknown" if node["replay_lag_bytes"] is None else node["replay_lag_bytes"]
        members.append(member)
    return {"scope": cluster["cluster"], "members": members, "pause": cluster["paused"]}


def _add_commands(app: FastAPI, face: Face) -> None:
    for name, tag in commands.NAMES.items():
        _add_command(app, face, name, wire.COMMANDS[tag])


def _add_command(app: FastAPI, face: Face, name: str, command: type[Any]) -> None:
    body = {"content": {"application/json": {"schema": commands.schema(command)}}}

    @app.post(
        f"/clusters/{{cluster}}/{name}",
        operation_id=name,
        summary=commands.summary(command),
        openapi_extra={"requestBody": body},
    )
    async def give(request: Request, cluster: str) -> Response:
        caller = face.operator(request)
        order = commands.read_order((await face.cluster(cluster))["cluster"], name, await request.body())
        if not order.dry_run:
            face.audit(order.cluster, caller.name, commands.words(order.command))
        if _streams(request):
            return _sse(commands.carry_out_aloud(face.ops, order))
        outcome = await commands.carry_out(face.ops, order)
        return JSONResponse(wire.outcome_json(outcome), commands.STATUS[outcome.result])
