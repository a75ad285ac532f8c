"""Ways to a shell on a host, as the user wants them."""

from dataclasses import dataclass
from typing import Final

LINGER_S: Final = 10.0
"""A shell that is not kept is closed so long after its last use: who asks again and again finds it open."""
KEPT: Final = 300
"""So many shells stay open in a process, unless the configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class LocalShell:
    """The node runs on the controller's own host; `user`: change to it (controller runs as root)."""

    user: str = ""


@dataclass(frozen=True, slots=True)
class SshShell:
    """OpenSSH's meaning of the words; the host key must be in `known_hosts`. Empty: ssh_config decides."""

    host: str
    user: str = ""
    port: int = 0
    keys: tuple[str, ...] = ()
    known_hosts: str = ""
    config: str = ""


@dataclass(frozen=True, slots=True)
class CommandShell:
    """Any program that gives an `sh` on its standard input, such as `kubectl exec -i pg-0 -- sh`."""

    command: tuple[str, ...]


ShellSpec = LocalShell | SshShell | CommandShell
