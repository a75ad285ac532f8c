"""Whether commits wait for whom they should: synchronous_commit, synchronous_standby_names, and who answers.

With `protection: quorum` whatever lets a commit be acknowledged without the standbys is an error: the promise
would not be kept. With `async` the user's own setting is told as what it is.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import advice, at, error, identifier, listed, set_and_reload, warning
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, SqlSeen, conninfo_keywords
from pgvigil.model.check import CheckItem
from pgvigil.model.record import SyncSet
from pgvigil.model.spec import Protection

NAMES: Final = "synchronous_standby_names"
ASKS_LESS: Final = {"off": 0, "local": 1, "remote_write": 2}
MEANING: Final = {
    "off": "commits are acknowledged before they are on disk; a crash may lose the last of them",
    "local": "commits are acknowledged before any standby has them",
    "remote_write": "commits are acknowledged before a standby has them on disk",
}


def synchrony(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings on who commits wait for, and on what may keep them from waiting."""
    if seen.spec.protection is Protection.QUORUM:
        yield from _taken_over(seen)
        yield from _acknowledging(seen)
        yield from _commits(seen, waits=True)
    else:
        yield from _own_names(seen)
        primary = seen.primary.answer if seen.primary else None
        yield from _commits(seen, waits=bool(primary and primary.text(NAMES)))


def promised(seen: ClusterSeen) -> str:
    """What is promised when nothing was found; empty: nothing is, or too little was seen."""
    if seen.spec.protection is not Protection.QUORUM or seen.primary is None:
        return ""
    able = _able(seen)
    return (
        f"quorum: commits are to wait for any {seen.spec.sync_required} of {listed(able)}; "
        "but any session may lower synchronous_commit for itself (SET), and then waits for nobody"
    )


def _able(seen: ClusterSeen) -> list[str]:
    """The standbys whose acknowledgements may count."""
    primary = seen.primary.name if seen.primary else None
    return [str(node.name) for node in seen.spec.nodes if node.name != primary and node.may_acknowledge()]


def _taken_over(seen: ClusterSeen) -> Iterator[CheckItem]:
    """A setting that is somebody else's, and one that ALTER SYSTEM cannot change (manual: 20.1.4)."""
    for node, sql in seen.answers():
        found = sql.settings.get(NAMES)
        if found and found.source == "command line":
            what = f"{NAMES} is given on the server's command line, where pgvigil cannot change it"
            yield error(at(seen, node), what, "remove it from what starts the server; then restart it")
    primary = seen.primary
    names = primary.answer.text(NAMES) if primary and primary.answer else ""
    if primary and names and names not in _settings_of_ours(seen, primary):
        yield advice(
            at(seen, primary),
            f"{NAMES} is {names!r}: pgvigil run takes it over and keeps it as protection: quorum wants it",
            "see that nobody else sets it (configuration management, another program)",
        )


def _settings_of_ours(seen: ClusterSeen, primary: NodeSeen) -> set[str]:
    """What pgvigil itself may have set there: all, or some, of those that may acknowledge."""
    names = [node.name for node in seen.spec.others(primary.name) if node.may_acknowledge()]
    quoted = primary.answer.text(NAMES) if primary.answer else ""
    some = frozenset(name for name in names if f'"{name}"' in quoted)
    return {SyncSet(acks, some).setting for acks in range(1, len(some) + 1)}


