"""Whether a look says more than the one before it: positions that move on are no news while all is well."""

from pgvigil.model.sighting import Answer, Primary, Sender, SqlLook, Standby


def says_nothing_new(before: SqlLook | None, now: SqlLook) -> bool:
    """Two answers of one node with the same role, links and facts; only positions and lags differ.

    The controller looks at those every few seconds in any case (`controller.due.TICK_S`).
    """
    if not isinstance(before, Answer) or not isinstance(now, Answer):
        return False
    if before.backups or now.backups:
        return False
    if before.facts is not now.facts and before.facts != now.facts:
        return False
    if len(before.senders) != len(now.senders):
        return False
    if any(_link(old) != _link(new) for old, new in zip(before.senders, now.senders, strict=True)):
        return False
    return _position_free(before.role) == _position_free(now.role)


def _link(sender: Sender) -> tuple[object, ...]:
    return sender.pid, sender.application_name, sender.state, sender.sync_state


def _position_free(role: Primary | Standby) -> tuple[object, ...]:
    match role:
        case Primary():
            return "primary", role.timeline, role.sync_names
        case Standby(receiver=None):
            return "standby", role.timeline, role.conninfo, role.replay_paused
        case Standby(receiver=receiver):
            assert receiver is not None
            link = receiver.pid, receiver.status, receiver.timeline, receiver.host, receiver.port
            return "standby", role.timeline, role.conninfo, role.replay_paused, link, receiver.slot
