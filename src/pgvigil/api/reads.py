"""What can be read over HTTP: clusters, events, history, parameters, recordings, checks."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from pgvigil.api import patroni, wire
from pgvigil.api.face import Face, NotFound
from pgvigil.api.metrics import CONTENT_TYPE
from pgvigil.config.uri import Format, Purpose, connection_string
from pgvigil.controller.explain import explained
from pgvigil.controller.history import EVENTS_MAX, changes_of_primary
from pgvigil.controller.operations import Json
from pgvigil.errors import Unreachable
from pgvigil.model.command import FetchRecording, ListRecordings, ShowParameters, ShowVersions
from pgvigil.model.recording import unpacked
from pgvigil.model.units import ClusterName

RECORDING: Final = "application/vnd.pgvigil.recording"
Cluster = Annotated[str, Path(description="Name of a cluster.")]
Number = Annotated[int, Path(ge=0, le=2**62, description="Number of an event.")]


def add_reads(app: FastAPI, face: Face) -> None:
    """Register all routes that change nothing."""
    _add_clusters(app, face)
    _add_events(app, face)
    _add_history(app, face)
    _add_looks(app, face)
    _add_recordings(app, face)


def _add_clusters(app: FastAPI, face: Face) -> None:
    @app.get("/clusters", summary="All clusters.", operation_id="clusters")
    async def clusters(request: Request) -> Response:
        face.reader(request)
        states = [face.encoded.of(state) for state in await face.ops.status()]
        return Response(b"[" + b",".join(states) + b"]", media_type="application/json")

    @app.get(
        "/clusters/{cluster}",
        summary="One cluster, or its states and events as a stream.",
        operation_id="cluster",
        responses=_or_stream("The cluster, as `pgvigil status --json` has it."),
    )
    async def cluster(request: Request, cluster: Cluster) -> Response:
        face.reader(request)
        found = await face.cluster(cluster)
        if streams(request):
            return _stream(face, request, ClusterName(found["cluster"]))
        return Response(face.encoded.of(found), media_type="application/json")

    @app.get("/metrics", summary="Everything for Prometheus.", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        face.reader(request)
        return Response(await face.metrics.page(), media_type=CONTENT_TYPE)

    @app.get("/clusters/{cluster}/uri", summary="A connection string.", response_class=PlainTextResponse)
    async def uri(
        request: Request,
        cluster: Cluster,
        purpose: Annotated[Purpose, Query(alias="for", description="Writes, or reads.")] = Purpose.WRITE,
        style: Annotated[Format, Query(alias="format", description="How it is written.")] = Format.URI,
        dbname: Annotated[str, Query(max_length=63, description="Database.")] = "",
        user: Annotated[str, Query(max_length=63, description="Login.")] = "",
    ) -> Response:
        face.reader(request)
        spec = face.backing.spec(await face.named(cluster))
        return PlainTextResponse(connection_string(spec, purpose, style, dbname=dbname, user=user))


def _add_events(app: FastAPI, face: Face) -> None:
    @app.get(
        "/events",
        summary="The newest events, oldest first, or a stream of them.",
        operation_id="events",
        responses=_or_stream("Events, as `pgvigil events --json` has them."),
    )
    async def events(
        request: Request,
        cluster: Annotated[str | None, Query(description="Only of this cluster.")] = None,
        limit: Annotated[int, Query(ge=1, le=wire.EVENTS_MAX, description="The newest so many.")] = 100,
        after: Annotated[int, Query(ge=0, le=2**62, description="Only with a number above this.")] = 0,
    ) -> Response:
        face.reader(request)
        name = await face.named(cluster) if cluster is not None else None
        if streams(request):
            return _stream(face, request, name)
        return JSONResponse(await face.ops.events(name, limit=limit, after=after))


def _add_history(app: FastAPI, face: Face) -> None:
    async def changes_of(cluster: str) -> list[Json]:
        name = await face.named(cluster)
        return changes_of_primary(await face.ops.events(name, limit=EVENTS_MAX))

    @app.get("/clusters/{cluster}/changes", summary="Every change of primary.", operation_id="changes")
    async def changes(request: Request, cluster: Cluster) -> list[Json]:
        face.reader(request)
        return await changes_of(cluster)

    @app.get(
        "/clusters/{cluster}/cluster",
        summary="One cluster in the shape of Patroni's /cluster.",
        operation_id="patroni-cluster",
    )
    async def shape(request: Request, cluster: Cluster) -> Json:
        face.reader(request)
        return patroni.cluster_shape(await face.cluster(cluster))

    @app.get(
        "/clusters/{cluster}/history",
        summary="Every change of primary in the shape of Patroni's /history.",
        operation_id="patroni-history",
    )
    async def history(request: Request, cluster: Cluster) -> list[list[int | str]]:
        face.reader(request)
        return patroni.history_shape(await changes_of(cluster))


def _add_looks(app: FastAPI, face: Face) -> None:
    """What nodes are asked for: only by those who have a token."""

    @app.get("/clusters/{cluster}/parameters", summary="PostgreSQL's parameters, node by node.")
    async def parameters(
        request: Request,
        cluster: Cluster,
        name: Annotated[
            list[str] | None,
            Query(description="Only these; without any: those that were set, wait or differ."),
        ] = None,
        every: Annotated[bool, Query(description="All that there are.")] = False,
    ) -> Json:
        face.known(request)
        known = await face.named(cluster)
        return await face.read(known, ShowParameters(tuple(name or ()), every))

    @app.get("/clusters/{cluster}/parameters/versions", summary="Versions of the parameters.")
    async def versions(
        request: Request,
        cluster: Cluster,
        limit: Annotated[int, Query(ge=1, le=1_000, description="The newest so many.")] = 20,
    ) -> Json:
        face.known(request)
        known = await face.named(cluster)
        return await face.read(known, ShowVersions(limit))

    @app.get("/clusters/{cluster}/check", summary="Whether the cluster is ready: findings with their fixes.")
    async def check(request: Request, cluster: Cluster) -> list[Json]:
        face.known(request)
        known = await face.named(cluster)
        return [asdict(item) for item in await face.backing.check(known)]


def _add_recordings(app: FastAPI, face: Face) -> None:
    async def fetched(cluster: str, event: int) -> Json:
        known = await face.named(cluster)
        return await face.read(known, FetchRecording(event))

    @app.get("/clusters/{cluster}/recordings", summary="What was recorded.")
    async def recordings(request: Request, cluster: Cluster) -> list[Json]:
        face.known(request)
        known = await face.named(cluster)
        found: list[Json] = (await face.read(known, ListRecordings()))["recordings"]
        return found

    @app.get(
        "/clusters/{cluster}/events/{event}/recording",
        summary="The recording around an event, for `pgvigil replay`.",
        response_class=Response,
        responses={200: {"content": {RECORDING: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def recording(request: Request, cluster: Cluster, event: Number) -> Response:
        face.known(request)
        body = (await fetched(cluster, event))["recording"]
        if not body:
            raise NotFound(f"no recording of event {event} is kept")
        return Response(b64decode(body), media_type=RECORDING)

    @app.get("/clusters/{cluster}/events/{event}", summary="Why it happened: evidence, rule, alternatives.")
    async def explain(request: Request, cluster: Cluster, event: Number) -> Json:
        face.known(request)
        found = await fetched(cluster, event)
        then = await asyncio.to_thread(_explained, found) if found["recording"] else None
        return {"event": found["event"], "explained": then}


def _explained(found: Json) -> Json:
    at = datetime.fromisoformat(found["event"]["at"])
    return explained(unpacked(b64decode(found["recording"])), at)


def streams(request: Request) -> bool:
    """Whether the client wants server-sent events."""
    return "text/event-stream" in request.headers.get("accept", "")


def sse(messages: AsyncIterator[bytes]) -> Response:
    """The answer that sends them as they come."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


def _stream(face: Face, request: Request, cluster: ClusterName | None) -> Response:
    if face.hub.is_full:
        raise Unreachable("too many streams are open", hint="ask again later, or without a stream")
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 18 else None
    return sse(face.hub.listen(cluster, after))


def _or_stream(text: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is told of a path that answers once, or streams."""
    return {200: {"description": text, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}
