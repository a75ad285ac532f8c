"""What must be true between keys of a cluster, each of which is right by itself."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from pgvigil.config.access import ShellSection, Via
from pgvigil.config.endpoint import VipSection
from pgvigil.config.policy import RunOn
from pgvigil.config.schema import ClusterSection, NodeSection
from pgvigil.config.units import duration_text
from pgvigil.model.spec import Protection, Tag, slot_name
from pgvigil.model.units import NodeName

Path = tuple[str, ...]
Complaint = tuple[Path, str]
"""Where in the cluster, and what is wrong there."""


def complaints(cluster: ClusterSection) -> Iterator[Complaint]:
    """Everything that does not go together in a cluster with its defaults."""
    yield from _protection(cluster)
    yield from _times(cluster)
    yield from _guard(cluster)
    yield from _nodes(cluster)
    yield from _upstreams(cluster)
    yield from _witnesses(cluster)
    yield from _notify(cluster)
    yield from _endpoints(cluster)
    yield from _callbacks(cluster)
    if cluster.shell is not None:
        yield from ((("shell",), wrong) for wrong in cluster.shell.misfits() if "needs command" not in wrong)


def between(clusters: Mapping[str, ClusterSection]) -> Iterator[tuple[str, Complaint]]:
    """Everything that does not go together between clusters, each with the cluster that says it."""
    wanted = {
        name: each.standby_of.cluster
        for name, each in clusters.items()
        if each.standby_of is not None and each.standby_of.cluster is not None
    }
    yield from _shared_files(clusters)
    place = ("standby_of",)
    for name, other in wanted.items():
        if other not in clusters:
            yield name, (place, f"is no cluster of this file: {other}; clusters: {', '.join(clusters)}")
        elif circle := _circle(wanted, name):
            yield name, (place, f"leads back to itself: {' → '.join(circle)}")
        elif clusters[other].standby_of is not None:
            yield name, (place, f"is a standby cluster itself: {other}; follow the one that it follows")


def _callbacks(cluster: ClusterSection) -> Iterator[Complaint]:
    """A script on the host of a node needs a shell there."""
    without = [name for name, node in cluster.nodes.items() if node.way_in(cluster) is None]
    on_node = any(each.run_on is RunOn.NODE for each in cluster.hooks.callbacks)
    if on_node and without:
        yield ("hooks", "callbacks"), f"run on nodes, and there is no shell on {', '.join(without)}"


def _notify(cluster: ClusterSection) -> Iterator[Complaint]:
    """Each target has one way to its URL."""
    for name, target in cluster.notify.targets.items():
        if len(target.sources()) != 1:
            yield ("notify", "targets", name), "needs one of url, url_file, url_command, url_env"


def _shared_files(clusters: Mapping[str, ClusterSection]) -> Iterator[tuple[str, Complaint]]:
    """Two clusters would write one PgBouncer's file in turns."""
    seen: dict[tuple[str, int, str], str] = {}
    for name, cluster in clusters.items():
        for bouncer in filter(None, (endpoint.pgbouncer for endpoint in cluster.endpoints)):
            place = (bouncer.host.lower(), bouncer.port, bouncer.file)
            if (other := seen.setdefault(place, name)) != name:
                yield name, (("endpoints",), f"has the same PgBouncer and file as {other}: {bouncer.file}")


def _protection(cluster: ClusterSection) -> Iterator[Complaint]:
    """Every node may become primary, so those that acknowledge must be enough without any one of them."""
    if cluster.protection is not Protection.QUORUM:
        for key in ("sync_required", "degrade"):
            if key in cluster.model_fields_set:
                yield (key,), "goes with protection: quorum only"
        return
    fewest = sync_room([(name, node.tags) for name, node in cluster.nodes.items()])
    if fewest < cluster.sync_required:
        yield (
            ("sync_required",) if "sync_required" in cluster.model_fields_set else ("protection",),
            f"wants {cluster.sync_required} of the other nodes to acknowledge, whoever is primary; there may "
            f"be only {fewest} without never_sync",
        )


def sync_room(nodes: Sequence[tuple[str, Collection[str]]]) -> int:
    """How many nodes may acknowledge, whoever is primary; from their names and tags."""
    able = {name for name, tags in nodes if Tag.NEVER_SYNC not in tags}
    return min(len(able - {primary}) for primary, _ in nodes)


def _times(cluster: ClusterSection) -> Iterator[Complaint]:
    probe, failover = cluster.probe, cluster.failover
    for name in ("unreachable_after", "hung_after"):
        limit = getattr(failover, name)
        if probe.suspect_after >= limit:
            yield (
                ("failover", name),
                f"must be more than probe.suspect_after ({duration_text(probe.suspect_after)})",
            )
        if probe.interval > limit:
            yield (
                ("failover", name),
                f"must not be less than probe.interval ({duration_text(probe.interval)})",
            )


