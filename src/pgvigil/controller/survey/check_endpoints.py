"""`check` of what clients connect to: can it be reached, and may we move it. Nothing is moved."""

import asyncio
from collections.abc import Sequence
from typing import Final

from pgvigil.controller.survey.items import fine, warning
from pgvigil.errors import PgvigilError
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import ClusterSpec
from pgvigil.ports.contract import Endpoint

WITHIN_S: Final = 10.0


async def check_endpoints(spec: ClusterSpec, endpoints: Sequence[Endpoint]) -> list[CheckItem]:
    """One finding for each endpoint; at most so many seconds for all of them."""
    return list(await asyncio.gather(*(_check(spec, each) for each in endpoints)))


async def _check(spec: ClusterSpec, endpoint: Endpoint) -> CheckItem:
    what = f"endpoint {endpoint.name}"
    try:
        async with asyncio.timeout(WITHIN_S):
            return fine(spec.name, f"{what}: {await endpoint.look()}")
    except PgvigilError as wrong:
        return warning(spec.name, f"{what}: {wrong}", wrong.hint)
    except TimeoutError:
        return warning(spec.name, f"{what}: no answer within {WITHIN_S:g} s", "see docs/operate/endpoints.md")
