"""One host: a namespace for network, processes, mounts and name, with init, sshd and one PostgreSQL.

Everything here acts on the host from outside, as its power button and console would; a controller
under test reaches it by SSH and libpq only.
"""

import os
import pwd
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.netns import LabError, Network, in_netns, sh

LOGIN = "postgres"
PORT = 5432
INIT = Path(__file__).with_name("init.py")


@dataclass(frozen=True, slots=True)
class Process:
    """A process as seen from the lab; `pid` is the machine's id, not the host's."""

    pid: int
    parent: int
    name: str
    state: str


class LabHost:
    """A host and its node, both called `name`. Made by `Lab`; all methods may block for a moment."""

    def __init__(self, name: str, number: int, network: Network, lab_dir: Path, bin_dir: Path) -> None:
        self.name, self.number, self.network, self.bin_dir = name, number, network, bin_dir
        self.address, self.port = network.address(number), PORT
        self.netns = network.name(number)
        self.dir = lab_dir / name
        self.data_dir = self.dir / "data"
        self.home = self.dir / "home"
        self.log = self.dir / "postgres.log"
        self.sshd_log = self.dir / "sshd.log"
        self.lab_dir = lab_dir
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def prepare(self) -> None:
        """Make the directories, the host key and sshd's configuration."""
        account = pwd.getpwnam(LOGIN)
        for path in (self.dir, self.home):
            path.mkdir(mode=0o755)
        os.chown(self.dir, account.pw_uid, account.pw_gid)
        os.chown(self.home, account.pw_uid, account.pw_gid)
        key = self.lab_dir / f"{self.name}.hostkey"
        sh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
        config = f"""Port 22
ListenAddress 0.0.0.0
HostKey {key}
AuthorizedKeysFile {self.lab_dir}/authorized_keys
PidFile none
StrictModes no
UsePAM yes
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
MaxStartups 100
Subsystem sftp internal-sftp
"""
        (self.lab_dir / f"{self.name}.sshd").write_text(config)

    def boot(self, *, connected: bool = True) -> None:
        """Plug the cable in and start init; sshd listens on return. PostgreSQL is not started.

        Not `connected`: the host comes up alone, and nobody hears of it before its link is up.
        """
        self.network.plug(self.number, connected=connected)
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        init = [
            sys.executable,
            "-S",
            "-E",
            str(INIT),
            str(self.home),
            str(self.lab_dir / f"{self.name}.sshd"),
        ]
        naming = ["sh", "-c", f"hostname {self.name}; exec {shlex.join(init)}"]
        with self.sshd_log.open("ab") as log:
            self._unshare = subprocess.Popen(
                in_netns(self.netns, [*unshare, *naming]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._await_ready(within_s=15)
        self._init = next(p.pid for p in processes() if p.parent == self._unshare.pid)

    def _await_ready(self, *, within_s: float) -> None:
        assert self._unshare
        assert self._unshare.stdout
        ready, _, _ = select.select([self._unshare.stdout], [], [], within_s)
        if not ready or self._unshare.stdout.readline() != b"ready\n":
            raise LabError(f"{self.name}: init did not start: {self.sshd_log.read_text()[-1000:]}")

    @property
    def is_on(self) -> bool:
        """Whether its init runs."""
        return self._init != 0

    def power_off(self) -> None:
        """End every process of the host at once, by ending its init. The cable is left as it is."""
        if self._unshare is None:
            return
        if self._init:
            os.kill(self._init, 9)
        else:
            self._unshare.kill()
        self._unshare.wait(10)
        for stream in (self._unshare.stdin, self._unshare.stdout):
            if stream:
                stream.close()
        self._unshare, self._init = None, 0

    def command(self, argv: Sequence[str], *, user: str = LOGIN) -> list[str]:
        """The command line that runs `argv` on the host as `user`, beside sshd and without it."""
        if not self._init:
            raise LabError(f"{self.name} is off")
        account = pwd.getpwnam(user)
        enter = ["nsenter", "-t", str(self._init), "--mount", "--uts", "--net", "--pid"]
        become = ["setpriv", "--reuid", user, "--regid", str(account.pw_gid), "--init-groups"]
        environment = [
            "env",
            "-i",
            f"--chdir={account.pw_dir}",
            f"HOME={account.pw_dir}",
            f"USER={user}",
            "LC_ALL=C.UTF-8",
        ]
        path = f"PATH={self.bin_dir}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return [*enter, "--", *become, *environment, path, *argv]

    def run(self, *argv: str, user: str = LOGIN, within_s: float = 60) -> str:
        """Standard output of a program on the host that must succeed. Raises LabError."""
        return sh(self.command(argv, user=user), within_s=within_s)

    def processes(self) -> tuple[Process, ...]:
        """All of the host's processes, its init first."""
        if not self._init:
            return ()
        mine = os.stat(f"/proc/{self._init}/ns/pid").st_ino
        found = [p for p in processes() if _pid_namespace(p.pid) == mine]
        return tuple(sorted(found, key=lambda p: (p.pid != self._init, p.pid)))

    def server_processes(self) -> tuple[Process, ...]:
        """PostgreSQL's processes, the postmaster first; also those of a single-user server."""
        servers = [p for p in self.processes() if p.name in {"postgres", "postmaster"}]
        pids = {p.pid for p in servers}
        return tuple(sorted(servers, key=lambda p: (p.parent in pids, p.pid)))

    def postmaster(self) -> Process | None:
        """The postmaster, None if there is none."""
        servers = self.server_processes()
        return servers[0] if servers else None

    def pg_ctl(self, *words: str, within_s: float = 90) -> str:
        """The node's own pg_ctl, waiting as it does by default."""
        return self.run(str(self.bin_dir / "pg_ctl"), "-D", str(self.data_dir), *words, within_s=within_s)

    def start(self) -> None:
        """Start PostgreSQL and wait until it accepts connections (a standby: read-only ones)."""
        self.pg_ctl("start", "-w", "-l", str(self.log))

    def control_data(self) -> dict[str, str]:
        """What pg_controldata says."""
        lines = self.run(str(self.bin_dir / "pg_controldata"), str(self.data_dir)).splitlines()
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def processes() -> tuple[Process, ...]:
    """Every process of the machine."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                before, _, after = file.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent = after.split()[:2]
        found.append(Process(int(entry), int(parent), before.partition("(")[2], state))
    return tuple(found)


def _pid_namespace(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:  # ended, or none of our business
        return None


def gone(pid: int, *, within_s: float) -> bool:
    """Whether that process ended, reaped or not, within the time; looks every half millisecond."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.0005)
    return False
