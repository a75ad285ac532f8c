"""The systemd unit of the controller, as much shut in as its configuration allows. Pure text.

Sources: systemd.exec(5), systemd.service(5), and 5.5 "Specifiers" of systemd.unit(5) for `%` and `$`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from pgvigil.config.section import CREDENTIALS
from pgvigil.model.endpoint import Pgbouncer
from pgvigil.model.notify import TargetSpec
from pgvigil.model.shell import LocalShell, SshShell
from pgvigil.model.spec import ClusterSpec

_SHUT_IN: Final = """\
ProtectSystem=strict
ProtectHome=read-only
ProtectProc=invisible
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
"""
_BESIDE: Final = """\
# Servers run on this host and are started from here, so nothing may hold for pgvigil alone: they inherit it,
# and live on when pgvigil ends.
KillMode=process
UMask=0077
"""
_CREDENTIAL: Final = re.compile(re.escape(CREDENTIALS) + r"/([\w.-]+)|\$\{CREDENTIALS_DIRECTORY\}/([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Service:
    """What the unit runs, and what that is to reach."""

    program: Sequence[str]
    """The words that call pgvigil; the first is a full path."""
    config_file: str
    state_dir: str
    socket: str
    user: str
    """Empty: as the configuration needs it."""
    clusters: Sequence[ClusterSpec]
    targets: Sequence[TargetSpec] = ()
    """Where messages go."""


def service_unit(service: Service) -> str:
    """The text of pgvigil.service."""
    shells = [node.shell for cluster in service.clusters for node in cluster.nodes]
    local = [shell for shell in shells if isinstance(shell, LocalShell)]
    writers = [each.shell for each in _bouncers(service.clusters)]
    local += [shell for shell in writers if isinstance(shell, LocalShell) and shell.user]
    changes_account = any(shell.user for shell in local)
    user = service.user or ("root" if changes_account else "postgres" if local else "pgvigil")
    lines = [
        "# /etc/systemd/system/pgvigil.service, written by: pgvigil render systemd",
        "[Unit]",
        "Description=pgvigil, high availability for PostgreSQL",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"User={user}",
        *_places(service),
        *_credentials(service.clusters, service.targets),
        f"ExecStart={' '.join(map(_word, service.program))} run --config {_word(service.config_file)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=always",
        "RestartSec=2",
        "# 2: the configuration is wrong, starting again does not help",
        "RestartPreventExitStatus=2",
        "OOMScoreAdjust=-900",
        "LimitNOFILE=65536",
        "",
    ]
    end = "\n[Install]\nWantedBy=multi-user.target\n"
    if local:
        return "\n".join(lines) + _BESIDE + end
    return "\n".join([*lines, *_rights(service.clusters)]) + "\n" + _SHUT_IN + end


def _bouncers(clusters: Sequence[ClusterSpec]) -> list[Pgbouncer]:
    return [each for cluster in clusters for each in cluster.endpoints if isinstance(each, Pgbouncer)]


def _places(service: Service) -> Iterator[str]:
    """Directories that systemd makes and opens for writing."""
    state, socket = PurePath(service.state_dir), PurePath(service.socket).parent
    if state.parent == PurePath("/var/lib"):
        yield from (f"StateDirectory={state.name}", "StateDirectoryMode=0700")
    else:
        yield f"ReadWritePaths={_word(str(state))}"
    bouncers = _bouncers(service.clusters)
    written = {str(PurePath(e.file).parent) for e in bouncers if isinstance(e.shell, LocalShell)}
    yield from (f"ReadWritePaths={_word(place)}" for place in sorted(written))
    if socket != state:
        runtime = socket.parent == PurePath("/run")
        yield f"RuntimeDirectory={socket.name}" if runtime else f"ReadWritePaths={_word(str(socket))}"


def _credentials(clusters: Sequence[ClusterSpec], targets: Sequence[TargetSpec]) -> Iterator[str]:
    """One for every file of `$CREDENTIALS_DIRECTORY` that the configuration names."""
    texts = (*_texts(clusters), *(target.place for target in targets))
    names = sorted({a or b for text in texts for a, b in _CREDENTIAL.findall(text)})
    yield from (f"LoadCredential={name}:/etc/pgvigil/credentials/{name}" for name in names)


def _texts(clusters: Sequence[ClusterSpec]) -> Iterator[str]:
    """All that may name such a file; hooks get none of the controller's secrets."""
    for cluster in clusters:
        for node in cluster.nodes:
            yield node.password_command
            yield from (value for _, value in node.conninfo)
        bouncers = _bouncers([cluster])
        for bouncer in bouncers:
            yield from (value for _, value in bouncer.conninfo)
        shells = [node.shell for node in cluster.nodes] + [each.shell for each in cluster.witnesses]
        shells += [each.shell for each in bouncers]
        for shell in shells:
            if isinstance(shell, SshShell):
                yield from (*shell.keys, shell.known_hosts, shell.config)


def _rights(clusters: Sequence[ClusterSpec]) -> Iterator[str]:
    if any(_programs(c) for c in clusters):
        yield "# hooks and fencing.command are shut in too: sudo and mail need NoNewPrivileges=no"
    yield "NoNewPrivileges=yes"
    if any(":" not in target for c in clusters for target in c.references):
        yield "# reference_targets are asked by ping"
        yield from ("AmbientCapabilities=CAP_NET_RAW", "CapabilityBoundingSet=CAP_NET_RAW")
    else:
        yield "CapabilityBoundingSet="


def _programs(cluster: ClusterSpec) -> bool:
    """Whether programs of the user's are run here."""
    here = any(not callback.on_node for callback in cluster.hooks.callbacks)
    return bool(cluster.hooks.on_event or cluster.hooks.before_failover or cluster.fencing.command or here)


def _word(text: str) -> str:
    """One word of a unit file."""
    text = text.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