def _guard(cluster: ClusterSection) -> Iterator[Complaint]:
    """A guard must not be quicker than the verdict: a hiccup would end a primary that nobody replaces."""
    fencing, failover = cluster.fencing, cluster.failover
    for name, limit in (
        ("failover.unreachable_after", failover.unreachable_after),
        ("three times probe.shell_timeout", 3 * cluster.probe.shell_timeout),
    ):
        if fencing.guard and fencing.guard_lease < limit:
            text = f"must not be less than {name} ({duration_text(limit)})"
            yield ("fencing", "guard_lease"), text


def _nodes(cluster: ClusterSection) -> Iterator[Complaint]:
    addresses: dict[tuple[str, int], str] = {}
    slots: dict[str, str] = {}
    for name, node in cluster.nodes.items():
        yield from ((("nodes", name, *path), wrong) for path, wrong in _node(node, cluster))
        address = (node.host.lower(), node.server(cluster).port)
        if (same := addresses.setdefault(address, name)) != name:
            yield ("nodes", name, "host"), f"is the same server as {same}: {node.host}:{address[1]}"
        if (same := slots.setdefault(slot_name(NodeName(name)), name)) != name:
            yield (
                ("nodes", name),
                f"would have the same replication slot as {same}: {slot_name(NodeName(name))}; rename one",
            )
    if not any(node.priority > 0 and Tag.NEVER_PROMOTE not in node.tags for node in cluster.nodes.values()):
        yield ("nodes",), "at least one must be allowed to be primary (no never_promote, priority above 0)"


def _upstreams(cluster: ClusterSection) -> Iterator[Complaint]:
    """Upstreams lead from node to node, and never in a circle; what acknowledges streams from the primary."""
    wanted = {name: node.upstream for name, node in cluster.nodes.items() if node.upstream}
    for name, upstream in wanted.items():
        place = ("nodes", name, "upstream")
        if upstream not in cluster.nodes:
            yield place, f"is no node of this cluster: {upstream}; nodes: {', '.join(cluster.nodes)}"
        elif circle := _circle(wanted, name):
            yield place, f"leads back to itself: {' → '.join(circle)}"
        if cluster.protection is Protection.QUORUM and Tag.NEVER_SYNC not in cluster.nodes[name].tags:
            yield place, "goes with tags: [never_sync]: a standby of a standby acknowledges no commit"


def _circle(wanted: dict[str, str], start: str) -> list[str]:
    """The way from a node over upstreams back to it; empty: it ends elsewhere."""
    way = [start]
    while (above := wanted.get(way[-1])) is not None and above not in way[1:]:
        way.append(above)
        if above == start:
            return way
    return []


def _witnesses(cluster: ClusterSection) -> Iterator[Complaint]:
    hosts = {node.host.lower(): name for name, node in cluster.nodes.items()}
    for name, witness in cluster.witnesses.items():
        place, shell = ("witnesses", name), witness.way_in(cluster)
        if name in cluster.nodes:
            yield place, "is a node's name too; call it otherwise"
        if (same := hosts.setdefault(witness.host.lower(), name)) != name:
            yield (*place, "host"), f"is the host of {same} too: it sees no more than that one"
        if shell.via in (Via.NONE, Via.LOCAL):
            yield (*place, "shell"), "needs a shell on another host than the controller's: ssh or command"
        yield from (((*place, "shell"), wrong) for wrong in _misfits(shell, cluster))


def _endpoints(cluster: ClusterSection) -> Iterator[Complaint]:
    names: set[str] = set()
    for endpoint in cluster.endpoints:
        if endpoint.called in names:
            yield ("endpoints",), f"has two that are called {endpoint.called}: give one a name:"
        names.add(endpoint.called)
        if endpoint.pgbouncer is not None:
            yield from ((("endpoints",), f"shell: {wrong}") for wrong in endpoint.pgbouncer.misfits())
        if endpoint.vip is not None:
            yield from ((("endpoints",), f"vip: {wrong}") for wrong in _vip(endpoint.vip, cluster))


def _vip(vip: VipSection, cluster: ClusterSection) -> Iterator[str]:
    yield from vip.misfits(cluster.nodes)
    if without := [name for name, node in cluster.nodes.items() if node.way_in(cluster) is None]:
        yield f"needs a shell on every node; there is none on {', '.join(without)}"
    hosts = [node.host for node in cluster.nodes.values()]
    if shared := sorted({host for host in hosts if hosts.count(host) > 1}):
        yield f"moves between hosts, and several nodes are on {', '.join(shared)}"


def _node(node: NodeSection, cluster: ClusterSection) -> Iterator[Complaint]:
    for key in ("port", "control"):
        if getattr(node, key) is not None and key in node.postgres.model_fields_set:
            yield (key,), f"is given twice: here and as postgres.{key}"
    if (shell := node.way_in(cluster)) is not None:
        yield from ((("shell",), wrong) for wrong in _misfits(shell, cluster))


def _misfits(shell: ShellSection, cluster: ClusterSection) -> list[str]:
    """What is wrong with a shell; of the cluster's own only what is not told there."""
    return [wrong for wrong in shell.misfits() if shell is not cluster.shell or "needs command" in wrong]
