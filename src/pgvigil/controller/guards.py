"""Puts guards on nodes, looks at them and takes them away: what `pgvigil guard` does.

It goes through the nodes' shells alone, beside a controller if one runs. Where systemd runs and we may tell
it (we are root, or `control` has sudo) the guard is a unit, and starts with the host; elsewhere it is a
process in the background, and has to be installed again after a reboot.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pgvigil.decide.guard import acts_s
from pgvigil.errors import PgvigilError, Unreachable
from pgvigil.model.guard import WATCHES, GuardReport, GuardState
from pgvigil.model.record import Paths
from pgvigil.model.spec import ClusterSpec, NodeSpec, Systemd
from pgvigil.model.units import Instant, NodeName
from pgvigil.ports.contract import NodePorts, QueryFailed, Shell, ShellLost, ShellRefused
from pgvigil.ports.guard import (
    Pulse,
    grant_script,
    guard_config,
    guard_dir,
    install_script,
    leave_script,
    pulse_script,
    read_pulse,
    remove_script,
    start_script,
)
from pgvigil.ports.host import quoted

WITHIN_S: Final = 15.0
"""For one step on one host: ending a guard that hangs takes some seconds."""

_WAYS: Final = """
D={data}; B={bin}; p=
[ -f "$D/PG_VERSION" ] && echo data=1
[ -d /run/systemd/system ] && echo systemd=1
echo "uid=$(id -u)"; echo "user=$(id -un)"
if [ -z "$B" ]; then
  {{ read -r p < "$D/postmaster.pid"; }} 2>/dev/null && e=$(readlink "/proc/$p/exe") && B=${{e%/*}}
fi
echo "bin=$B"
for f in pg_isready pg_controldata; do
  if [ -n "$B" ]; then [ -x "$B/$f" ]; else command -v "$f" >/dev/null; fi || echo "lacks=$f"
done
[ -w "${{D%/*}}" ] && echo writable=1
command -v bash >/dev/null && echo bash=1
:
"""


@dataclass(frozen=True, slots=True)
class _Site:
    """Where one node's guard goes, and how it is started."""

    spec: ClusterSpec
    node: NodeSpec
    shell: Shell
    paths: Paths
    user: str
    systemctl: str
    """How to call systemctl, empty: it is not to be called."""

    @property
    def unit(self) -> str:
        return f"pgvigil-guard-{self.spec.name}-{self.node.name}.service"

    @property
    def sudo(self) -> str:
        return self.systemctl.removesuffix("systemctl")

    async def must(self, script: str, what: str) -> str:
        """Raises PgvigilError with what the host complained about."""
        output = await self.shell.run(script, within_s=WITHIN_S)
        if output.status:
            raise PgvigilError(f"{what} failed on {self.node.name}", detail=output.complaint, hint=_HINT)
        return output.text

    async def pulse(self) -> Pulse:
        return read_pulse(await self.must(pulse_script(self.paths.data_dir), "looking"), None)


_Work = Callable[[_Site], Awaitable[str | GuardReport]]
_HINT: Final = "see docs/operate/guard.md"


async def install(
    spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts], names: Sequence[NodeName], *, dry_run: bool
) -> list[GuardReport]:
    """Install or renew guards, and start them; one report a node, failures among them."""

    async def one(site: _Site) -> str:
        config, where = guard_config(spec, site.node, site.paths), guard_dir(site.paths.data_dir)
        how = f"as {site.unit}" if site.systemctl else "in the background: it does not outlive a reboot"
        if dry_run:
            return f"would be put into {where} and started {how}"
        before = await site.pulse()
        await site.must(install_script(site.paths.data_dir, config), "installing the guard")
        if before.state is GuardState.MISSING:
            # So that it does not end a server before the controller hears of it. Never beside a lease of the
            # controller's: that one counts on no other.
            lease_s = spec.fencing.guard_lease.total_seconds()
            grant = grant_script(site.paths.data_dir, await site.pulse(), lease_s)
            await site.must(grant, "giving it a first lease")
        await site.must(_start(site), "starting the guard")
        return f"installed in {where} and started {how}"

    return await _each(spec, nodes, names, one)


async def remove(
    spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts], names: Sequence[NodeName], *, dry_run: bool
) -> list[GuardReport]:
    """End guards and remove all that belongs to them; where there is none nothing happens.

    A guard works on, but counts as dead, until no controller can rely on it any more: one that found it
    alive a moment ago may have lost sight of the node since.
    """
    relied_on_s = acts_s(spec.fencing.guard_lease.total_seconds()) + spec.fencing.guard_lease.total_seconds()

    async def one(site: _Site) -> str:
        where = guard_dir(site.paths.data_dir)
        if dry_run:
            return f"would be ended, and {where} removed"
        unit = f"/etc/systemd/system/{site.unit}"
        if (await site.pulse()).state in WATCHES:
            await site.must(leave_script(site.paths.data_dir), "telling that the guard leaves")
            await asyncio.sleep(relied_on_s)
        if site.systemctl:
            ending = f"{site.systemctl} disable --now {site.unit} && {site.sudo}rm -f {unit}"
            await site.must(f"if [ -f {unit} ]; then {ending}; fi", "disabling its unit")
        await site.must(remove_script(site.paths.data_dir), "removing the guard")
        return f"removed from {where}"

    return await _each(spec, nodes, names, one)


async def look(
    spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts], names: Sequence[NodeName]
) -> list[GuardReport]:
    """What each node says of its guard."""

    async def one(site: _Site) -> GuardReport:
        pulse = await site.pulse()
        found = pulse.look(Instant(0.0), Instant(0.0))
        words = {
            GuardState.MISSING: "not installed",
            GuardState.DEAD: "installed, but it does not run",
            GuardState.STALLED: "its process is stopped, or does not do its work",
            GuardState.OUTDATED: "runs, from another release of pgvigil",
        }
        text = words.get(pulse.state, "alive")
        text += f": {found.doing}" if found.doing else ""
        text += f"; watchdog {found.watchdog}" if found.watchdog != "none" else ""
        well = pulse.state is GuardState.ALIVE
        hint = "" if well else f"pgvigil guard install {spec.name} {site.node.name}"
        return GuardReport(site.node.name, well, text, hint, pulse.state)

    return await _each(spec, nodes, names, one)


async def _each(
    spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts], names: Sequence[NodeName], one: _Work
) -> list[GuardReport]:
    async def safely(name: NodeName) -> GuardReport:
        try:
            done = await one(await _site(spec, nodes[name]))
        except (ShellLost, ShellRefused, Unreachable, PgvigilError, ValueError) as failure:
            hint = getattr(failure, "hint", "") or _HINT
            return GuardReport(name, done=False, text=str(failure), hint=hint)
        return done if isinstance(done, GuardReport) else GuardReport(name, done=True, text=done)

    return list(await asyncio.gather(*map(safely, names)))


async def _site(spec: ClusterSpec, ports: NodePorts) -> _Site:
    """Raises PgvigilError where no guard can be."""
    node, shell = ports.spec, ports.shell
    if shell is None:
        raise PgvigilError(f"{node.name} has no shell", hint="set shell: in the configuration")
    data_dir = node.data_dir or await _asked_data_dir(spec, ports)
    script = _WAYS.format(data=quoted(data_dir.rstrip("/")), bin=quoted(node.bin_dir.rstrip("/")))
    lines = (await shell.run(script, within_s=WITHIN_S)).text.splitlines()
    said = dict(line.partition("=")[::2] for line in lines)
    if "data" not in said:
        raise PgvigilError(f"{data_dir} on {node.name} is no data directory", hint="set postgres.data_dir")
    if "lacks" in said:
        raise PgvigilError(
            f"{said['lacks']} is not found on {node.name}", hint="set postgres.bin_dir in the configuration"
        )
    systemctl = ""
    if "systemd" in said:
        if said["uid"] == "0":
            systemctl = "systemctl"
        elif isinstance(node.control, Systemd) and node.control.sudo:
            systemctl = "sudo -n systemctl"
    paths = Paths(data_dir, said["bin"])
    return _Site(spec, node, shell, paths, said["user"], systemctl)


async def _asked_data_dir(spec: ClusterSpec, ports: NodePorts) -> str:
    """Where the running server says that its data lies."""
    within_s = spec.timings.connect_timeout.total_seconds()
    try:
        await ports.session.open(within_s=within_s)
        (row,) = await ports.session.query("select current_setting('data_directory') as it", within_s=5.0)
    except (Unreachable, QueryFailed) as failure:
        raise PgvigilError(
            f"it is not known where {ports.spec.name} keeps its data",
            detail=str(failure),
            hint="set postgres.data_dir in the configuration",
        ) from failure
    return row["it"] or ""


def _start(site: _Site) -> str:
    if not site.systemctl:
        return start_script(site.paths.data_dir)
    unit = f"/etc/systemd/system/{site.unit}"
    put = f"printf %s {quoted(_unit_text(site))} | {site.sudo}tee {unit} >/dev/null"
    # One that was started in the background before would keep the unit's from starting.
    stop = f"sh {quoted(guard_dir(site.paths.data_dir))}/guard.sh stop"
    return (
        f"{stop} && {put} && {site.systemctl} daemon-reload && {site.systemctl} enable {site.unit} && "
        f"{site.systemctl} restart {site.unit}"
    )


def _unit_text(site: _Site) -> str:
    """The guard outlives the server's own unit, and is started again whatever ended it."""
    script = f"{guard_dir(site.paths.data_dir)}/guard.sh"
    return f"""\
[Unit]
Description=pgvigil guard of {site.node.name} ({site.spec.name})

[Service]
User={site.user}
ExecStart=/bin/sh "{script}" run
Restart=always
RestartSec=1
OOMScoreAdjust=-900
KillMode=mixed

[Install]
WantedBy=multi-user.target
"""
