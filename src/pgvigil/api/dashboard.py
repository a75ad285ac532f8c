"""The dashboard: files that a browser gets from `/`, each allowed to load only from here.

The pages hold no data: what they show they ask the API for, with the visitor's token.
"""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pgvigil.api.face import Face, certified

FILES: Final = Path(__file__).parent.parent / "web" / "static"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""No script, style or image from elsewhere or from inside a page; asked for again with its ETag each time."""


class _Pages(StaticFiles):
    """Files with these headers, also when they are unchanged (304)."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """A file, or that there is none. Raises HTTPException."""
        answer = await super().get_response(path, scope)
        answer.headers.update(HEADERS)
        return answer


def add_dashboard(app: FastAPI, face: Face) -> None:
    """Serve the page at `/`, what it consists of below `/ui`, and at `/caller` who looks at it."""
    pages = _Pages(directory=FILES)

    async def first(request: Request) -> Response:
        return await pages.get_response("index.html", request.scope)

    app.router.routes.append(Route("/", first, methods=["GET", "HEAD"], include_in_schema=False))
    app.router.routes.append(Mount("/ui", pages))

    @app.get(
        "/caller", summary="Who asks, and whether that is enough to give commands.", operation_id="caller"
    )
    async def who(request: Request) -> dict[str, str | None]:
        known = face.gate.may_read(request.headers, certified(request))
        return {"name": known.name if known else None, "access": known.access if known else None}
