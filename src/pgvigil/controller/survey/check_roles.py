"""Whether the nodes are one cluster: one primary, its standbys streaming from it, nobody foreign."""

from collections import Counter
from collections.abc import Iterator

from pgvigil.controller.survey.items import advice, at, error, fine, listed, warning
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, SqlSeen, holds_password
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import FollowedCluster
from pgvigil.model.units import bytes_text


def cluster(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Who is primary, how many standbys stream, and whether all are of one kind."""
    foreign = list(_foreign(seen))
    yield from foreign or _primaries(seen)
    yield from _majors(seen)
    yield from _others(seen)
    yield from _standby_count(seen)


def _foreign(seen: ClusterSeen) -> Iterator[CheckItem]:
    """A node of another system identifier can never be a standby here."""
    ids = Counter(sql.system_id for _, sql in seen.answers())
    if len(ids) < 2:
        return
    trusted = [sql.system_id for _, sql in seen.answers() if sql.senders or sql.receiver]
    ours = Counter(trusted).most_common(1)[0][0] if trusted else ids.most_common(1)[0][0]
    for node, sql in seen.answers():
        if sql.system_id != ours:
            yield error(
                at(seen, node),
                f"this server belongs to another cluster (system identifier {sql.system_id}, ours is {ours})",
                f"correct host: and port: of {node.name}; a server of this cluster is made by pg_basebackup",
            )


def _primaries(seen: ClusterSeen) -> Iterator[CheckItem]:
    place = seen.spec.name
    found = [node for node in seen.nodes if node.is_primary]
    if len(found) > 1:
        names = listed([f"{node.name} (timeline {node.answer.timeline})" for node in found if node.answer])
        yield error(
            place,
            f"two nodes take writes: {names}",
            "find out which one your applications use; stop the other, then: pgvigil rejoin "
            f"{place} NODE --dry-run",
        )
    elif not found and seen.spec.standby_of is not None and any(node.is_standby for node in seen.nodes):
        yield from _follows(seen, seen.spec.standby_of)
    elif not found and any(node.is_standby for node in seen.nodes):
        yield error(
            place,
            "no node takes writes",
            "start the primary; or, if it is lost for good: pgvigil failover " + place,
        )
    elif not found:
        yield error(place, "no node answers, so nothing more can be said", "mend the items above first")


def _follows(seen: ClusterSeen, there: FollowedCluster) -> Iterator[CheckItem]:
    """A standby cluster: somebody streams from the cluster that it follows."""
    place, ways = seen.spec.name, {(node.host, node.port) for node in there.nodes}
    leading = [
        node.name
        for node, sql in seen.answers()
        if sql.receiver and (sql.receiver.host, sql.receiver.port) in ways
    ]
    if leading:
        yield fine(
            place,
            f"a standby cluster of {there.name}: {listed([str(n) for n in leading])} streams from there",
        )
        return
    yield error(
        place,
        f"no node streams from {there.name}, which this standby cluster follows",
        f"pgvigil status {place} says who leads; its log says why it does not get in there",
    )


def _majors(seen: ClusterSeen) -> Iterator[CheckItem]:
    majors: dict[int, list[str]] = {}
    for node, sql in seen.answers():
        majors.setdefault(sql.major, []).append(node.name)
    if len(majors) > 1:
        told = "; ".join(f"{major}: {listed(names)}" for major, names in sorted(majors.items()))
        yield error(
            seen.spec.name,
            f"the nodes are of different major versions ({told})",
            "streaming needs one major version: upgrade the others with pg_upgrade, then copy them anew",
        )


def _others(seen: ClusterSeen) -> Iterator[CheckItem]:
    names = {name for _, sql in seen.answers() for name in sql.others}
    if names:
        yield error(
            seen.spec.name,
            f"another program for high availability is at work here: {listed(sorted(names))}",
            "only one may decide: stop and disable it on every node before: pgvigil run",
        )


def _standby_count(seen: ClusterSeen) -> Iterator[CheckItem]:
    spec = seen.spec
    others = [node for node in spec.nodes if seen.primary is None or node.name != seen.primary.name]
    fit = [node for node in others if node.may_be_primary()]
    if len(spec.nodes) < 2:
        yield error(
            spec.name, "there is no standby", "make one: pg_basebackup, or pgvigil clone; add it to nodes:"
        )
    elif not fit:
        yield error(
            spec.name,
            "no standby may be promoted",
            "take tag never_promote or priority: 0 from one of " + listed([str(n.name) for n in others]),
        )
    elif len(spec.nodes) == 2:
        yield advice(
            spec.name,
            "there is only one standby: after a failover there is none until the old primary is back",
            "a second standby, best on a third host, keeps the cluster protected meanwhile",
        )


def standbys(seen: ClusterSeen) -> Iterator[CheckItem]:
    """One item a standby: from whom it streams and how far behind; else what keeps it."""
    for node in seen.standbys:
        assert node.answer
        problems = [*_streaming(seen, node, node.answer), *_replay(seen, node, node.answer)]
        if not any(item.level in ("error", "warning") for item in problems):
            yield from _streams(seen, node)
        yield from problems
    for node, sql in seen.answers():
        if holds_password(sql.text("primary_conninfo")):
            yield warning(
                at(seen, node),
                "a password stands in primary_conninfo, readable for everybody who may read settings",
                f"on {node.name} put it into ~/.pgpass of the server's user (mode 0600); then "
                + (
                    f"pgvigil follow {node.name} --upstream UPSTREAM  writes the setting anew without it"
                    if sql.recovering
                    else "ALTER SYSTEM RESET primary_conninfo; SELECT pg_reload_conf();"
                ),
            )


def _streams(seen: ClusterSeen, node: NodeSeen) -> Iterator[CheckItem]:
    upstream, lag = seen.upstream(node), _lag(seen, node)
    if upstream:
        behind = f", {bytes_text(lag)} behind" if lag else ""
        yield fine(at(seen, node), f"streams from {upstream.name}{behind}")


def _lag(seen: ClusterSeen, node: NodeSeen) -> int | None:
    primary = seen.primary.answer if seen.primary else None
    return max(0, primary.position - node.answer.position) if primary and node.answer else None


def _streaming(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    place, receiver, limit = at(seen, node), sql.receiver, seen.spec.failover.max_lag_bytes
    if sql.unread or not sql.settings.get("primary_conninfo"):
        return  # our login may not see it: said elsewhere
    upstream = seen.upstream(node)
    if receiver is None or receiver.status not in ("streaming", ""):
        yield error(place, _idle(seen, sql), _idle_fix(seen, node, sql))
    elif receiver.status and upstream is None and not _from_there(seen, receiver.host, receiver.port):
        yield warning(
            place,
            f"it streams from {receiver.host}:{receiver.port}, which is none of the nodes here",
            f"add that node to nodes:, or point it at ours: pgvigil follow {seen.spec.name} {node.name} NODE",
        )
    lag = _lag(seen, node)
    if lag is not None and lag > limit:
        yield warning(
            place,
            f"{bytes_text(lag)} behind: more than max_lag ({bytes_text(limit)}), so it is not promoted",
            "see what holds it up: long queries (max_standby_streaming_delay), disk, network",
        )


def _from_there(seen: ClusterSeen, host: str, port: int) -> bool:
    """Whether that is a node of the cluster that this one follows."""
    there = seen.spec.standby_of
    return there is not None and any((node.host, node.port) == (host, port) for node in there.nodes)


def _idle(seen: ClusterSeen, sql: SqlSeen) -> str:
    if not sql.text("primary_conninfo"):
        return "it does not stream: it is pointed at no primary"
    ahead = seen.primary.answer if seen.primary else None
    if ahead and ahead.timeline < sql.timeline:
        return f"it does not stream: it is on timeline {sql.timeline}, the primary on {ahead.timeline}"
    return "it does not stream"


def _idle_fix(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> str:
    target = seen.primary.name if seen.primary else "NODE"
    if not sql.text("primary_conninfo"):
        return f"pgvigil follow {seen.spec.name} {node.name} {target}"
    return f"its log says why; if it cannot catch up: pgvigil rejoin {seen.spec.name} {node.name} --dry-run"


def _replay(seen: ClusterSeen, node: NodeSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    place = at(seen, node)
    if sql.number("recovery_min_apply_delay"):
        yield advice(
            place,
            "it replays with a delay (recovery_min_apply_delay), so it is never promoted",
            f"if that is meant, say so: {node.name}: {{tags: [never_promote]}}  in the configuration",
        )
    target = sql.text("recovery_target_timeline")
    if target and target != "latest":
        yield error(
            place,
            f"recovery_target_timeline is {target}: it cannot follow a new primary",
            "ALTER SYSTEM RESET recovery_target_timeline;  then restart it",
        )
