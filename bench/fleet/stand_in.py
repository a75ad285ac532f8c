"""Servers that only answer a controller's probes, over the real protocol: thousands in one process.

Every node has an address of its own (127.x.y.z) and says what a healthy primary or standby says. No TLS, no
password, no SQL: a statement is known by its text, and others are answered with an error. Positions move on
five times a second. `crash` closes a primary's port and sessions, and its standbys have lost their WAL
receivers from then on.
"""

import argparse
import asyncio
import json
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pgvigil.sight import probe

PORT = 24_432
PER_CLUSTER = 3
OIDS = {"recovering": 16, "paused": 16}
LSN = "0/5000060"
"""Where all nodes are at first; in answers, kept as bytes, it gives way to where they are now."""
MOVES_A_SECOND = 5
SETTINGS = {
    "archive_mode": "off",
    "data_directory": "",
    "fsync": "on",
    "full_page_writes": "on",
    "hot_standby": "on",
    "listen_addresses": "*",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "-1",
    "max_wal_senders": "10",
    "recovery_target_timeline": "latest",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "wal_level": "replica",
    "wal_log_hints": "on",
    "wal_receiver_timeout": "60s",
    "wal_segment_size": "16MB",
    "wal_sender_timeout": "60s",
}


STARTED = time.monotonic()


def address(cluster: int, node: int) -> str:
    """Where a node of a cluster answers, both counted from 0."""
    number = cluster * PER_CLUSTER + node + 1
    return f"127.{64 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"


@dataclass(slots=True)
class Node:
    """One server. `primary`: number of the node it follows, itself if it is one."""

    cluster: int
    number: int
    streams: bool = True
    port: int = PORT
    """Of the whole cluster."""
    sessions: set["Session"] = field(default_factory=set)
    server: asyncio.Server | None = None
    probed: int = 0
    """Probes answered; not the first two of a session."""
    packed: dict[str, bytes] = field(default_factory=dict)
    """SQL → the whole answer to its execution, as it was when all nodes were at `LSN`."""

    @property
    def standby(self) -> bool:
        """The first node of a cluster is its primary."""
        return self.number > 0

    def rows(self, sql: str) -> list[dict[str, str | None]] | None:
        """What it answers; None: it does not know that statement."""
        match sql:
            case probe.PROBE:
                return [self._probe()]
            case probe.FACTS:
                return [self._facts()]
            case probe.SENDER_NAMES:
                return [
                    {
                        "pid": str(100 + n),
                        "application_name": f"n{n}",
                        "client_addr": address(self.cluster, n),
                    }
                    for n in range(1, PER_CLUSTER)
                ]
            case _:
                return None

    def _probe(self) -> dict[str, str | None]:
        primary = address(self.cluster, 0)
        row: dict[str, str | None] = dict.fromkeys(
            (
                "walfile", "written", "flushed", "sync_names", "received", "replayed", "paused", "conninfo",
                "timeline", "receiver_pid", "receiver_status", "receiver_tli", "receiver_host",
                "receiver_port", "receiver_slot", "receiver_silent", "senders",
            )
        )  # fmt: skip
        if not self.standby:
            senders = [
                {
                    "pid": 100 + n, "state": "streaming", "sent": LSN, "flushed": LSN, "replayed": LSN,
                    "sync": "async", "lag": None,
                }
                for n in range(1, PER_CLUSTER)
            ]  # fmt: skip
            row |= {"recovering": "f", "walfile": "000000010000000000000005", "written": LSN, "flushed": LSN}
            return row | {"sync_names": "", "senders": json.dumps(senders)}
        row |= {"recovering": "t", "received": LSN, "replayed": LSN, "paused": "f"}
        row["conninfo"] = f"host={primary} port={self.port} application_name=n{self.number}"
        if not self.streams:
            return row | {"timeline": "1"}
        return row | {
            "receiver_pid": "200", "receiver_status": "streaming", "receiver_tli": "1",
            "receiver_host": primary, "receiver_port": str(self.port), "receiver_silent": "0.05",
        }  # fmt: skip

    def _facts(self) -> dict[str, str | None]:
        slots = [
            {
                "name": f"pgvigil_n{n}", "physical": True, "active": True, "restart": LSN,
                "status": "reserved", "failover": False, "synced": False, "invalid": None, "held": 0,
            }
            for n in range(1, PER_CLUSTER)
        ]  # fmt: skip
        return {
            "version": "170006",
            "system_id": str(7_400_000_000_000_000_000 + self.cluster),
            "settings": json.dumps(SETTINGS),
            "slots": None if self.standby else json.dumps(slots),
            "pending": None,
        }

    def answer(self, sql: str) -> bytes:
        """What is sent for Bind, Describe, Execute and Sync of a prepared statement that it knows."""
        self.probed += sql == probe.PROBE
        kept = self.packed.get(sql)
        if kept is None:
            rows = self.rows(sql) or []
            data = b"".join(_packet(b"D", _values(row)) for row in rows)
            described = _packet(b"2", b"") + _packet(b"T", _columns(rows[0]))
            kept = described + data + _packet(b"C", _text(f"SELECT {len(rows)}")) + _packet(b"Z", b"I")
            self.packed[sql] = kept
        return kept.replace(LSN.encode(), position())

    def lose_receiver(self) -> None:
        """Its WAL receiver has ended."""
        self.streams = False
        self.packed.clear()

    async def listen(self) -> None:
        """Answer on its address."""
        loop = asyncio.get_running_loop()
        where = address(self.cluster, self.number)
        self.server = await loop.create_server(lambda: Session(self), where, self.port, backlog=8)

    def crash(self) -> None:
        """Its port refuses, and its sessions end without a word."""
        if self.server:
            self.server.close()
        for session in tuple(self.sessions):
            session.abort()


