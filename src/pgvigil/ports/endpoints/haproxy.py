"""HAProxy through its Runtime API: where it leads is pushed when it changes; its checks stay the truth.

What is pushed is what the servers' own checks are about to find, a moment sooner: a server with an agent
check gets its agent's answer (`set server … agent up|down`), so that HAProxy's next look at the controller
has the last word. One without is put in and out of service (`state ready|maint`), and is looked after,
for nothing else does. Source: HAProxy's management guide, 9.3.
"""

import asyncio
import csv
import re
from dataclasses import dataclass
from typing import Final

from pgvigil.errors import ConfigError, StepFailed, Unreachable
from pgvigil.model.endpoint import Aim, Haproxy
from pgvigil.model.spec import ClusterSpec

CONNECT_S: Final = 1.0
ANSWER_S: Final = 2.0
ANSWER_MAX: Final = 8 * 2**20
NOBODY: Final = "set server pgvigil/nobody state ready"
"""Changes nothing: there is no such server. The answer tells whether we might."""
_GUIDE: Final = "docs/operate/endpoints.md"


@dataclass(frozen=True, slots=True)
class _Server:
    """One line of `show stat`."""

    name: str
    status: str
    sessions: int
    checked_by_us: bool
    """It has an agent check."""

    @property
    def up(self) -> bool:
        return self.status.startswith("UP") or self.status == "no check"

    @property
    def set_aside(self) -> bool:
        """Put out of service by hand, or by us."""
        return self.status.startswith(("MAINT", "DRAIN", "NOLB"))


class HaproxyEndpoint:
    """An `Endpoint`."""

    def __init__(self, wanted: Haproxy, spec: ClusterSpec) -> None:
        self.name = wanted.name
        self._address, self._backend = wanted.address, wanted.backend
        self._candidates = frozenset(str(node.name) for node in spec.nodes if node.may_be_primary())
        self._nodes = frozenset(str(node.name) for node in spec.nodes)
        self._pushed: Aim | None = None

    def close(self) -> None:
        """See `Endpoint`. Nothing is kept open."""

    async def look(self) -> str:
        """See `Endpoint`."""
        servers = await self._servers()
        if "ermission denied" in await self._say(NOBODY):
            raise ConfigError(
                f"HAProxy at {self._address} does not let us steer it",
                hint="its `stats socket` needs `level admin`",
            )
        if missing := sorted(self._candidates - servers.keys()):
            raise self._without(", ".join(missing))
        return f"HAProxy at {self._address} answers; backend {self._backend} has {', '.join(servers)}"

    async def hold(self) -> None:
        """HAProxy has nobody wait: its sessions belong to one server until they end."""

    async def move(self, aim: Aim) -> str:
        """See `Endpoint`. The others first: nobody is led to two of them."""
        servers = await self._servers()
        if aim.primary is not None and aim.primary not in servers:
            raise self._without(aim.primary)
        anew = aim.concerns_writes(self._pushed)
        lines: list[str] = []
        words: list[str] = []
        for server in servers.values():
            if server.name != aim.primary and (off := self._off(server, anew=anew)):
                lines += off
                words.append(
                    f"{server.name} out" + (f" ({server.sessions} sessions)" if server.sessions else "")
                )
        for server in servers.values():
            if server.name == aim.primary and (on := self._on(server, anew=anew)):
                lines += on
                words.append(f"{server.name} in")
        if lines and (said := await self._say("; ".join(lines))):
            raise StepFailed(f"HAProxy at {self._address} refused", detail=said, hint=f"see {_GUIDE}")
        if lines and aim.primary is not None and not (await self._servers())[aim.primary].up:
            raise StepFailed(f"HAProxy's own check takes {aim.primary} for down", hint=f"see {_GUIDE}")
        self._pushed = aim
        return ", ".join(words)

    def _off(self, server: _Server, *, anew: bool) -> list[str]:
        """What takes clients off a server that is not to have any: no check of HAProxy's objects."""
        place, lines = f"{self._backend}/{server.name}", []
        if server.checked_by_us and server.up:
            lines.append(f"set server {place} agent down")
        elif not server.checked_by_us and not server.set_aside:
            lines.append(f"set server {place} state maint")
        if lines or (anew and server.sessions):
            lines.append(f"shutdown sessions server {place}")
        return lines

    def _on(self, server: _Server, *, anew: bool) -> list[str]:
        place, lines = f"{self._backend}/{server.name}", []
        if server.set_aside and (anew or not server.checked_by_us):
            lines.append(f"set server {place} state ready")
        if anew and not server.up:
            if server.checked_by_us:
                lines.append(f"set server {place} agent up")
            lines.append(f"set server {place} health up")
        return lines

    async def _servers(self) -> dict[str, _Server]:
        """The backend's servers that are nodes of ours. Raises Unreachable, ConfigError."""
        text = await self._say("show stat")
        if not text.startswith("# "):
            raise ConfigError(
                f"what answers at {self._address} is no HAProxy of ours",
                detail=text[:100] or "it says nothing",
                hint="its `stats socket` belongs here",
            )
        rows = [row for row in csv.DictReader(text[2:].splitlines()) if row["pxname"] == self._backend]
        if not rows:
            raise ConfigError(
                f"HAProxy at {self._address} has no backend {self._backend}",
                hint="name it as backend:, or use what `pgvigil render haproxy` prints",
            )
        return {
            row["svname"]: _Server(
                row["svname"], row["status"], int(row["scur"] or 0), bool(row.get("agent_status"))
            )
            for row in rows
            if row["svname"] in self._nodes
        }

    def _without(self, names: str) -> ConfigError:
        return ConfigError(
            f"HAProxy's backend {self._backend} has no server {names}",
            hint="its servers must have the nodes' names, as `pgvigil render haproxy` prints them",
        )

    async def _say(self, line: str) -> str:
        """One line of commands, and all that is answered. Raises Unreachable."""
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._connect()
        except OSError as lost:  # a timeout is an OSError too
            raise self._lost(str(lost) or f"no answer within {CONNECT_S:g} s") from lost
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(f"{line}\n".encode())
                await writer.drain()
                answer = await reader.read(ANSWER_MAX)
                while more := await reader.read(ANSWER_MAX):
                    answer += more
        except OSError as lost:
            raise self._lost(str(lost) or f"no answer within {ANSWER_S:g} s") from lost
        finally:
            writer.close()
        return answer.decode(errors="replace").strip()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("/"):
            return await asyncio.open_unix_connection(self._address)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(re.sub(r"^\[|\]$", "", host), int(port))

    def _lost(self, why: str) -> Unreachable:
        return Unreachable(
            f"HAProxy at {self._address} does not answer",
            detail=why,
            hint="is it running, has it a `stats socket` there, and may pgvigil's user open it?",
        )
