"""What `status` prints: a cluster as a table, with what was found and decided under it.

Every function makes a rich renderable from the JSON of `controller.status_shape`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from pgvigil.cli.copybar import copied_text
from pgvigil.cli.tables import Column, Shape, fitting_table, hanging
from pgvigil.cli.theme import (
    BAD,
    DIM,
    GOOD,
    HEALTH,
    NOTE,
    STRONG,
    WARN,
    bytes_text,
    local_time,
    repeated,
    seconds_text,
    sign,
    state_style,
    symbols,
)
from pgvigil.model.progress import Copied

DUE_NOW_S: Final = 0.05
"""Below this many seconds a verdict is due now."""


def _state(node: Shape) -> Text:
    return Text(node["state"], style=state_style(node["state"]))


def _name(node: Shape) -> Text:
    return Text(node["name"], style=STRONG if node["role"] == "primary" else "")


def _lag(node: Shape) -> Text:
    lag = node["lag_bytes"]
    if lag is None or node["role"] != "standby":
        return Text("")
    late_s = 0.0 if node["apply_delay_s"] else node["lag_s"] or 0.0
    if lag == 0 and not late_s:
        return Text("0 B", style=DIM)
    behind = f", {seconds_text(late_s)}" if late_s >= 0.1 else ""
    return Text(bytes_text(lag) + behind, style=WARN if lag >= 16 * 1024 * 1024 else "")


def _upstream(node: Shape) -> Text:
    if node["upstream"]:
        return Text(node["upstream"])
    return Text("none", style=WARN) if node["role"] == "standby" else Text("")


def _tags(node: Shape) -> str:
    """The user's wishes for it, and how much later it replays on purpose."""
    delay = [f"delayed {seconds_text(node['apply_delay_s'])}"] if node["apply_delay_s"] else []
    return ", ".join([*node["tags"], *delay])


def _seen(node: Shape) -> Text:
    seen = node["last_seen_s"]
    if seen is None:
        return Text("never", style=DIM)
    return Text(f"{seconds_text(seen)} ago", style=DIM if node["role"] != "unknown" else WARN)


def _guard(node: Shape) -> Text:
    state = node.get("guard")
    if state is None:
        return Text("")
    doing = f" ({node['guard_doing']})" if node["guard_doing"] else ""
    return Text(f"{state}{doing}", style="" if state == "alive" else WARN)


def _text(value: object) -> str:
    return "" if value is None else str(value)


COLUMNS: Final = (
    Column("Node", _name),
    Column("Role", lambda n: Text(n["role"], style=STRONG if n["role"] == "primary" else "")),
    Column("State", _state),
    Column("Upstream", _upstream),
    Column("Sync", lambda n: _text(n["sync_state"]), drop=4),
    Column("Lag", _lag, justify="right"),
    Column("TL", lambda n: _text(n["timeline"]), justify="right"),
    Column("LSN", lambda n: _text(n["lsn"]), drop=5, justify="right"),
    Column("Prio", lambda n: _text(n["priority"]), drop=3, justify="right"),
    Column("Guard", _guard, drop=4),
    Column("Location", lambda n: n["location"], drop=2),
    Column("Tags", _tags, drop=3),
    Column("Address", lambda n: f"{n['host']}:{n['port']}", drop=6),
    Column("Access", lambda n: n["connection"], drop=7),
    Column("Reported", lambda n: n["reported_state"], drop=8),
    Column("Goal", lambda n: n["goal_state"], drop=8),
    Column("Seen", _seen, drop=9),
    Column("Connection string", lambda n: n["conninfo"], drop=10, folds=True),
)


def clusters_view(console: Console, clusters: Sequence[Shape], *, wide: bool = False) -> RenderableType:
    """All clusters, one below the other."""
    parts: list[RenderableType] = []
    for cluster in clusters:
        if parts:
            parts.append(Text(""))
        parts.append(cluster_view(console, cluster, wide=wide))
    return Group(*parts)


def cluster_view(console: Console, cluster: Shape, *, wide: bool = False) -> RenderableType:
    """Headline, table, notes on nodes, findings and decision."""
    table = fitting_table(console, COLUMNS, cluster["nodes"], wide=wide)
    notes = list(_notes(console, cluster))
    below = [Text(""), *notes] if notes else []
    return Group(headline(console, cluster), Text(""), Padding(table, (0, 0, 0, 1), expand=False), *below)


