"""The real `Shell`s: an `sh` of the controller's own host, over SSH, or from any program that gives one.

One protocol (`framing`) is spoken over three ways to start an `sh` (`process`, `ssh`); `posix` is the
Shell on top of both. Nothing here logs: scripts may hold secrets.
"""

from typing import assert_never

from pgvigil.model.shell import CommandShell, LocalShell, ShellSpec, SshShell
from pgvigil.ports.contract import Shell
from pgvigil.ports.shell.posix import PosixShell
from pgvigil.ports.shell.process import CommandTransport, LocalTransport

__all__ = ["make_shell", "open_shell"]


def make_shell(spec: ShellSpec, *, host: str) -> Shell:
    """The shell of `spec`. `host` is the node's address, for an SshShell that names none.

    Nothing is started or connected before the first `ask` or `run`, so this raises nothing.
    """
    match spec:
        case LocalShell():
            return PosixShell(LocalTransport(spec.user))
        case CommandShell():
            return PosixShell(CommandTransport(spec.command))
        case SshShell():
            # asyncssh takes 0.2 s to import, which only those who use it should pay.
            from pgvigil.ports.shell.ssh import SshTransport

            return PosixShell(SshTransport(spec, host=host))
        case _:
            assert_never(spec)


open_shell = make_shell
"""The same under the name of what its first use does."""
