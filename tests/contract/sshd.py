"""A real sshd on a loopback port, with keys of its own; login as whoever runs the tests."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgvigil.demo.ports import free_port
from pgvigil.model.shell import SshShell

# Debian keeps sshd out of the PATH of ordinary users.
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd; `spec` lets one in."""

    dir: Path
    port: int
    pid: int

    def spec(self, user: str = "", **change: str) -> SshShell:
        """A way in with everything right but what is changed; `user`: another than who runs the tests."""
        words = {"key": str(self.dir / "user"), "known_hosts": str(self.dir / "known_hosts"), "config": ""}
        words |= change
        # An empty configuration keeps that of the person who runs the tests out.
        return SshShell(
            host="127.0.0.1",
            user=user or getpass.getuser(),
            port=self.port,
            keys=(words["key"],),
            known_hosts=words["known_hosts"],
            config=words["config"] or str(self.dir / "ssh_config"),
        )

    def connections(self) -> int:
        """How many are open now, those that log in among them."""
        return len(_children(self.pid))

    def servers(self) -> set[int]:
        """The processes that serve connections, of which each has one or two."""
        first = _children(self.pid)
        return first | {child for pid in first for child in _children(pid) if _is_sshd(child)}


def _children(pid: int) -> set[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return {int(word) for word in found.stdout.split()}


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Start one and end it again."""
    assert SSHD
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user", "barred", "stranger"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    port = free_port()
    known = (folder / "host.pub").read_text().rsplit(" ", 1)[0]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\n")
    (folder / "ssh_config").touch()
    barred = "command=\"echo 'This account is currently not available.'; exit 1\" "
    (folder / "barred_keys").write_text(barred + (folder / "barred.pub").read_text())
    # Without PAM sshd refuses accounts whose password is locked; PAM needs root.
    pam = "yes" if os.geteuid() == 0 and Path("/etc/pam.d/sshd").exists() else "no"
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM {pam}\n"
        f"AuthorizedKeysFile {folder}/user.pub {folder}/barred_keys\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin yes\nLogLevel VERBOSE\nMaxStartups 1000\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait(server, port, folder / "log")
        yield Sshd(folder, port, server.pid)
    finally:
        server.terminate()
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"sshd did not start: {log.read_text()}")
