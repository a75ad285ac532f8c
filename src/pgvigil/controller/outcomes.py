"""Outcomes and errors as JSON and back: on the socket, over HTTP, and between controllers. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pgvigil import errors
from pgvigil.controller.operations import Json, Outcome, Result
from pgvigil.errors import PgvigilError


def outcome_json(outcome: Outcome) -> Json:
    """An outcome as an object, also for `--json`."""
    return {**asdict(outcome), "plan": list(outcome.plan)}


def outcome_from(body: Json) -> Outcome:
    """The outcome of its object."""
    return Outcome(
        Result(body["result"]), body["text"], body["detail"], body["hint"], tuple(body["plan"]), body["data"]
    )


def error_json(error: PgvigilError) -> Json:
    """An error as an object."""
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "detail": error.detail,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def error_from(body: Mapping[str, Any]) -> PgvigilError:
    """The error of its object; a kind that this version does not know becomes the general one."""
    kind = getattr(errors, str(body.get("kind")), PgvigilError)
    if not (isinstance(kind, type) and issubclass(kind, PgvigilError)):
        kind = PgvigilError
    made: PgvigilError = kind(
        str(body.get("what")), detail=str(body.get("detail", "")), hint=str(body.get("hint", ""))
    )
    return made