def headline(console: Console, cluster: Shape) -> Text:
    """The cluster in one line."""
    dot = f" {symbols(console).note} "
    health = cluster["health"]
    line = Text.assemble((cluster["cluster"], STRONG), "  ", sign(console, HEALTH, health), " ")
    line.append(health, style=HEALTH.get(health, ("", ""))[1])
    facts = [f"primary {cluster['primary'] or 'unknown'}"]
    if cluster.get("standby_cluster"):
        there = cluster["standby_of"]["name"] or "a cluster that the file does not name"
        facts = [f"standby cluster of {there}", f"leader {cluster['primary']}"]
    if cluster["generation"]:
        facts.append(f"generation {cluster['generation']}")
    else:
        facts.append("not managed yet")
    if cluster["phase"] != "stable":
        facts.append(cluster["phase"])
    facts.append(cluster["protection"])
    line.append("  " + dot.join(facts), style=DIM)
    if sync := cluster["sync"]:
        line.append(f": {_promise(sync)}", style=WARN if _less_than_wanted(sync) else DIM)
    if guarded_by := cluster.get("controller"):
        line.append(f"{dot}guarded by {guarded_by}", style=DIM)
    if cluster["paused"]:
        until = f" until {local_time(cluster['paused_until'])}" if cluster["paused_until"] else ""
        line.append(f"{dot}paused{until}", style=WARN)
    elif not cluster["automatic"]:
        line.append(f"{dot}automatic failover is off", style=WARN)
    return line


def _promise(sync: Shape) -> str:
    """Who acknowledges, in a few words."""
    if not sync["acks"]:
        return "being set up" if sync["changing"] else "no standby acknowledges"
    return f"any {sync['acks']} of {', '.join(sync['standbys'])}"


def _less_than_wanted(sync: Shape) -> str:
    """What is not promised now, and what would bring it back; empty: all that is wanted is promised."""
    if sync["acks"] >= sync["wanted_acks"]:
        return ""
    if not sync["acks"] and sync["changing"]:
        return "no commit is promised yet: it is not proved that commits wait"
    if not sync["acks"]:
        return "no commit is promised: the primary acknowledges alone; bring a standby back"
    wanted = f"{sync['wanted_acks']} are wanted (sync_required)"
    return f"commits wait for any {sync['acks']} of {', '.join(sync['standbys'])}; {wanted}"


def _notes(console: Console, cluster: Shape) -> Iterator[RenderableType]:
    found = {finding["node"] for finding in cluster["findings"]}
    for node in cluster["nodes"]:
        if node["progress"]:
            copied = Copied.parse(node["progress"])
            doing = f"copy from {copied.source}: {copied.percent} %, {copied_text(copied)}" if copied else ""
            yield _note(symbols(console).busy, NOTE, node["name"], doing or node["progress"])
        elif node.get("maintenance"):
            doing = f": {node['detail']}" if node["detail"] else ""
            yield _note(symbols(console).held, WARN, node["name"], f"under maintenance{doing}")
        elif node["detail"] and node["name"] not in found:
            yield _note(symbols(console).warn, WARN, node["name"], node["detail"])
        if node["pending_restart"]:
            waiting = ", ".join(node["pending_restart"])
            text = f"waits for a restart: {waiting} (pgvigil restart --pending)"
            yield _note(symbols(console).note, NOTE, node["name"], text)
        if node["clock_skew_s"] and abs(node["clock_skew_s"]) >= 5:
            yield _note(
                symbols(console).warn, WARN, node["name"], f"its clock is {node['clock_skew_s']:+.0f} s off"
            )
        for backup in node["backups"]:
            yield _note(symbols(console).busy, NOTE, node["name"], _backup(backup))
    if there := cluster.get("standby_of"):
        yield _far(console, there)
    for endpoint in cluster.get("endpoints", ()):
        yield _endpoint(console, endpoint)
    for witness in cluster["witnesses"]:
        yield _witness(console, witness)
    if (sync := cluster["sync"]) and (less := _less_than_wanted(sync)):
        yield _note(symbols(console).warn, WARN, "quorum", less)
    for finding in cluster["findings"]:
        yield finding_view(console, finding, hint=_by_hand(cluster, finding))
    for each in cluster.get("scheduled", ()):
        text = f"{each['what']}{repeated(each)} (#{each['number']})"
        yield _note(symbols(console).note, DIM, local_time(each["at"]), text)
    for warning in cluster["warnings"]:
        yield _note(symbols(console).warn, WARN, "warning", warning)
    yield from _decision(console, cluster)


