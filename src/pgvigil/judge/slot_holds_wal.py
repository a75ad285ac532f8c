"""A replication slot holds so much WAL that the disk may fill, or has lost what it was to hold."""

from collections.abc import Iterator
from typing import Final

from pgvigil.judge.case import Case
from pgvigil.model.diagnosis import Finding, Problem, Urgency
from pgvigil.model.sighting import Answer, NodeView, Slot
from pgvigil.model.units import bytes_text, setting_amount

NEAR_LIMIT: Final = 0.8
"""Of `max_slot_wal_keep_size`: beyond that the slot may soon be invalidated."""
OLD_S: Final = 60.0
"""A host whose shell is not kept is looked at seldom: what it said longer ago is told with its age."""


def slots_hold_wal(case: Case) -> tuple[Finding, ...]:
    """One finding for each node that answers and has such slots, with a sentence for each slot.

    Nothing is done about it but telling: whether a standby is worth its WAL is for people to say.
    """
    return tuple(
        Finding(Problem.SLOT_HOLDS_WAL, node.name, evidence, Urgency.TELL)
        for node in case.view.nodes.values()
        if node.answer and (evidence := tuple(_sentences(case, node, node.answer)))
    )


def _sentences(case: Case, node: NodeView, answer: Answer) -> Iterator[str]:
    for slot in answer.facts.slots:
        if slot.wal_status == "lost" or slot.invalid:
            why = f" ({slot.invalid})" if slot.invalid else ""
            yield f"slot {slot.name} is broken: the WAL it was to hold is gone{why}"
        elif reason := _too_much(case, node, answer, slot):
            user = "in use" if slot.active else "used by nobody now"
            size = bytes_text(slot.held or 0)
            yield f"slot {slot.name}, {user}, holds {size} of WAL: {reason}"


def _too_much(case: Case, node: NodeView, answer: Answer, slot: Slot) -> str:
    """Why that is too much; empty: it is not."""
    held, host = slot.held, node.host_answer
    if held is None:
        return ""
    limit = setting_amount(answer.facts.settings.get("max_slot_wal_keep_size", ""))
    if slot.wal_status == "unreserved":
        return "more than max_slot_wal_keep_size; the next checkpoint may remove it"
    if limit and held >= NEAR_LIMIT * limit:
        return f"max_slot_wal_keep_size is {bytes_text(int(limit))}"
    if host and host.wal_free_bytes is not None and held > host.wal_free_bytes:
        free, age_s = bytes_text(host.wal_free_bytes), case.view.at - host.at
        if age_s >= OLD_S:
            return f"only {free} were free on its disk {age_s / 60:.0f} min ago"
        return f"only {free} are free on its disk"
    if held >= case.spec.replication.slot_warning_bytes:
        return f"more than replication.slot_warning ({bytes_text(case.spec.replication.slot_warning_bytes)})"
    return ""
