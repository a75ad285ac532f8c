"""One look at a whole cluster for `check`: every server, host and way between them, all at the same time.

Whatever is dead costs its own deadline and nobody else's. Only reads.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pgvigil.controller.survey.ask_files import look_here
from pgvigil.controller.survey.ask_host import ask_host, try_passage
from pgvigil.controller.survey.ask_sql import ask_server
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen, Passage, SqlSeen
from pgvigil.model.spec import ClusterSpec, NodeSpec
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import WitnessLook
from pgvigil.ports.contract import Clock, NodePorts, Pinger, Shell, ShellLost, ShellRefused
from pgvigil.ports.guard import Pulse, pulse_script, read_pulse
from pgvigil.sight.witness import WitnessHost, is_reachable

SHELL_S: Final = 8.0
"""For one host's answer: an ssh login on a busy host takes seconds."""
PASSAGE_S: Final = 18.0
"""For the three attempts from one node to another."""
AT_ONCE: Final = 4
"""Attempts from one host at the same time: sshd allows ten sessions a connection."""
RESOLVE_S: Final = 2.0


async def look(
    spec: ClusterSpec,
    nodes: Mapping[NodeName, NodePorts],
    pinger: Pinger,
    clock: Clock,
    witnesses: Mapping[str, Shell],
) -> ClusterSeen:
    """Everything about the cluster. Sessions are its own and closed; shells stay open for their owner."""
    wait_s = max(spec.timings.connect_timeout.total_seconds(), 1.0)
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(_look_at(spec, ports, clock)) for ports in nodes.values()]
        reached = {t: group.create_task(pinger.reaches(t, within_s=wait_s)) for t in spec.references}
        words = [
            group.create_task(_ask_witness(WitnessHost(name, shell, clock, wait_s), spec))
            for name, shell in witnesses.items()
        ]
        modes = group.create_task(asyncio.to_thread(_passfile_modes, spec.nodes))
        own = [dict(node.conninfo) for node in spec.nodes]
        files = group.create_task(asyncio.to_thread(look_here, own))
    seen = [task.result() for task in looks]
    hosts = {node.host for node in spec.nodes}
    hosts |= {a.receiver.host for node in seen if (a := node.answer) and a.receiver}
    async with asyncio.TaskGroup() as group:
        addresses = {host: group.create_task(_resolve(host)) for host in hosts}
        passages = group.create_task(_passages(spec, nodes, seen))
    return ClusterSeen(
        spec=spec,
        nodes=tuple(seen),
        passages=passages.result(),
        references={target: task.result() for target, task in reached.items()},
        addresses={host: task.result() for host, task in addresses.items()},
        witnesses=dict(task.result() for task in words),
        passfile_modes=modes.result(),
        tls_files=files.result(),
    )


async def _ask_witness(host: WitnessHost, spec: ClusterSpec) -> tuple[str, WitnessLook]:
    """Once more if it said nothing: the first ssh login to a host may take its time."""
    nodes = [node for node in spec.nodes if is_reachable(node)]
    for _ in range(2):
        await host.reach(nodes, speak=True)
        if host.look.heard:
            break
    return host.name, host.look


async def _look_at(spec: ClusterSpec, ports: NodePorts, clock: Clock) -> NodeSeen:
    """The server first: it knows where its data lies."""
    replication = dict(spec.replication.conninfo)
    sql = await ask_server(
        ports,
        replication.get("user", ""),
        connect_s=spec.timings.connect_timeout.total_seconds(),
        within_s=spec.timings.probe_timeout.total_seconds(),
    )
    data_dir = sql.text("data_directory") if isinstance(sql, SqlSeen) else ""
    host = await ask_host(ports, data_dir, replication, clock, within_s=SHELL_S)
    guard = await _guard(ports, ports.spec.data_dir or data_dir) if spec.fencing.guard else None
    return NodeSeen(ports.spec, sql, host, guard)


async def _guard(ports: NodePorts, data_dir: str) -> Pulse | None:
    if ports.shell is None or not data_dir:
        return None
    try:
        return read_pulse((await ports.shell.ask(pulse_script(data_dir), within_s=SHELL_S)).text, None)
    except (ShellLost, ShellRefused, ValueError):  # told as the shell's own trouble
        return None


async def _passages(
    spec: ClusterSpec, nodes: Mapping[NodeName, NodePorts], seen: Iterable[NodeSeen]
) -> tuple[Passage, ...]:
    """From every host whose shell works to every other node."""
    keywords = dict(spec.replication.conninfo)
    tasks: list[asyncio.Task[Passage]] = []

    async def attempt(turn: asyncio.Semaphore, ports: NodePorts, target: NodeSpec, bin_dir: str) -> Passage:
        async with turn:
            return await try_passage(ports, target, keywords, bin_dir, slow_s=PASSAGE_S)

    async with asyncio.TaskGroup() as group:
        for node in seen:
            if (host := node.host_answer) is None:
                continue
            turn = asyncio.Semaphore(AT_ONCE)
            for target in spec.others(node.name):
                if not target.host.startswith(("/", "@")):
                    ports = nodes[node.name]
                    tasks.append(group.create_task(attempt(turn, ports, target, host.bin_dir)))
    return tuple(task.result() for task in tasks)


async def _resolve(host: str) -> frozenset[str]:
    if not host or host.startswith(("/", "@")):
        return frozenset({host})
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a timeout is an OSError too
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)


def _passfile_modes(nodes: Iterable[NodeSpec]) -> dict[str, int | None]:
    files = {dict(node.conninfo).get("passfile", "") for node in nodes} - {""}
    return {file: _mode(os.path.expanduser(file)) for file in sorted(files)}


def _mode(file: str) -> int | None:
    try:
        return stat.S_IMODE(Path(file).stat().st_mode)
    except OSError:
        return None