def _far(console: Console, there: Shape) -> RenderableType:
    """Who takes writes in the cluster that a standby cluster follows."""
    title = f"cluster {there['name']}" if there["name"] else "the other cluster"
    if there["primary"]:
        text = f"{there['primary']} takes writes, at {there['lsn']} on timeline {there['timeline']}"
        return _note(symbols(console).note, DIM, title, text)
    text = f"{', '.join(there['answers'])} in recovery" if there["answers"] else "nobody answers"
    if there["heard_s"] is not None:
        text += f"; its primary was at {there['lsn']}, {seconds_text(there['heard_s'])} ago"
    return _note(symbols(console).warn, WARN, title, text)


def _backup(backup: Shape) -> str:
    """A base backup taken from a node, by whom, and how far it is."""
    text = f"base backup for {backup['to']}: {backup['phase']}"
    if total := backup["total_bytes"]:
        percent = min(100, 100 * backup["sent_bytes"] // total)
        text += f", {percent} %, {bytes_text(backup['sent_bytes'])} of {bytes_text(total)}"
    if backup["left_s"] is not None:
        left = seconds_text(float(backup["left_s"])) if backup["left_s"] >= 60 else f"{backup['left_s']} s"
        text += f", {bytes_text(backup['rate_bytes'])}/s, {left} left"
    return text


def _endpoint(console: Console, endpoint: Shape) -> RenderableType:
    """Where an endpoint leads, or why it does not lead where it ought to."""
    signs, title = symbols(console), f"endpoint {endpoint['name']}"
    leads = f"leads to {endpoint['primary'] or 'nobody'}"
    match endpoint["state"]:
        case "failed":
            return _note(signs.bad, BAD, title, f"cannot be moved: {endpoint['detail']}")
        case "ok":
            return _note(signs.note, DIM, title, leads)
        case "moving":
            return _note(signs.busy, NOTE, title, f"on its way to {endpoint['wanted'] or 'nobody'}")
        case _:
            return _note(signs.note, DIM, title, "not heard of yet")


def _witness(console: Console, witness: Shape) -> RenderableType:
    """What a witness host saw when it last looked, or why it is of no use."""
    signs, title = symbols(console), f"witness {witness['name']}"
    if witness["detail"]:
        return _note(signs.warn, WARN, title, witness["detail"])
    if not witness["reaches"]:
        return _note(signs.note, DIM, title, "not asked yet")
    blind = [name for name, reach in witness["reaches"].items() if reach in ("refused", "no_reply")]
    seen = [name for name in witness["reaches"] if name not in blind]
    told = [f"reaches {', '.join(seen)}"] if seen else []
    told += [f"does not reach {', '.join(blind)}"] if blind else []
    return _note(signs.warn if blind else signs.note, WARN if blind else DIM, title, "; ".join(told))


def _note(symbol: str, style: str, title: str, text: str) -> RenderableType:
    return hanging(Text.assemble(" ", (symbol, style)), Text.assemble((title, STRONG), "  ", text))


def _by_hand(cluster: Shape, finding: Shape) -> str:
    """What to do about a standby that is there, does not run, and that nothing brings back by itself."""
    for node in cluster["nodes"]:
        gone = node["name"] == finding["node"] and node["reported_state"] in ("crashed", "stopped")
        if gone and finding["problem"] == "standby_down" and not (node["progress"] or node["detail"]):
            name = node["name"]
            return f"see its log; pgvigil rejoin {name}; by itself with failover: {{restart_standbys: true}}"
    return ""


def finding_view(console: Console, finding: Shape, *, hint: str = "") -> RenderableType:
    """A problem with the sentences that prove it, and what to do if no decision says it."""
    signs = symbols(console)
    mark, style = {"now": (signs.bad, BAD), "waiting": (signs.busy, WARN)}.get(
        finding["urgency"], (signs.warn, WARN)
    )
    title = Text(finding["problem"].replace("_", " "), style=STRONG)
    if finding["node"]:
        title.append(f"  {finding['node']}")
    if finding["due_s"] is not None:
        due = (
            f"verdict in {seconds_text(finding['due_s'])}" if finding["due_s"] > DUE_NOW_S else "verdict due"
        )
        title.append(f"  {due}", style=WARN)
    evidence = [hanging(Text(signs.note, style=DIM), Text(line)) for line in finding["evidence"]]
    advice = [Text.assemble(("HINT:  ", NOTE), hint)] if hint else []
    return hanging(Text.assemble(" ", (mark, style)), Group(title, *evidence, *advice))


def _decision(console: Console, cluster: Shape) -> Iterator[RenderableType]:
    decision, signs = cluster["decision"], symbols(console)
    if decision["kind"] == "hold":
        title = Text.assemble(("held  ", STRONG), decision["reason"])
        if decision["until_s"] is not None:
            title.append(f"  (for {seconds_text(decision['until_s'])} at most)", style=DIM)
        hint = [Text.assemble(("HINT:  ", NOTE), decision["hint"])] if decision["hint"] else []
        yield hanging(Text.assemble(" ", (signs.held, WARN)), Group(title, *hint))
    elif decision["kind"] == "act":
        title = Text.assemble(("acting  ", STRONG), decision["reason"])
        yield hanging(
            Text.assemble(" ", (signs.busy, NOTE)), Group(title, *_steps(console, decision["steps"]))
        )
    if cluster["repairs"]:
        title = Text("repairs", style=STRONG)
        yield hanging(
            Text.assemble(" ", (signs.busy, NOTE)), Group(title, *_steps(console, cluster["repairs"]))
        )


def _steps(console: Console, steps: list[str]) -> list[RenderableType]:
    return [hanging(Text(symbols(console).arrow, style=DIM), Text(step)) for step in steps]


def replication_view(console: Console, cluster: Shape) -> RenderableType:
    """Both ends of every standby's replication side by side, and below them every node's slots."""
    standbys = [node for node in cluster["nodes"] if node["role"] != "primary"]
    slots = [{**slot, "node": node["name"]} for node in cluster["nodes"] for slot in node["slots"]]
    tables = [fitting_table(console, ENDS, standbys)]
    tables += [fitting_table(console, SLOTS, slots)] if slots else []
    parts = [part for table in tables for part in (Text(""), Padding(table, (0, 0, 0, 1), expand=False))]
    return Group(headline(console, cluster), *parts)


def _end(end: Shape | None, key: str) -> Text:
    """What one end says; missing ends and other states than streaming stand out."""
    said = end[key] if end else "none"
    return Text(said, style=GOOD if said == "streaming" else WARN)


def _slot(node: Shape) -> Text:
    slot = node["slot"]
    if slot is None:
        return Text("none", style=DIM)
    safe = slot["wal_status"] in ("reserved", "extended")
    return Text(slot["name"]) if safe else Text(f"{slot['name']}: {slot['wal_status']}", style=BAD)


def _kept(slot: Shape) -> Text:
    """What PostgreSQL says of the WAL that a slot is to hold."""
    safe = slot["wal_status"] in ("reserved", "extended", "")
    return Text(slot["wal_status"], style="" if safe else BAD)


def _kind(slot: Shape) -> str:
    if slot["physical"]:
        return "physical"
    return "logical, copy" if slot["synced"] else "logical, failover" if slot["failover"] else "logical"


def _bytes(size: int | None) -> str:
    return "" if size is None else bytes_text(size)


def _heard(node: Shape) -> str:
    silent = node["receiver"]["silent_s"] if node["receiver"] else None
    return "" if silent is None else f"{seconds_text(silent)} ago"


ENDS: Final = (
    Column("Standby", _name),
    Column("Upstream", _upstream),
    Column("Sender", lambda n: _end(n["sender"], "state")),
    Column("Receiver", lambda n: _end(n["receiver"], "status")),
    Column("Sync", lambda n: _text(n["sync_state"])),
    Column("To receive", lambda n: _bytes(n["lag_bytes"]), justify="right"),
    Column("To replay", lambda n: _bytes(n["replay_lag_bytes"]), justify="right"),
    Column("Delay", lambda n: "" if n["lag_s"] is None else seconds_text(n["lag_s"]), justify="right"),
    Column("Slot", _slot, drop=2),
    Column("Holds", lambda n: _bytes(n["slot"]["held_bytes"]) if n["slot"] else "", drop=3, justify="right"),
    Column("Heard", _heard, drop=3, justify="right"),
    Column("Sent", lambda n: n["sender"]["sent_lsn"] or "" if n["sender"] else "", drop=4, justify="right"),
    Column("Got", lambda n: n["lsn"] or "", drop=4, justify="right"),
)

SLOTS: Final = (
    Column("Node", lambda s: s["node"]),
    Column("Slot", lambda s: s["name"]),
    Column("Kind", _kind),
    Column("In use", lambda s: "yes" if s["active"] else Text("no", style=DIM)),
    Column("Holds", lambda s: _bytes(s["held_bytes"]), justify="right"),
    Column("WAL", _kept, drop=2),
)