def _acknowledging(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Who can acknowledge: one that streams from the primary under its node's name, and only one so called.

    PostgreSQL compares these names without regard to case (manual: 20.6.2).
    """
    primary = seen.primary
    if primary is None or primary.answer is None or primary.answer.unread:
        return
    senders = Counter(sender.application_name.lower() for sender in primary.answer.senders)
    able, there = _able(seen), []
    for node in seen.standbys:
        if str(node.name) not in able or seen.upstream(node) is not primary:
            continue
        there.append(str(node.name))
        if not senders[node.name.lower()]:
            yield _other_name(seen, node)
    for name in able:
        if senders[name.lower()] > 1:
            what = f"{senders[name.lower()]} programs stream from {primary.name} as {name}: each counts as it"
            fix = "give all but that node another application_name (pg_receivewal, copies of the server)"
            yield error(seen.spec.name, what, fix)
    if len(there) < seen.spec.sync_required:
        yield _too_few(seen, able, there)


def _other_name(seen: ClusterSeen, node: NodeSeen) -> CheckItem:
    assert node.answer is not None
    keywords = conninfo_keywords(node.answer.text("primary_conninfo"))
    own = keywords.get("application_name") or node.answer.text("cluster_name") or "walreceiver"
    what = f"it streams as {own!r}, not as {node.name}: its acknowledgements cannot count yet"
    if node.spec.follow_command:
        fix = f"give it application_name={node.name}: follow_command has it in PRIMARY_CONNINFO"
        return warning(at(seen, node), what, fix)
    primary = seen.primary.name if seen.primary else "PRIMARY"
    fix = (
        f"nothing: pgvigil run sees to it; or by hand: pgvigil follow {seen.spec.name} {node.name} {primary}"
    )
    return advice(at(seen, node), what, fix)


def _too_few(seen: ClusterSeen, able: list[str], there: list[str]) -> CheckItem:
    spec = seen.spec
    away = listed([name for name in able if name not in there])
    needed = f"commits are to wait for {spec.sync_required} of {listed(able)}"
    if not spec.degrade:
        what = f"{needed}, but {len(there)} stream from the primary: every commit will stand still"
        return error(spec.name, what, f"bring back {away} first; or degrade: true")
    meant = f"for {len(there)}" if there else "for nobody, so the primary's loss may lose commits"
    what = f"{needed}, but {len(there)} stream from the primary: they will wait {meant}"
    return error(spec.name, what, f"bring back {away}; or sync_required: {max(len(there), 1)}")


def _own_names(seen: ClusterSeen) -> Iterator[CheckItem]:
    """`async`: pgvigil leaves the user's own synchronous_standby_names alone."""
    names = {node.name: sql.text(NAMES) for node, sql in seen.answers()}
    primary = seen.primary
    if primary is None or not names.get(primary.name):
        return
    yield warning(
        at(seen, primary),
        f"{NAMES} is {names[primary.name]!r}: when too few of these answer, writes stand still, and pgvigil "
        "does not change that",
        "watch those standbys; a failover may choose another than the one that has everything. "
        "Or protection: quorum, which sees to both",
    )
    empty = sorted(name for name, value in names.items() if not value)
    if empty:
        yield advice(
            seen.spec.name,
            f"{NAMES} is empty on {', '.join(empty)}: as primary they wait for nobody",
            set_and_reload(NAMES, "'…'") + "  there too, if that is not meant",
        )


def _commits(seen: ClusterSeen, *, waits: bool) -> Iterator[CheckItem]:
    """synchronous_commit of the servers, and what roles and databases have of their own."""
    for node, sql in seen.answers():
        yield from _lowered(seen, at(seen, node), "the server", sql.text("synchronous_commit"), waits=waits)
    source = seen.primary or next((node for node, _ in seen.answers()), None)
    for whose, value in _of_roles(source.answer if source else None):
        yield from _lowered(seen, seen.spec.name, whose, value, waits=waits)


def _of_roles(sql: SqlSeen | None) -> tuple[tuple[str, str], ...]:
    return sql.lowered if sql else ()


def _lowered(seen: ClusterSeen, place: str, whose: str, value: str, *, waits: bool) -> Iterator[CheckItem]:
    """Where nobody is waited for, `local` and `remote_write` say the same as `on`."""
    level = ASKS_LESS.get(value, 3)
    if level == 3 or (level and not waits):
        return
    what = f"synchronous_commit is {value} for {whose}: {MEANING[value]}"
    if seen.spec.protection is Protection.QUORUM:
        yield error(place, what, _raised(whose))
    else:
        yield warning(place, what, _raised(whose) + "  if not meant")


def _raised(whose: str) -> str:
    """The statement that lets a server, role or database have the usual value again."""
    if whose == "the server":
        return set_and_reload("synchronous_commit", "on")
    if whose == "all roles":
        return "ALTER ROLE ALL RESET synchronous_commit;"
    if whose.startswith("database "):
        return f"ALTER DATABASE {identifier(whose.removeprefix('database '))} RESET synchronous_commit;"
    role, _, database = whose.removeprefix("role ").partition(" in database ")
    within = f" IN DATABASE {identifier(database)}" if database else ""
    return f"ALTER ROLE {identifier(role)}{within} RESET synchronous_commit;"