class Session(asyncio.Protocol):
    """One client's session, from its first packet on."""

    def __init__(self, node: Node) -> None:
        self._node, self._held, self._started = node, b"", False
        self._statements: dict[bytes, str] = {}
        self._portal = ""
        self._repeated: dict[bytes, str] = {}
        """What a client sends again and again, byte for byte, and the statement that it executes."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._node.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._node.sessions.discard(self)

    def abort(self) -> None:
        """End it with a reset."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        sql = self._repeated.get(data)
        if sql is not None and not self._held and self._transport:
            self._transport.write(self._node.answer(sql))
            return
        if data[:1] == b"B" and data[-5:] == b"S\0\0\0\4" and not self._held:
            name = data[6 : data.index(b"\0", 6)]
            sql = self._statements.get(name, "")
            if name and b"\0" not in name and self._node.rows(sql):
                self._repeated[data] = sql
        held = self._held + data
        out: list[bytes] = []
        while True:
            head = 1 if self._started else 0
            if len(held) < head + 4:
                break
            (length,) = struct.unpack_from("!I", held, head)
            if len(held) < head + length:
                break
            kind, body = held[:head], held[head + 4 : head + length]
            held = held[head + length :]
            out.append(self._message(kind, body) if self._started else self._first(body))
        self._held = held
        if self._transport and any(out):
            self._transport.write(b"".join(out))

    def _first(self, body: bytes) -> bytes:
        (code,) = struct.unpack_from("!I", body)
        if code in (80877103, 80877104):  # SSLRequest, GSSENCRequest
            return b"N"
        self._started = True
        parameters = {
            "server_version": "17.6",
            "client_encoding": "UTF8",
            "standard_conforming_strings": "on",
        }
        told = b"".join(_packet(b"S", _text(k) + _text(v)) for k, v in parameters.items())
        return _packet(b"R", bytes(4)) + told + _packet(b"K", struct.pack("!II", 1, 1)) + _packet(b"Z", b"I")

    def _message(self, kind: bytes, body: bytes) -> bytes:
        match kind:
            case b"P":
                name, sql, _ = body.split(b"\0", 2)
                self._statements[name] = sql.decode()
                return _packet(b"1", b"")
            case b"B":
                _, name, _ = body.split(b"\0", 2)
                self._portal = self._statements[name]
                return _packet(b"2", b"")
            case b"D":
                return self._described(body)
            case b"E":
                return self._executed()
            case b"S":
                return _packet(b"Z", b"I")
            case b"X":
                self.abort()
                return b""
            case _:
                return b""

    def _described(self, body: bytes) -> bytes:
        sql = self._portal if body[:1] == b"P" else self._statements[body[1:-1]]
        rows = self._node.rows(sql)
        columns = _packet(b"n", b"") if not rows else _packet(b"T", _columns(rows[0]))
        return columns if body[:1] == b"P" else _packet(b"t", struct.pack("!H", 0)) + columns

    def _executed(self) -> bytes:
        rows = self._node.rows(self._portal)
        if rows is None:
            said = b"SERROR\0VERROR\0C0A000\0Mthis stand-in does not know that statement\0\0"
            return _packet(b"E", said)
        data = b"".join(_packet(b"D", _values(row)) for row in rows)
        return data + _packet(b"C", _text(f"SELECT {len(rows)}"))


def position() -> bytes:
    """Where all nodes are now; as long as `LSN`, for about a day."""
    moves = int((time.monotonic() - STARTED) * MOVES_A_SECOND)
    return b"0/%X" % (0x5000060 + 0x100 * moves)


def _packet(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _columns(row: dict[str, str | None]) -> bytes:
    tail = struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)
    return struct.pack("!H", len(row)) + b"".join(_text(name) + tail for name in row)


def _values(row: dict[str, str | None]) -> bytes:
    def value(text: str | None) -> bytes:
        return (
            struct.pack("!i", -1) if text is None else struct.pack("!i", len(text.encode())) + text.encode()
        )

    return struct.pack("!H", len(row)) + b"".join(value(text) for text in row.values())


async def serve(clusters: int) -> None:
    """Answer for all of them; lines on standard input are orders.

    `crash N` ends N primaries at once; `count` tells how many probes were answered so far.
    """
    nodes = [[Node(cluster, n) for n in range(PER_CLUSTER)] for cluster in range(clusters)]
    for cluster in nodes:
        for node in cluster:
            await node.listen()
    print(json.dumps({"ready": clusters * PER_CLUSTER}), flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.split():
            case [b"crash", many]:
                print(json.dumps(_crash(nodes[: int(many)])), flush=True)
            case _:
                probed = sum(node.probed for cluster in nodes for node in cluster)
                print(json.dumps({"probed": probed}), flush=True)


def _crash(nodes: Iterable[Sequence[Node]]) -> dict[str, float]:
    began = time.time()
    for primary, *standbys in nodes:
        for standby in standbys:
            standby.lose_receiver()
        primary.crash()
    return {"began": began, "done": time.time()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clusters", type=int)
    asyncio.run(serve(parser.parse_args().clusters))
