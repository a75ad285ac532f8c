"""What can happen to a host. Each function says when it began and when its effect was complete.

Times are `time.monotonic()`, which all namespaces share. An outage is counted from `began` to the
first acknowledged write that was begun after `done` (`writer.Writer.outage`).
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from tests.lab.host import PORT, LabHost, Process, gone
from tests.lab.netns import LabError

Direction = Literal["in", "out"]


@dataclass(slots=True)
class Fault:
    """When a fault began and when its effect was complete, monotonic seconds."""

    began: float
    done: float


def kill_postgres(host: LabHost) -> Fault:
    """SIGKILL to all server processes at once, the postmaster first so that it starts no other."""
    return _signal_all(host, signal.SIGKILL, until_gone=True)


def kill_postmaster_only(host: LabHost) -> Fault:
    """SIGKILL to the postmaster alone: backends live until they notice."""
    with _timed() as fault:
        _signal(_postmaster(host), signal.SIGKILL)
    return fault


def kill_backend(host: LabHost) -> Fault:
    """SIGKILL to one child of the postmaster: the server restarts itself."""
    processes = host.server_processes()
    if len(processes) < 2:
        raise LabError(f"{host.name}: no backend to kill")
    with _timed() as fault:
        _signal(processes[-1].pid, signal.SIGKILL)
    return fault


def freeze(host: LabHost, *, everything: bool = False) -> Fault:
    """SIGSTOP to all server processes; `everything`: sshd and all but init too."""
    return _signal_all(host, signal.SIGSTOP, everything=everything)


def thaw(host: LabHost) -> Fault:
    """SIGCONT to every process of the host."""
    return _signal_all(host, signal.SIGCONT, everything=True)


def stop_clean(host: LabHost) -> Fault:
    """A fast stop by pg_ctl, waited for, as an administrator would."""
    with _timed() as fault:
        host.pg_ctl("stop", "-w", "-m", "fast")
    return fault


def start(host: LabHost) -> Fault:
    """Start PostgreSQL as it is; on return it accepts connections."""
    with _timed() as fault:
        host.start()
    return fault


def link_down(host: LabHost) -> Fault:
    """The cable is pulled at the switch; the host lives and knows nothing."""
    with _timed() as fault:
        host.network.link(host.number, up=False)
    return fault


def link_up(host: LabHost) -> Fault:
    """The cable is back."""
    with _timed() as fault:
        host.network.link(host.number, up=True)
    return fault


def lose_host(host: LabHost) -> Fault:
    """The host vanishes silently: first its cable, then its power. No reset and no end-of-file is sent."""
    with _timed() as fault:
        host.network.link(host.number, up=False)
    host.power_off()
    host.network.unplug(host.number)
    return fault


def revive_host(host: LabHost, *, start_postgres: bool = False, connected: bool = True) -> Fault:
    """Power is back: network, init, sshd, and PostgreSQL if its service would start it.

    Not `connected`: its link is still down, see `link_up`.
    """
    with _timed() as fault:
        host.boot(connected=connected)
        if start_postgres:
            host.start()
    return fault


def drop_one_way(host: LabHost, direction: Direction, peers: Iterable[str] = ()) -> Fault:
    """Packets `in` to or `out` of the host vanish; with `peers` (addresses) only those of them."""
    with _timed() as fault:
        if direction == "out":
            host.network.filter_out(host.number, _drop("daddr", peers))
        else:
            host.network.filter_in(host.number, _drop("saddr", peers))
    return fault


def isolate(host: LabHost, peers: Iterable[str]) -> Fault:
    """The host and those addresses cannot hear each other; all other pairs can."""
    addresses = tuple(peers)
    if not addresses:
        raise LabError("isolate from whom? For everybody use link_down")
    with _timed() as fault:
        host.network.filter_out(host.number, _drop("daddr", addresses))
        host.network.filter_in(host.number, _drop("saddr", addresses))
    return fault


def lose_packets(host: LabHost, percent: int) -> Fault:
    """That share of packets is lost, each way."""
    rules = (f"numgen random mod 100 < {percent} drop",)
    with _timed() as fault:
        host.network.filter_out(host.number, rules)
        host.network.filter_in(host.number, rules)
    return fault


def delay(host: LabHost, delay_s: float, *, jitter_s: float = 0.0) -> Fault:
    """Every packet takes that much longer, each way; 0: as before. Not to be combined with filters."""
    with _timed() as fault:
        if delay_s or jitter_s:
            host.network.slow(host.number, delay_s, jitter_s)
        else:
            host.network.fast(host.number)
    return fault


def refuse_connections(host: LabHost, port: int = PORT) -> Fault:
    """A firewall answers with a reset what PostgreSQL would have answered: alive, yet refused."""
    with _timed() as fault:
        host.network.refuse(host.number, port)
    return fault


def heal(host: LabHost) -> Fault:
    """Remove every filter and delay of the host and plug its cable in."""
    with _timed() as fault:
        host.network.fast(host.number)
        host.network.filter_out(host.number, ())
        host.network.filter_in(host.number, ())
        host.network.refuse(host.number, None)
        host.network.link(host.number, up=True)
    return fault


def _drop(word: str, peers: Iterable[str]) -> Sequence[str]:
    addresses = ", ".join(peers)
    return (f"ip {word} {{ {addresses} }} drop",) if addresses else ("drop",)


def _postmaster(host: LabHost) -> int:
    found = host.postmaster()
    if found is None:
        raise LabError(f"{host.name}: PostgreSQL does not run")
    return found.pid


def _signal_all(
    host: LabHost, what: signal.Signals, *, everything: bool = False, until_gone: bool = False
) -> Fault:
    """Signal them, and those born meanwhile; the time to find them does not count."""

    def find() -> tuple[Process, ...]:
        return host.processes()[1:] if everything else host.server_processes()

    targets = find()
    if not targets:
        raise LabError(f"{host.name}: no process to signal")
    with _timed() as fault:
        for process in targets:
            _signal(process.pid, what)
    seen = {process.pid for process in targets}
    while late := [process for process in find() if process.pid not in seen]:
        for process in late:
            _signal(process.pid, what)
        seen.update(process.pid for process in late)
        fault.done = time.monotonic()
    if until_gone and not all(gone(pid, within_s=5) for pid in seen):
        raise LabError(f"{host.name}: killed processes did not end")
    return fault


def _signal(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, what)


@contextmanager
def _timed() -> Iterator[Fault]:
    fault = Fault(time.monotonic(), 0.0)
    try:
        yield fault
    finally:
        fault.done = time.monotonic()
