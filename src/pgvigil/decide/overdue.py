"""A promotion that was asked for and does not end: people are told, and may have another standby promoted.

It may be right all the same: a candidate first replays all it has. So it is asked again now and then, and is
never passed over without a human; and one that is passed over is stopped first, for it may yet do as asked.
"""

from typing import Final

from pgvigil.decide.situation import Situation
from pgvigil.model.record import Phase
from pgvigil.model.step import Hold
from pgvigil.model.units import NodeName

PROMOTE_WITHIN_S: Final = 60.0
ASKING_S: Final = 10.0
"""Of each such minute the first seconds are for asking again."""


def is_overdue(situation: Situation) -> bool:
    """Whether the candidate has been in recovery for too long since it was asked."""
    waiting = situation.record.phase is Phase.PROMOTING and situation.primary.standby is not None
    return waiting and situation.phase_age_s() >= PROMOTE_WITHIN_S


def hold(situation: Situation) -> Hold | None:
    """What people are told while it does not end; None: it is time to ask (again)."""
    role, age_s = situation.primary.standby, situation.phase_age_s()
    if role is None or not is_overdue(situation) or age_s % PROMOTE_WITHIN_S < ASKING_S:
        return None
    name, minutes = situation.primary.name, int(age_s // PROMOTE_WITHIN_S)
    evidence = (
        f"it is in recovery for more than {minutes} min since it was asked to promote",
        f"it has replayed up to {role.replayed or 'nothing'} of {role.furthest}",
        *(("its replay is paused",) if role.replay_paused else ()),
    )
    hint = (
        f"see its log; if it will not come: pgvigil failover {situation.spec.name} --to ANOTHER --force "
        "stops it and promotes the other"
    )
    return Hold("promotion_overdue", f"{name} does not finish its promotion", hint, None, evidence)


def may_pass_over(situation: Situation, to: NodeName | None) -> bool:
    """Whether an operator may have that other node promoted in its place."""
    return is_overdue(situation) and to not in (None, situation.record.primary)


def is_passed_over(situation: Situation) -> bool:
    """Whether the node of record was asked to promote, did not, and an operator chose another one."""
    record = situation.record
    return (
        record.phase is Phase.FENCING
        and record.forced
        and bool(record.at_least)
        and record.candidate not in (None, record.primary)
    )
