"""What the configuration asks for, and what that means when it comes to it."""

from collections.abc import Iterator

from pgvigil.controller.survey.items import advice, warning
from pgvigil.controller.survey.seen import ClusterSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import Protection, WhenUnreachable


def policy(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings on the cluster's own policy and our own network."""
    yield from _fencing(seen)
    yield from _quorum(seen)
    if not seen.spec.failover.automatic:
        yield advice(
            seen.spec.name,
            "automatic failover is off: when the primary is lost, writes stand still until a human acts",
            f"failover: {{automatic: true}}  or be ready to run: pgvigil failover {seen.spec.name}",
        )
    yield from _references(seen)


def _fencing(seen: ClusterSeen) -> Iterator[CheckItem]:
    """DESIGN, I2: without quorum, an old primary that nobody reaches may still be written to."""
    spec = seen.spec
    if spec.protection is not Protection.ASYNC or not spec.failover.automatic:
        return
    if spec.fencing.unreachable is WhenUnreachable.WAIT:
        return
    if spec.fencing.guard:
        yield advice(
            spec.name,
            "where a guard proves nothing (it did not run, or may see a majority), a standby is promoted all "
            "the same: clients on the old primary's side could still write there, and those writes are lost",
            "fencing: {unreachable: wait}  beside the guard, for a human",
        )
    elif spec.fencing.command:
        yield advice(
            spec.name,
            "when fencing.command fails, a standby is promoted all the same: clients on the old primary's "
            "side could still write there, and those writes are lost",
            "fencing: {unreachable: wait}  beside the command, for a human",
        )
    else:
        yield warning(
            spec.name,
            "when the primary's host is cut off, a standby is promoted although the old primary cannot be "
            "stopped: clients on its side could still write there, and those writes are lost",
            "fencing: {guard: true}  and: pgvigil guard install; or fencing: {command: …}  that turns its "
            "host off; or fencing: {unreachable: wait} for a human",
        )


def _quorum(seen: ClusterSeen) -> Iterator[CheckItem]:
    """What may be lost together with the primary, and what stops writes (SAFETY §3: n - k + 1 are cut)."""
    spec = seen.spec
    if spec.protection is not Protection.QUORUM:
        return
    primary = seen.primary.name if seen.primary else None
    others = [node for node in spec.nodes if node.may_acknowledge() and node.name != primary]
    count = len(others) - (primary is None)  # whoever is primary does not acknowledge
    if not spec.degrade and count == spec.sync_required:
        yield warning(
            spec.name,
            "commits wait for every standby, and degrade is false: one that is away stops all writes",
            "another standby; or degrade: true",
        )
    elif count == 1:
        yield advice(
            spec.name,
            "only one standby can acknowledge: while it is away the primary acknowledges alone, and if it is "
            "lost then, nobody is promoted by itself (not_lossless)",
            "a second standby that may acknowledge, best on a third host",
        )
    elif spec.sync_required == 1:
        yield advice(
            spec.name,
            "each commit is on one standby only: when the primary and a standby are lost in the same moment, "
            "nobody is promoted by itself (not_lossless)",
            "sync_required: 2" + (" with a third standby" if count == 2 else "") + ", if that is to be borne",
        )
    if spec.fencing.unreachable is WhenUnreachable.WAIT:
        yield advice(
            spec.name,
            "fencing.unreachable: wait has no meaning with protection: quorum: the old primary need not be "
            "reached, its standbys are taken from it",
            "remove it; when too few standbys can be taken from it, pgvigil waits in any case",
        )


def _references(seen: ClusterSeen) -> Iterator[CheckItem]:
    if not seen.references:
        yield advice(
            seen.spec.name,
            "no reference_targets: only standbys tell a lost primary from a fault of our own network",
            "reference_targets: [GATEWAY, DNS-SERVER:53]  that answer whenever our network is fine",
        )
    for target, reached in seen.references.items():
        if not reached:
            yield warning(
                seen.spec.name,
                f"reference target {target} does not answer: with all of them silent nothing is failed over",
                f"see: ping {target.partition(':')[0]}; or name another in reference_targets:",
            )
