"""Why an event came about: what was seen at that moment, which rule decided, what else was weighed. Pure."""

import json
from datetime import datetime

from pgvigil.controller.journal import describe
from pgvigil.controller.operations import Json
from pgvigil.controller.replay import decision_words, situation
from pgvigil.decide.election import elect
from pgvigil.decide.situation import Situation
from pgvigil.judge.case import Case
from pgvigil.judge.engine import PRIMARY_ROWS
from pgvigil.model.recording import Frame, Recording
from pgvigil.model.sighting import NodeView, Primary
from pgvigil.model.units import Instant


def explained(recording: Recording, at: datetime) -> Json:
    """The deciding that an event of that time tells of: the newest one before it."""
    frame = next((f for f in reversed(recording.frames) if f.wall <= at), recording.frames[0])
    known = situation(recording.spec, frame)
    rule, reason = decision_words(frame.decided)
    given: Json = json.loads(frame.decided)
    decision = given.get("decision", given)
    return {
        "at": frame.wall.isoformat(),
        "rule": rule,
        "reason": reason,
        "evidence": list(decision.get("evidence", ())),
        "hint": decision.get("hint", ""),
        "command": type(frame.command).__name__ if frame.command else None,
        "record": _record(frame),
        "seen": [_seen(node, frame.view.at) for node in frame.view.nodes.values()],
        "findings": [
            {
                "problem": each.problem.value,
                "node": each.node,
                "urgency": each.urgency.value,
                "evidence": list(each.evidence),
                "due_s": None if each.due is None else round(max(each.due - frame.view.at, 0.0), 3),
            }
            for each in known.diagnosis.findings
        ],
        "weighed": [*_problems(known), *_standbys(known)],
    }


def _record(frame: Frame) -> Json:
    record = frame.record
    return {
        "generation": record.generation,
        "phase": record.phase.value,
        "primary": record.primary,
        "timeline": record.timeline,
        "deposed": sorted(record.deposed),
        "paused": record.is_paused(frame.wall),
        "maintenance": sorted(record.maintenance),
    }


def _seen(node: NodeView, now: Instant) -> Json:
    """What was known of a node, and how old that was."""
    answer = node.answer or node.last
    role = answer.role if answer else None
    position = None
    if role is not None:
        position = str(role.flushed if isinstance(role, Primary) else role.furthest)
    others = [f"{w.vantage}: {w.reach.value.replace('_', ' ')}" for w in node.witnesses]
    return {
        "node": node.name,
        "words": describe(node),
        "last_answer_s": round(max(now - answer.at, 0.0), 3) if answer else None,
        "lsn": position,
        "timeline": role.timeline if role else None,
        "others": others,
    }


def _problems(known: Situation) -> list[Json]:
    """Each explanation of a silent primary, in the order in which they were tried; one counts, the first."""
    if known.primary.primary is not None:
        return []
    case = Case(known.spec, known.record, known.view)
    weighed: list[Json] = []
    taken = False
    for judge in PRIMARY_ROWS:
        finding = judge(case)
        if finding is None:
            verdict = "there is no evidence for it"
        elif taken:
            verdict = "what stands above explains it already"
        else:
            taken = True
            verdict = f"this it is ({finding.urgency.value}): {'; '.join(finding.evidence)}"
        weighed.append({"what": judge.__name__.replace("_", " "), "verdict": verdict})
    return weighed


def _standbys(known: Situation) -> list[Json]:
    """Who would have been promoted then, and why not the others."""
    election = elect(known)
    told = (each.partition(": ") for each in election.rejected)
    weighed = [{"what": f"promote {name}", "verdict": f"not fit: {why}"} for name, _, why in told]
    if election.chosen:
        weighed.append({"what": f"promote {election.chosen}", "verdict": f"the fittest, at {election.at}"})
        fit = [
            node.name
            for node in known.standbys()
            if node.name != election.chosen
            and node.name not in {each.partition(": ")[0] for each in election.rejected}
        ]
        weighed += [{"what": f"promote {name}", "verdict": "fit, and not the fittest"} for name in fit]
    return weighed
