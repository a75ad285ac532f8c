"""The hosts: how nodes share them, their clocks and disks, and who else starts and stops the servers."""

from collections.abc import Iterator
from typing import Final

from pgvigil.controller.survey.items import advice, at, error, listed, warning
from pgvigil.controller.survey.seen import ClusterSeen, HostSeen, NodeSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import OwnCommands, PgCtl, PgCtlCluster, Systemd
from pgvigil.model.units import bytes_text

CLOCK_S: Final = 2.0
FREE_BYTES: Final = 1 << 30


def hosts(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Findings on the hosts whose shells work."""
    yield from _shared(seen)
    for node in seen.nodes:
        if host := node.host_answer:
            yield from _clock(at(seen, node), host)
            yield from _disk(at(seen, node), host)
            yield from _control(at(seen, node), node, host)


def _shared(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Nodes on one host fall together. Told by the kernel's boot id, else by address."""
    groups: dict[str, list[str]] = {}
    for node in seen.nodes:
        host = node.host_answer
        addresses = sorted(seen.addresses.get(node.spec.host, ())) or [node.spec.host]
        groups.setdefault(host.machine if host and host.machine else addresses[0], []).append(node.name)
    for names in groups.values():
        if len(names) > 1:
            all_of = len(names) == len(seen.nodes)
            what = f"{listed(names)} are on one host" + (": if it is lost, all is lost" if all_of else "")
            yield warning(seen.spec.name, what, "put standbys on hosts of their own, with their own power")


def _clock(place: str, host: HostSeen) -> Iterator[CheckItem]:
    off = host.clock_off_s
    if off is not None and abs(off) > CLOCK_S:
        what = f"its clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the controller's"
        yield warning(place, what, "set clocks by NTP on both (chronyc tracking, timedatectl)")


def _disk(place: str, host: HostSeen) -> Iterator[CheckItem]:
    if host.free_bytes is not None and host.free_bytes < FREE_BYTES:
        what = f"only {bytes_text(host.free_bytes)} left for WAL; a full disk stops the server"
        yield warning(
            place, what, "make room on the disk of pg_wal; see slots that hold WAL: pgvigil status -r"
        )


def _control(place: str, node: NodeSeen, host: HostSeen) -> Iterator[CheckItem]:
    match node.spec.control:
        case Systemd() as systemd:
            yield from _systemd(place, systemd, host)
        case PgCtl():
            yield from _pg_ctl(place, host)
        case PgCtlCluster() | OwnCommands():
            return


def _systemd(place: str, control: Systemd, host: HostSeen) -> Iterator[CheckItem]:
    unit = control.unit if control.unit.endswith(".service") else f"{control.unit}.service"
    if host.unit_load and host.unit_load != "loaded":
        what = f"systemd knows no unit {control.unit} ({host.unit_load})"
        actual = host.unit.removesuffix(".service") or "UNIT"
        yield error(
            place, what, f"control: systemd:{actual}  (on the node: systemctl list-units 'postgres*')"
        )
        return
    if host.running and host.unit and host.unit != unit:
        what = f"the server runs under {host.unit}, not under {control.unit}"
        yield error(place, what, f"control: systemd:{host.unit.removesuffix('.service')}")
    if control.sudo and host.may_control is False:
        yield error(
            place,
            f"{host.user} may not stop, start and restart {control.unit} with sudo",
            f"file /etc/sudoers.d/pgvigil: {host.user} ALL=(root) NOPASSWD: "
            + ", ".join(f"/usr/bin/systemctl {verb} {control.unit}" for verb in ("start", "stop", "restart"))
            + "  (pgvigil render sudoers)",
        )
    elif not control.sudo and not host.is_root:
        yield warning(
            place,
            f"{host.user} would stop {control.unit} without sudo; it cannot be told from here whether it may",
            "control: {systemd: " + control.unit + ", sudo: true}  unless a polkit rule allows it",
        )
    if host.unit_restart == "always":
        yield advice(
            place,
            f"{control.unit} has Restart=always: systemd starts the server again whenever it ended by itself",
            "systemctl edit: Restart=no; pgvigil stops it through systemd either way",
        )


def _pg_ctl(place: str, host: HostSeen) -> Iterator[CheckItem]:
    """A server that systemd started, stopped behind its back, may be started again by it."""
    if not host.unit.startswith(("postgres", "pgsql", "pg")):
        return
    unit = host.unit.removesuffix(".service")
    restarts = host.unit_restart not in ("", "no")
    what = f"the server runs under systemd ({unit}), but pgvigil would use pg_ctl" + (
        f"; with Restart={host.unit_restart} systemd would start a fenced server again" if restarts else ""
    )
    fix = f"control: {{systemd: {unit}, sudo: true}}  in the configuration"
    yield (error if restarts else warning)(place, what, fix)
