"""What `discover` found, as the text of a configuration: commented YAML in the shape of DESIGN §6. Pure.

Written by hand, not dumped: the comments are half of its use.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from pgvigil.config.modeline import modeline
from pgvigil.controller.survey.items import fine, warning
from pgvigil.controller.survey.seen import HostSeen, SqlSeen, conninfo_keywords, holds_password
from pgvigil.model.check import CheckItem
from pgvigil.model.shell import LocalShell, ShellSpec, SshShell
from pgvigil.model.spec import slot_name
from pgvigil.model.units import NodeName

SHELL_HINT: Final = (
    "why stands at shell: in the file; let us in there (another key: --ssh-key FILE), and discover again: "
    "it then finds how the servers are started, too"
)
LOGIN: Final = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "channel_binding",
    "require_auth", "gssencmode", "krbsrvname",
)  # fmt: skip
"""libpq keywords that both logins may have in the configuration, besides user and passfile."""
DEFAULTS: Final = ("prefer", "postgres")
"""What pg_basebackup writes although nobody asked for it."""
_PLAIN: Final = re.compile(r"(?:[A-Za-z/~][A-Za-z0-9_./~-]*|\d+\.\d+\.\d+\.\d+)", re.ASCII)
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Discovered:
    """A configuration made from a running cluster, and what was found while looking."""

    text: str
    items: tuple[CheckItem, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A server of the cluster."""

    host: str
    port: int
    sql: SqlSeen
    shell: ShellSpec | None = None
    """The way to its host that was tried."""
    on_host: HostSeen | None = None
    shell_failure: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same for one server, whatever address led to it."""
        data_dir = self.sql.text("data_directory")
        return self.sql.system_id, self.sql.started, data_dir or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Lost:
    """A standby that `upstream` sends to, but that could not be asked."""

    upstream: Found
    host: str
    application_name: str
    why: str


@dataclass(frozen=True, slots=True)
class Map:
    """All that was found, and with which login."""

    nodes: tuple[Found, ...]
    lost: tuple[Lost, ...]
    login: Mapping[str, str]
    wanted_name: str = ""


def describe(found: Map, at: datetime) -> Discovered:
    """The text and its items."""
    nodes = sorted(found.nodes, key=lambda node: (node.sql.recovering, node.host, node.port))
    cluster, names = _cluster_name(found), _names(nodes)
    todo: list[CheckItem] = []
    say = partial(warning, cluster)
    lines = ["clusters:", f"  {scalar(cluster)}:", "    nodes:"]
    shared = _shared([_places(node) for node in nodes])
    shells = [_shell(node) for node in nodes]
    common_shell = shells[0] if len(set(shells)) == 1 else ""
    for name, node, shell in zip(names, nodes, shells, strict=True):
        lines += _node(name, node, shared, shell if not common_shell else "")
    for lost in found.lost:
        what, text = _lost(lost, names[nodes.index(_same(lost.upstream, nodes))])
        lines += text
        todo.append(say(what, "complete its line under nodes: in the file"))
    lines += _postgres(found.login, nodes, shared, todo, say)
    lines += _replication(nodes, todo, say)
    lines += _shells(nodes, common_shell, todo, say)
    lines += _policy(nodes)
    lines = [*_header(nodes, at, todo=any("# TODO" in line for line in lines)), *lines]
    told = [
        fine(
            f"{cluster}/{name}",
            f"{_role(node)} at {node.host}:{node.port}, PostgreSQL {node.sql.version_text}",
        )
        for name, node in zip(names, nodes, strict=True)
    ]
    return Discovered("\n".join(lines) + "\n", (*told, *todo))


def scalar(text: str) -> str:
    """A text as YAML value or key, quoted where YAML might read something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)  # which YAML's double-quoted style reads


def _header(nodes: list[Found], at: datetime, *, todo: bool) -> list[str]:
    first = nodes[0].sql
    return [
        modeline(),
        f"# Written by `pgvigil discover` at {at:%Y-%m-%d %H:%M} UTC from a running cluster:",
        f"# PostgreSQL {first.version_text}, system identifier {first.system_id}.",
        "#",
        "# Next:",
        "#   1. read it through" + ("; lines with TODO need you" if todo else ""),
        "#   2. pgvigil check     tells what is missing, each with its fix",
        "#   3. pgvigil run       guards the cluster",
        "#",
    ]


def _cluster_name(found: Map) -> str:
    if found.wanted_name:
        return found.wanted_name
    names = {node.sql.text("cluster_name") for node in found.nodes}
    name = names.pop() if len(names) == 1 else ""
    return name if len(found.nodes) > 1 and _NAME.fullmatch(name) else "main"


