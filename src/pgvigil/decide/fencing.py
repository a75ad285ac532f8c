"""Keeping an old primary from acknowledging: what proves it, what brings it about, what forbids to go on."""

from pgvigil.decide import lossless, overdue
from pgvigil.decide.guard import guard_lacks, guard_proves, guard_wait
from pgvigil.decide.situation import Situation, fed_by_standby, host_says, is_cut, is_down
from pgvigil.model.record import Fenced, Phase
from pgvigil.model.sighting import NoAnswer, NodeView, Postmaster, Refusal
from pgvigil.model.spec import WhenUnreachable
from pgvigil.model.step import Cut, Fence, FenceByCommand, Hold, Step, StopMode


def proof(situation: Situation) -> Fenced | None:
    """How we know that the old primary can acknowledge nothing more; None: we do not."""
    node = situation.primary
    if situation.record.fenced is Fenced.COMMAND and situation.record.phase is Phase.FENCING:
        return Fenced.COMMAND
    if node.standby and not overdue.is_passed_over(situation):
        return Fenced.IN_RECOVERY
    if (host := is_down(node)) and host.standby_signal:
        return Fenced.STOPPED
    return Fenced.GUARD if guard_proves(situation) else None


def may_not_promote(situation: Situation) -> Hold | None:
    """Why nobody may be promoted beside an unfenced old primary (DESIGN §4.5).

    None: it is fenced, or can be, or the risk is accepted. The policy `promote` is for a primary that is
    gone, not for one that speaks or serves others. With `quorum` it need not be stopped, but no commit may
    be lost.
    """
    node, spec = situation.primary, situation.spec
    if lossless.demanded(situation):
        return lossless.may_not_promote(situation)
    if situation.record.forced or proof(situation) or fence_steps(situation):
        return None
    hint = f"make sure that {node.name} is off, then: pgvigil failover {spec.name} --force"
    if isinstance(node.sql, Refusal):
        reason = f"{node.name} lives and there is no working shell on its host to stop it"
        return Hold("not_fenced", reason, hint)
    if served := _served(node):
        reason = f"{', '.join(served)} can reach {node.name}, and it cannot be stopped from here"
        return Hold("not_fenced", reason, hint)
    if wait := guard_wait(situation):
        return wait
    if spec.fencing.unreachable is WhenUnreachable.WAIT:
        reason = f"{node.name} cannot be reached to be fenced (fencing.unreachable: wait)"
        lacking = guard_lacks(situation)
        return Hold("not_fenced", f"{reason}; {lacking}" if lacking else reason, hint)
    return None


def fence_steps(situation: Situation) -> tuple[Step, ...]:
    """The fencing ladder (DESIGN §4): through the shell if it answers, else by the user's command.

    What is hung is killed, what runs is stopped, and `standby.signal` is left behind.
    """
    record, node = situation.record, situation.primary
    host = host_says(node)
    if node.standby and not overdue.is_passed_over(situation):
        return ()
    if host is None:
        by_command = FenceByCommand(record.primary, record.generation)
        return (by_command,) if _may_try_command(situation) else ()
    mode = StopMode.KILL if host.postmaster is Postmaster.FROZEN else StopMode.IMMEDIATE
    return (Fence(record.primary, record.generation, mode),)


def stray_fences(situation: Situation) -> tuple[Fence, ...]:
    """Primaries of the past that take writes while another is being made: stop them too."""
    record = situation.record
    return tuple(
        Fence(node.name, record.generation, StopMode.IMMEDIATE)
        for node in situation.view.primaries()
        if node.name != record.primary and is_old(situation, node) and host_says(node)
    )


def is_old(situation: Situation, node: NodeView) -> bool:
    """Whether a node out of recovery is a primary of the past: deposed, or not beyond our timeline."""
    record, role = situation.record, node.primary
    if role is None or not situation.is_ours(node):
        return False
    return role.timeline <= record.timeline or node.name in record.deposed


def cut_steps(situation: Situation) -> tuple[Step, ...]:
    """Every standby that could still receive from the old primary; a standby of a standby cannot."""
    generation = situation.record.generation
    return tuple(
        Cut(node.name, generation)
        for node in situation.standbys()
        if not is_cut(node)
        and fed_by_standby(situation, node) in (None, situation.record.primary)
        and not (lossless.demanded(situation) and lossless.severed(situation, node))
    )


def _served(node: NodeView) -> tuple[str, ...]:
    """The vantage points that got through to a node since it fell silent for us."""
    since = node.sql.since if isinstance(node.sql, NoAnswer) else None
    if since is None:
        return ()
    return tuple(w.vantage for w in node.witnesses if w.at >= since and w.reach.through)


def _may_try_command(situation: Situation) -> bool:
    """A fence command that has not succeeded within its time counts as none, and the policy decides."""
    record, fencing = situation.record, situation.spec.fencing
    tried_s = situation.phase_age_s() if record.phase is Phase.FENCING else 0.0
    return bool(fencing.command) and not record.forced and tried_s <= fencing.command_timeout.total_seconds()
