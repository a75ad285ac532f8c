"""The lines of sudoers that `control: {systemd: …, sudo: true}` needs: the very commands that we run. Pure.

Escapes: sudoers(5), "Other special characters and reserved words", and its use of fnmatch(3).
"""

import re
from collections.abc import Iterator
from typing import Final

from pgvigil.errors import UsageError
from pgvigil.model.shell import LocalShell, SshShell
from pgvigil.model.spec import ClusterSpec, NodeSpec, Systemd

SYSTEMCTL: Final = "/usr/bin/systemctl"
VERBS: Final = ("start", "stop", "restart")
_HEAD: Final = """\
# On each node into /etc/sudoers.d/pgvigil (mode 0440); try it before with: visudo -cf FILE
# The path must be the node's own (command -v systemctl). Nothing else is run by sudo.
"""
_GUARD: Final = """\
# For `pgvigil guard install` and `remove`: whoever may write a unit can do everything on the host. Leave
# these lines out to install guards as root, or where guards in the background do (docs/operate/guard.md).
"""


def sudoers(spec: ClusterSpec) -> str:
    """Node by node. Raises UsageError if no node is controlled by `sudo systemctl`."""
    parts = [_section(spec, node) for node in spec.nodes if _by_sudo(node)]
    if not parts:
        raise UsageError(
            f"nothing in {spec.name} is run by sudo",
            detail="no node has control: {systemd: UNIT, sudo: true}",
            hint="no lines are needed; other ways of control use the rights of the shell's account",
        )
    return "\n".join([_HEAD, *parts])


def allowed(spec: ClusterSpec, node: NodeSpec) -> Iterator[str]:
    """The commands, without `sudo -n`: first those of the server, then the guard's."""
    assert isinstance(node.control, Systemd)
    for verb in VERBS:
        yield f"systemctl {verb} {node.control.unit}"
    if spec.fencing.guard:
        yield from _for_guard(f"pgvigil-guard-{spec.name}-{node.name}.service")


def _for_guard(unit: str) -> Iterator[str]:
    file = f"/etc/systemd/system/{unit}"
    yield f"tee {file}"
    yield "systemctl daemon-reload"
    yield from (f"systemctl {verb} {unit}" for verb in ("enable", "restart", "disable --now"))
    yield f"rm -f {file}"


def _by_sudo(node: NodeSpec) -> bool:
    return isinstance(node.control, Systemd) and node.control.sudo


def _section(spec: ClusterSpec, node: NodeSpec) -> str:
    account, commands = _account(node), [_escaped(line) for line in allowed(spec, node)]
    lines = [f"{account} ALL=(root) NOPASSWD: {command}" for command in commands]
    server, guard = lines[: len(VERBS)], lines[len(VERBS) :]
    text = f"# {node.name} ({node.host})\n" + "\n".join(server) + "\n"
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