def _names(nodes: list[Found]) -> list[str]:
    """A short name for each: what it calls itself towards its primary, its cluster_name, or its host's."""
    cluster_names = Counter(node.sql.text("cluster_name") for node in nodes)
    taken: set[str] = set()
    names = []
    for number, node in enumerate(nodes, 1):
        own = conninfo_keywords(node.sql.text("primary_conninfo")).get("application_name", "")
        cluster_name = node.sql.text("cluster_name")
        label = "" if re.fullmatch(r"[\d.:a-fA-F]+", node.host) else node.host.partition(".")[0]
        choices = [
            own if node.sql.recovering and own != "walreceiver" else "",
            cluster_name if cluster_names[cluster_name] == 1 else "",
            label if label != "localhost" else "",
            f"pg{number}",
            *(f"node{n}" for n in range(1, len(nodes) + 1)),
        ]
        name = next(c for c in choices if _NAME.fullmatch(c) and slot_name(NodeName(c)) not in taken)
        taken.add(slot_name(NodeName(name)))
        names.append(name)
    return names


def _same(node: Found, nodes: Iterable[Found]) -> Found:
    """The node as it stands in the list: it has learnt more of its host since."""
    return next(other for other in nodes if other.identity == node.identity)


def _role(node: Found) -> str:
    return "standby" if node.sql.recovering else "primary"


def _places(node: Found) -> dict[str, str]:
    """Where one server keeps its things, as far as is known."""
    data_dir, config = node.sql.text("data_directory"), node.sql.text("config_file")
    outside = config if data_dir and not config.startswith(data_dir.rstrip("/") + "/") else ""
    known = {
        "port": str(node.port),
        "data_dir": data_dir,
        "bin_dir": node.on_host.bin_dir if node.on_host else "",
        "config_file": outside,
        "control": _control(node, outside),
    }
    return {key: value for key, value in known.items() if value}


def _control(node: Found, config_file: str) -> str:
    if node.on_host is None:
        return ""
    unit = node.on_host.unit.removesuffix(".service")
    if unit.startswith(("postgres", "pgsql")):
        return f"{{systemd: {scalar(unit)}, sudo: true}}" if not node.on_host.is_root else f"systemd:{unit}"
    debian = re.fullmatch(r"/etc/postgresql/(\d+)/([\w-]+)/postgresql\.conf", config_file)
    return f"pg_ctlcluster:{debian[1]}/{debian[2]}" if debian else "pg_ctl"


def _shared(places: list[dict[str, str]]) -> dict[str, str]:
    """What is the same for every node."""
    return {key: value for key, value in places[0].items() if all(p.get(key) == value for p in places)}


def _place_text(key: str, value: str) -> str:
    bare = key == "port" or value.startswith("{")
    return f"{key}: {value if bare else scalar(value)}"


def _node(name: str, node: Found, shared: Mapping[str, str], shell: str) -> list[str]:
    own = {key: value for key, value in _places(node).items() if shared.get(key) != value}
    port = f", port: {own.pop('port')}" if "port" in own else ""
    upstream = _upstream(node)
    note = f"# {_role(node)}" + (f", streams from {upstream}" if upstream else "")
    lines = [f"      {scalar(name)}:  {note}", f"        host: {scalar(node.host)}"]
    if port:
        lines.append(f"        {port[2:]}")
    if own:
        lines.append("        postgres:")
        lines += [f"          {_place_text(key, value)}" for key, value in own.items()]
    if shell:
        lines.append(f"        shell: {shell}")
    return lines


def _upstream(node: Found) -> str:
    receiver = node.sql.receiver if node.sql.recovering else None
    return f"{receiver.host}:{receiver.port}" if receiver and receiver.host else ""


def _lost(lost: Lost, upstream: str) -> tuple[str, list[str]]:
    called = lost.application_name or "without a name"
    if not lost.host:
        what = f"{upstream} has a standby, but our login may not see where it comes from"
        return what, [f"      # TODO {what}: GRANT pg_monitor TO it, and discover again"]
    what = f"a standby at {lost.host} ({called}) streams from {upstream}, but its server was not found"
    name = called if _NAME.fullmatch(called) else "NAME"
    return what, [
        f"      # TODO {one_line(what)}",
        *([f"      #      {one_line(lost.why)}"] if lost.why else []),
        f"      # its port: on {lost.host}: psql -c 'show port'; then uncomment and complete:",
        f"      # {name}: {{host: {scalar(lost.host)}, port: PORT}}",
    ]


def one_line(text: str) -> str:
    """Text that stays inside its comment."""
    return " ".join(text.split())


