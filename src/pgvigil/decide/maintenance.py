"""A standby that somebody works on, and a cluster that was paused for a time: what begins and ends that."""

from dataclasses import replace

from pgvigil.decide.situation import Situation
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Maintenance, Refused
from pgvigil.model.step import Act


def change(situation: Situation, command: Maintenance) -> Act | Refused:
    """The operator's `maintenance on|off`: never for the primary, whose loss must be acted on."""
    record, name, cluster = situation.record, command.node, situation.spec.name
    if name not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {name} in {cluster}"))
    if command.on is (name in record.maintenance):
        now = "under maintenance already" if command.on else "not under maintenance"
        return Act("as_before", f"nothing to do: {name} is {now}", None)
    if not command.on:
        over = replace(record, maintenance=record.maintenance - {name})
        return Act("maintenance_over", f"{name} is guarded and repaired again", over)
    if name == record.primary:
        detail = "its loss must be acted on"
        hint = f"first make another node primary: pgvigil switchover {cluster}"
        return Refused(Unsafe(f"{name} is the primary", detail=detail, hint=hint))
    begun = replace(record, maintenance=record.maintenance | {name})
    return Act("maintenance", f"{name} is under maintenance: never promoted, not repaired", begun)


def ended(situation: Situation) -> Act | None:
    """Maintenance that is over by itself: a human made it primary, or it is not configured any more."""
    record = situation.record
    over = {n for n in record.maintenance if n == record.primary or n not in situation.view.nodes}
    if not over:
        return None
    who = ", ".join(sorted(over))
    why = "it is the primary" if over == {record.primary} else "not a standby of this cluster any more"
    return Act(
        "maintenance_over",
        f"maintenance of {who} has ended: {why}",
        replace(record, maintenance=record.maintenance - over),
    )


def pause_over(situation: Situation) -> Act | None:
    """The end of a pause that was for a time counts from its moment on; this puts it on record, and tells."""
    record = situation.record
    if not record.paused or record.is_paused(situation.wall):
        return None
    over = replace(record, paused=False, paused_until=None)
    return Act("resume", "the time of the pause is over: automatic actions again", over)
