"""The lines of sudoers for `sudo: true` of a `control` or `vip`: the very commands that we run. Pure.

Escapes: sudoers(5), "Other special characters and reserved words", and its use of fnmatch(3).
"""

import re
from collections.abc import Iterator
from typing import Final

from pgvigil.errors import UsageError
from pgvigil.model.endpoint import Vip
from pgvigil.model.shell import LocalShell, SshShell
from pgvigil.model.spec import ClusterSpec, NodeSpec, Systemd

SYSTEMCTL: Final = "/usr/bin/systemctl"
VERBS: Final = ("start", "stop", "restart")
_HEAD: Final = """\
# On each node into /etc/sudoers.d/pgvigil (mode 0440); try it before with: visudo -cf FILE
# Paths must be the node's own (command -v systemctl ip arping). Nothing else is run by sudo.
"""
_GUARD: Final = """\
# For `pgvigil guard install` and `remove`: whoever may write a unit can do everything on the host. Leave
# these lines out to install guards as root, or where guards in the background do (docs/operate/guard.md).
"""


def sudoers(spec: ClusterSpec) -> str:
    """Node by node. Raises UsageError if nothing is done by sudo."""
    parts = [text for node in spec.nodes if (text := _section(spec, node))]
    if not parts:
        raise UsageError(
            f"nothing in {spec.name} is run by sudo",
            detail="no node has control: {systemd: UNIT, sudo: true}, and no vip has sudo: true",
            hint="no lines are needed; other ways of control use the rights of the shell's account",
        )
    return "\n".join([_HEAD, *parts])


def allowed(spec: ClusterSpec, node: NodeSpec) -> Iterator[str]:
    """The commands, without `sudo -n`: those of addresses, of the server, then the guard's."""
    for vip in spec.endpoints:
        if isinstance(vip, Vip) and vip.sudo:
            yield from _for_vip(vip, vip.interface_of(node.name))
    if isinstance(node.control, Systemd) and node.control.sudo:
        for verb in VERBS:
            yield f"systemctl {verb} {node.control.unit}"
        if spec.fencing.guard:
            yield from _for_guard(_guard_unit(spec, node))


def _for_vip(vip: Vip, interface: str) -> Iterator[str]:
    yield f"ip addr add {vip.address} dev {interface}"
    yield f"ip addr del {vip.address} dev {interface}"
    yield f"arping -q -U -c 3 -I {interface} {vip.bare}"


def _guard_unit(spec: ClusterSpec, node: NodeSpec) -> str:
    return f"pgvigil-guard-{spec.name}-{node.name}.service"


def _for_guard(unit: str) -> Iterator[str]:
    file = f"/etc/systemd/system/{unit}"
    yield f"tee {file}"
    yield "systemctl daemon-reload"
    yield from (f"systemctl {verb} {unit}" for verb in ("enable", "restart", "disable --now"))
    yield f"rm -f {file}"


def _section(spec: ClusterSpec, node: NodeSpec) -> str:
    """What a node's file has; empty: nothing."""
    wanted, of_guard = list(allowed(spec, node)), set(_for_guard(_guard_unit(spec, node)))
    if not wanted:
        return ""
    lines = {line: f"{_account(node)} ALL=(root) NOPASSWD: {_escaped(line)}" for line in wanted}
    guard = [text for line, text in lines.items() if line in of_guard]
    others = [text for line, text in lines.items() if line not in of_guard]
    text = f"# {node.name} ({node.host})\n" + "\n".join(others) + "\n"
    return text + (_GUARD + "\n".join(guard) + "\n" if guard else "")


def _account(node: NodeSpec) -> str:
    """Who asks: the shell's account, where it is told."""
    told = node.shell.user if isinstance(node.shell, SshShell | LocalShell) else ""
    return re.sub(r"[^\w.-]", lambda found: "\\" + found[0], told or "postgres")


def _escaped(line: str) -> str:
    program, _, rest = line.partition(" ")
    where = SYSTEMCTL if program == "systemctl" else f"/usr/bin/{program}"
    rest = rest.replace("\\", "\\\\")  # for fnmatch, and then for sudoers
    return f"{where} " + re.sub(r"[,:=\\]", lambda found: "\\" + found[0], rest)
