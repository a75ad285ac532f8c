"""The lab's network: one bridge and a cable per host, all of it in namespaces the lab made itself.

The machine's own namespace is never changed. Interfaces: `br0` in the controller's namespace, one
`v<n>` in it per host, and `eth0` in the host's namespace at the other end of that cable.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.relay import no_offload

NETNS_DIR = Path("/run/netns")
PREFIX = "pgv-"
CLONE_NEWNET = 0x40000000
LAB_DIR = Path(tempfile.gettempdir())
RELAY = Path(__file__).with_name("relay.py")

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not be built or a fault could not be set; says which program failed and how."""


def sh(argv: Sequence[str], *, within_s: float = 60, stdin: str = "") -> str:
    """Standard output of a program that must succeed. Raises LabError with its last words."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{' '.join(argv)}: not done within {within_s} s") from late
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def in_netns(netns: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in that namespace.

    `nsenter`, not `ip netns exec`: the latter makes a mount namespace, which would pin all others.
    """
    return ["nsenter", f"--net={NETNS_DIR / netns}", *argv]


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """The calling thread is in that namespace; sockets made here stay there. Others are not moved."""
    with open("/proc/thread-self/ns/net") as home, open(NETNS_DIR / netns) as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


class Network:
    """Bridge, cables and filters of one lab. `subnet` is the first three numbers of its /24."""

    def __init__(self, lab_id: str, subnet: str = "10.77.0") -> None:
        self.lab_id, self.subnet = lab_id, subnet
        self.controller = f"{PREFIX}{lab_id}-ctl"
        self.controller_address = f"{subnet}.1"
        self._relays: dict[int, subprocess.Popen[bytes]] = {}

    def open(self) -> None:
        """Make the controller's namespace with the bridge."""
        sh(["ip", "netns", "add", self.controller])
        batch = (
            "link set lo up\n"
            "link add br0 type bridge stp_state 0\n"
            f"addr add {self.controller_address}/24 dev br0\n"
            "link set br0 up\n"
        )
        sh(["ip", "-n", self.controller, "-batch", "-"], stdin=batch)

    def close(self) -> None:
        """End the relays, remove every namespace of this lab."""
        for number in tuple(self._relays):
            self.fast(number)
        remove_namespaces(self.lab_id)

    def name(self, number: int) -> str:
        """The namespace of host `number`."""
        return f"{PREFIX}{self.lab_id}-h{number}"

    def address(self, number: int) -> str:
        """The address of host `number`."""
        return f"{self.subnet}.{10 + number}"

    def plug(self, number: int, *, connected: bool = True) -> None:
        """Make the host's namespace and its cable. The hardware address stays the same over its lives."""
        name = self.name(number)
        sh(["ip", "netns", "add", name])
        cable = (
            f"link add v{number} type veth peer name eth0 netns {name}\n"
            f"link set v{number} master br0\n"
            f"link set v{number} {'up' if connected else 'down'}\n"
        )
        sh(["ip", "-n", self.controller, "-batch", "-"], stdin=cable)
        host = (
            "link set lo up\n"
            f"link set eth0 address 02:77:00:00:00:{number:02x}\n"
            f"addr add {self.address(number)}/24 dev eth0\n"
            "link set eth0 up\n"
        )
        sh(["ip", "-n", name, "-batch", "-"], stdin=host)

    def unplug(self, number: int) -> None:
        """Remove the host's cable and namespace: what its sockets still had to say is never sent."""
        self.fast(number)
        sh(["ip", "-n", self.controller, "link", "del", f"v{number}"])
        sh(["ip", "netns", "del", self.name(number)])

    def link(self, number: int, *, up: bool) -> None:
        """Pull or plug the cable at the switch; the host keeps its address."""
        sh(["ip", "-n", self.controller, "link", "set", f"v{number}", "up" if up else "down"])

    def filter_out(self, number: int, rules: Sequence[str]) -> None:
        """Replace the rules for packets leaving the host, judged at the switch. None: remove them."""
        self._filter(self.controller, f"out{number}", f"v{number}", rules)

    def filter_in(self, number: int, rules: Sequence[str]) -> None:
        """Replace the rules for packets arriving at the host, judged at its door. None: remove them."""
        self._filter(self.name(number), "arriving", "eth0", rules)

    def refuse(self, number: int, port: int | None) -> None:
        """A firewall on the host that answers connections to `port` with a reset; None: remove it."""
        script = "table inet refusing\ndelete table inet refusing\n"
        if port is not None:
            script += (
                "table inet refusing { chain c { type filter hook input priority 0; "
                f"tcp dport {port} reject with tcp reset\n}}\n}}\n"
            )
        sh(in_netns(self.name(number), [*_NFT, "-f", "-"]), stdin=script)

    def slow(self, number: int, delay_s: float, jitter_s: float) -> None:
        """Put a relay between the host's cable and the bridge: that delay each way.

        Filters for packets leaving the host (`filter_out`) are passed by meanwhile.
        """
        self.fast(number)
        cables = (
            f"link add d{number} type veth peer name e{number}\n"
            f"link set v{number} nomaster arp off\n"
            f"link set d{number} up arp off\n"
            f"link set e{number} up master br0\n"
        )
        sh(["ip", "-n", self.controller, "-batch", "-"], stdin=cables)
        with inside(self.controller):
            no_offload(f"e{number}")
        with inside(self.name(number)):
            no_offload("eth0")
        argv = [sys.executable, str(RELAY), f"v{number}", f"d{number}", str(delay_s), str(jitter_s)]
        process = subprocess.Popen(
            in_netns(self.controller, argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._relays[number] = process
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise LabError(f"relay of host {number}: exit {process.wait()}")

    def fast(self, number: int) -> None:
        """Remove the relay, if there is one."""
        process = self._relays.pop(number, None)
        if process is None:
            return
        process.kill()
        process.communicate()
        cables = f"link del d{number}\nlink set v{number} master br0\n"
        sh(["ip", "-n", self.controller, "-batch", "-"], stdin=cables)

    @staticmethod
    def _filter(netns: str, table: str, device: str, rules: Sequence[str]) -> None:
        script = f"table netdev {table}\ndelete table netdev {table}\n"
        if rules:
            body = "\n".join(rules)
            script += (
                f"table netdev {table} {{ chain c {{ "
                f'type filter hook ingress device "{device}" priority 0; {body}\n}}\n}}\n'
            )
        sh(in_netns(netns, [*_NFT, "-f", "-"]), stdin=script)


_NFT = ("nft",)


def remove_namespaces(lab_id: str) -> None:
    """Delete every namespace of that lab, ended or not."""
    for path in sorted(NETNS_DIR.glob(f"{PREFIX}{lab_id}-*")):
        subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)


def own_id(counter: int) -> str:
    """A name no other lab has: process id, its start time (ids are used again), and a counter."""
    return f"{os.getpid()}-{started(os.getpid())}-{counter}"


def started(pid: int) -> int | None:
    """When that process started, in ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


def sweep() -> None:
    """Remove namespaces and directories of labs whose process is gone (killed before it could)."""
    left = {*NETNS_DIR.glob(f"{PREFIX}*-*-*"), *LAB_DIR.glob(f"{PREFIX}*-*-*")}
    for path in left:
        pid, start, *rest = path.name.removeprefix(PREFIX).split("-")
        if not (pid.isdigit() and start.isdigit() and rest) or started(int(pid)) == int(start):
            continue
        if path.parent == NETNS_DIR:
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)
        else:
            shutil.rmtree(path, ignore_errors=True)
