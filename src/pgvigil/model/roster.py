"""Which controllers share a fleet, and who guards what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pgvigil.model.units import ClusterName


@dataclass(frozen=True, slots=True)
class Peer:
    """A live controller."""

    name: str
    address: str
    """Where it takes commands over the network; empty: only on its own host."""
    clusters: frozenset[ClusterName]
    """What it has in its configuration."""
    since_s: float
    """For how long it has been seen."""
    place: str = ""
    """The host whose network it is in: two that run there see no more than one."""


@dataclass(frozen=True, slots=True)
class Census:
    """All live controllers, and whose lock each cluster has."""

    peers: Mapping[str, Peer]
    owners: Mapping[ClusterName, str]


@dataclass(frozen=True, slots=True)
class Moves:
    """What one controller does about its share now."""

    claim: tuple[ClusterName, ...] = ()
    release: tuple[ClusterName, ...] = ()


def chosen(cluster: ClusterName, peers: Sequence[Peer]) -> str | None:
    """Who ought to guard a cluster: the highest of a hash of both names (rendezvous hashing).

    All controllers come to the same answer, and when one goes or comes only its own share moves.
    """
    names = [peer.name for peer in peers if cluster in peer.clusters]
    return max(names, key=lambda name: (_weight(name, cluster), name), default=None)


def moves(
    me: str,
    configured: Sequence[ClusterName],
    census: Census,
    *,
    settled_s: float,
    overdue: Collection[ClusterName] = (),
) -> Moves:
    """Free clusters that are mine to take, and those of mine that belong to another who has settled in.

    `overdue`: clusters that are free although somebody ought to have taken them. Anybody may.
    """
    peers = list(census.peers.values())
    settled = [peer for peer in peers if peer.name == me or peer.since_s >= settled_s]
    free = [c for c in configured if c not in census.owners]
    claim = tuple(c for c in free if c in overdue or chosen(c, peers) == me)
    mine = [c for c in sorted(census.owners) if census.owners[c] == me]
    others = tuple(c for c in mine if chosen(c, settled) not in (me, None))
    return Moves(claim, others)


def _weight(name: str, cluster: ClusterName) -> bytes:
    return blake2b(f"{name}\0{cluster}".encode(), digest_size=16).digest()