def _postgres(
    login: Mapping[str, str],
    nodes: list[Found],
    shared: Mapping[str, str],
    todo: list[CheckItem],
    say: "partial[CheckItem]",
) -> list[str]:
    user, first = nodes[0].sql.user, nodes[0]
    lines = ["    postgres:", f"      user: {scalar(user)}"]
    if login.get("dbname", "postgres") != "postgres":
        lines.append(f"      dbname: {scalar(login['dbname'])}")
    if "passfile" in login:
        lines.append(f"      passfile: {scalar(login['passfile'])}")
    elif "password" in login:
        line = f"{first.host}:{first.port}:*:{user}:PASSWORD"
        lines.append(
            f"      passfile: ~/.pgpass  # TODO put the password there (mode 0600): {one_line(line)}"
        )
        todo.append(say("the password is not written into the file", f"into ~/.pgpass (mode 0600): {line}"))
    lines += [f"      {key}: {scalar(login[key])}" for key in (*LOGIN, "options") if key in login]
    lines += [f"      {_place_text(key, value)}" for key, value in shared.items()]
    if any("data_dir" not in _places(node) for node in nodes):
        lines.append("      # TODO data_dir: our login may not see it; ask as superuser: show data_directory")
        todo.append(
            say("data directories are not known", "GRANT pg_monitor to our login, and discover again")
        )
    if any("bin_dir" not in _places(node) for node in nodes):
        lines.append("      # bin_dir: found from the running server once a shell works (pg_config --bindir)")
    if any(node.on_host is None for node in nodes):
        lines.append("      # TODO control: how it is started: systemd:UNIT, pg_ctlcluster:16/main or pg_ctl")
    return lines


def _replication(nodes: list[Found], todo: list[CheckItem], say: "partial[CheckItem]") -> list[str]:
    """How standbys log in, read from those that do."""
    users = Counter(s.user for node in nodes for s in node.sql.senders if s.user)
    told = [conninfo_keywords(node.sql.text("primary_conninfo")) for node in nodes if node.sql.recovering]
    conninfo = next((keywords for keywords in told if keywords), {})
    user = users.most_common(1)[0][0] if users else conninfo.get("user", "")
    lines = ["    replication:"]
    if user:
        lines.append(f"      user: {scalar(user)}")
    else:
        lines.append(
            "      # TODO user: as whom standbys log in; no standby streams, so nobody could be asked"
        )
        todo.append(say("it is not known as whom standbys log in", "complete replication: {user: …}"))
    if passfile := conninfo.get("passfile", ""):
        lines.append(f"      passfile: {scalar(passfile)}  # on the nodes")
    elif any(holds_password(node.sql.text("primary_conninfo")) for node in nodes):
        lines.append(
            "      # TODO passfile: primary_conninfo has the password in clear text. Put it into ~/.pgpass of"
        )
        lines.append("      # the server's OS user on every node (mode 0600): *:*:*:USER:PASSWORD")
        todo.append(
            say("standbys have their password in clear text", "see the TODO at replication: in the file")
        )
    elif conninfo:
        lines.append("      # passfile: standbys use ~/.pgpass of the server's OS user, or need no password")
    lines += [
        f"      {k}: {scalar(conninfo[k])}" for k in LOGIN if conninfo.get(k, "") not in ("", *DEFAULTS)
    ]
    if any(node.sql.receiver and node.sql.receiver.slot for node in nodes):
        lines.append("      slots: true")
    else:
        lines.append("      slots: false  # none is in use; with true pgvigil keeps one for each standby")
    return lines


def _shell(node: Found) -> str:
    """The node's way in, as far as it was tried."""
    host = node.on_host
    user = (host.owner or host.user) if host else ""
    match node.shell:
        case LocalShell():
            own = f", user: {scalar(user)}" if host and host.user != user else ""
            return f"{{via: local{own}}}"
        case SshShell(user=configured, keys=keys):
            key = f", key: {scalar(keys[0])}" if keys else ""
            return f"{{via: ssh, user: {scalar(user or configured or 'postgres')}{key}}}"
        case _:
            return "{via: none}"


def _shells(nodes: list[Found], shared: str, todo: list[CheckItem], say: "partial[CheckItem]") -> list[str]:
    failed = [node for node in nodes if node.on_host is None and node.shell]
    lines = [
        f"    # TODO no shell on {n.host} yet: {one_line(n.shell_failure) or 'not tried'}" for n in failed
    ]
    if failed:
        lines.append("    # Without one a node can be promoted, but not stopped, fenced, rewound or copied.")
        names = ", ".join(dict.fromkeys(node.host for node in failed))
        todo.append(say(f"no shell works on {names} yet", SHELL_HINT))
    if shared:
        lines.append(f"    shell: {shared}")
    return lines


def _policy(nodes: list[Found]) -> list[str]:
    lines = [
        "    # What follows are the defaults; uncomment to change them.",
        "    # failover: {automatic: true, unreachable_after: 3s, max_lag: 16MB, max_per: 3 in 15min}",
        "    # fencing: {unreachable: promote}  # wait: for a human, if the old primary cannot be stopped",
        "    # reference_targets: [GATEWAY]     # answers whenever our own network is fine",
    ]
    primary = next((node for node in nodes if not node.sql.recovering), None)
    if primary and (names := primary.sql.text("synchronous_standby_names")):
        lines.append(f"    # synchronous_standby_names is {one_line(names)}; pgvigil leaves it alone")
    return lines
