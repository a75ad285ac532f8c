"""What is wrong with a cluster, each with the evidence that proves it."""

from dataclasses import dataclass
from enum import StrEnum, auto

from pgvigil.model.units import Instant, NodeName


class Problem(StrEnum):
    """A named kind of trouble. The order here is the order in which problems are judged."""

    CONTROLLER_ISOLATED = auto()
    """Our own reference targets do not answer: what we see proves nothing."""
    CONTROLLER_LATE = auto()
    """Our own loop runs late: silence may be ours."""
    SYSTEM_FOREIGN = auto()
    """A node belongs to another cluster (other system identifier)."""
    PRIMARY_UNKNOWN = auto()
    """No record yet, and not exactly one primary answers."""
    PRIMARY_REPLACED = auto()
    """A human promoted another node, and the recorded primary does not run."""
    STALE_PRIMARY = auto()
    """A node answers out of recovery although the record names another. Not split brain by itself:
    it becomes one when clients write to it."""
    LEADER_LOST = auto()
    """The leader of a standby cluster is down, hung or gone: nobody streams from the other cluster."""
    LEADER_SILENT = auto()
    """The leader of a standby cluster does not answer, and it is not proved that it is lost."""
    SITE_DETACHED = auto()
    """The leader of a standby cluster does not stream from the cluster that it follows."""
    SITE_NOT_STANDBY = auto()
    """`standby_of` is configured, and the cluster has a primary of its own."""
    PRIMARY_CRASHED = auto()
    """The postmaster is gone while its host lives."""
    PRIMARY_HUNG = auto()
    """The postmaster is there but does not answer."""
    PRIMARY_LOST = auto()
    """The host is gone for everybody who could see it."""
    PRIMARY_RESTARTING = auto()
    """Stopped, starting or recovering: it may be back in a moment."""
    PRIMARY_STOPPED = auto()
    """It was ended in an orderly way, or demoted, and has not come back within its grace."""
    PRIMARY_UNSEEN = auto()
    """We cannot reach it; others can, or nobody confirms."""
    PRIMARY_LOCKED_OUT = auto()
    """It lives but does not let us in (password, pg_hba.conf, database): never a reason to fail over."""
    PRIMARY_OVERLOADED = auto()
    """It lives but is slow or full: never a reason to fail over."""
    STANDBY_DOWN = auto()
    """A standby does not answer."""
    STANDBY_DETACHED = auto()
    """A standby does not stream, or streams from elsewhere."""
    STANDBY_LAGGING = auto()
    """A standby streams but is further behind than `max_lag`."""
    SLOT_HOLDS_WAL = auto()
    """A replication slot holds much WAL, or has lost what it was to hold."""
    GUARD_MISSING = auto()
    """A node ought to have a guard, and none that counts runs there."""


class Urgency(StrEnum):
    """Whether a finding can be acted on."""

    NOW = auto()
    """The evidence is complete."""
    WAITING = auto()
    """It becomes a verdict when `due` comes and nothing speaks against it."""
    TELL = auto()
    """Nothing is done about it but telling people."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One occurrence of a problem, with the sentences that prove it."""

    problem: Problem
    node: NodeName | None
    evidence: tuple[str, ...]
    urgency: Urgency = Urgency.NOW
    due: Instant | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings of a view, in the order of `Problem`. Empty: all is well."""

    findings: tuple[Finding, ...] = ()

    def find(self, problem: Problem, node: NodeName | None = None) -> Finding | None:
        """The finding of that kind (on that node), if there is one."""
        for finding in self.findings:
            if finding.problem is problem and node in (None, finding.node):
                return finding
        return None

    def every(self, problem: Problem) -> tuple[Finding, ...]:
        """All findings of that kind."""
        return tuple(finding for finding in self.findings if finding.problem is problem)

    @property
    def due(self) -> Instant | None:
        """When the next waiting finding becomes a verdict."""
        instants = [finding.due for finding in self.findings if finding.due is not None]
        return min(instants) if instants else None
