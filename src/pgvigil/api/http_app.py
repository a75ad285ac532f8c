"""The HTTP face (DESIGN §6): clusters, events, commands, health checks, and the page that describes them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from pgvigil import __version__
from pgvigil.api import commands, openapi, wire
from pgvigil.api.backing import Backing
from pgvigil.api.dashboard import add_dashboard
from pgvigil.api.face import Face, NotFound
from pgvigil.api.gate import Gate, Unauthorized
from pgvigil.api.health import CHECKS, Case, cluster_passes, passes, wanted
from pgvigil.api.reads import Cluster, add_reads, sse, streams
from pgvigil.controller.operations import Json, Operations
from pgvigil.errors import Bug, PgvigilError, UsageError
from pgvigil.model.command import COMMANDS

DESCRIPTION: Final = """Whatever changes something needs a token (`Authorization: Bearer …`) or a client
certificate; reads do where the configuration says so; health checks never. An error is answered by an
object with `what`, `detail` and `hint`. Whoever accepts `text/event-stream` gets news as they happen."""

log = structlog.get_logger()


def make_app(ops: Operations, gate: Gate, backing: Backing) -> FastAPI:
    """The application. Its `state.hub` has to be closed when it is no longer served."""
    face = Face(ops, gate, backing)
    app = FastAPI(
        title="pgvigil", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    app.state.hub = face.hub
    _add_errors(app)
    _add_health(app, face)
    add_reads(app, face)
    _add_commands(app, face)
    add_dashboard(app, face)
    app.openapi_schema = openapi.described(app.openapi())
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
        cluster = await face.looked_at(request.path_params["cluster"])
        name, check = request.path_params["node"], request.path_params["check"]
        for each in cluster["nodes"]:
            if each["name"] == name:
                case = Case(cluster, each, wanted(request.query_params))  # type: ignore[arg-type]  # a ClusterStatus
                body = {key: each[key] for key in ("name", "role", "state", "timeline", "replay_lag_bytes")}
                return JSONResponse(body, 200 if passes(check, case) else 503)
        raise NotFound(f"{cluster['cluster']} has no node {name}")

    async def whole(request: Request) -> Response:
        cluster = await face.looked_at(request.path_params["cluster"])
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


def _add_commands(app: FastAPI, face: Face) -> None:
    @app.post("/reload", operation_id="reload", summary="Have the configuration read again.")
    async def reload(request: Request) -> Json:
        by, changes = face.operator(request), await face.reload()
        log.info("reloaded", changes=changes, by=by.who, whence=by.whence)
        return {"text": changes}

    for name, tag in commands.NAMES.items():
        _add_command(app, face, name, COMMANDS[tag])


def _add_command(app: FastAPI, face: Face, name: str, command: type[Any]) -> None:
    body = {"content": {"application/json": {"schema": openapi.body_schema(command)}}}

    @app.post(
        f"/clusters/{{cluster}}/{name}",
        operation_id=name,
        summary=openapi.summary(command),
        openapi_extra={"requestBody": body},
    )
    async def give(request: Request, cluster: Cluster) -> Response:
        known = await face.named(cluster)
        giver = face.giver(request, known, name)
        order = commands.read_order(known, name, await request.body(), giver.who)
        if streams(request):
            return sse(commands.carry_out_aloud(face.ops, order, giver))
        outcome = await commands.carry_out(face.ops, order, giver)
        return JSONResponse(wire.outcome_json(outcome), commands.STATUS[outcome.result])
