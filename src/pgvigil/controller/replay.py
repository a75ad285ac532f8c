"""Runs today's judging and deciding over a recording, also with other settings. Pure.

It is deciding again on what was seen then: after the first decision that differs the world would have gone
another way, so what follows it says only what would be decided about what was seen.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pgvigil.decide import engine as decide
from pgvigil.decide.situation import Situation
from pgvigil.judge.engine import diagnose
from pgvigil.model.recording import Frame, Recording, told
from pgvigil.model.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class Again:
    """One deciding, then and now."""

    at_s: float
    """Seconds since the recording began."""
    frame: Frame
    now: str

    @property
    def same(self) -> bool:
        """Whether it is the same, byte for byte."""
        return self.frame.decided == self.now


def replayed(recording: Recording, spec: ClusterSpec | None = None) -> Iterator[Again]:
    """Every deciding again, with the settings of then or with others."""
    for frame in recording.frames:
        at_s = (frame.wall - recording.frames[0].wall).total_seconds()
        yield Again(at_s, frame, decided_now(spec or recording.spec, frame))


def situation(spec: ClusterSpec, frame: Frame) -> Situation:
    """What was known then, judged today."""
    return Situation(spec, frame.record, frame.view, diagnose(spec, frame.record, frame.view), frame.wall)


def decided_now(spec: ClusterSpec, frame: Frame) -> str:
    """What today's core decides about it."""
    known = situation(spec, frame)
    if frame.command is not None:
        return told(decide.order(known, frame.command))
    return told(decide.decide(known))


def decision_words(decided: str) -> tuple[str, str]:
    """A recorded decision's rule and reason, for people; what an operator's step was is its own rule."""
    given = json.loads(decided)
    if "refused" in given:
        return "refused", str(given["refused"])
    decision = given.get("decision", given)
    kind = str(decision.get("is", "")).lower()
    if kind == "rest":
        repairs = ", ".join(f"{each['is'].lower()} {each['node']}" for each in given.get("repairs", ()))
        return "rest", f"repairs: {repairs}" if repairs else "all is well"
    if kind in ("act", "hold"):
        return f"{kind} {decision['rule']}", str(decision["reason"])
    return kind, str(decision.get("node", ""))
