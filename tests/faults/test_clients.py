"""HAProxy and the check of keepalived in front of real hosts: a controller that is gone takes nobody out.

One run of one cluster: the controller killed, started again, out of reach, and, at last, a real failover.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.faults.product import CLUSTER, Product, running
from tests.lab import Cluster, LabError, LabHost, await_that, end, faults
from tests.lab.netns import in_netns, inside, sh

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not HAPROXY, reason="haproxy (Debian: haproxy) is not there"),
    pytest.mark.skipif(not shutil.which("curl"), reason="curl (Debian: curl) is not there"),
]
HTTP_PORT, AGENT_PORT, WRITE_PORT, READ_PORT = 8009, 8010, 5000, 5001
ADDRESS = "10.77.0.200"
"""Belongs to the primary."""
KEPT_S = 2.0
"""So long each state of the controller lasts: ten looks of the script, and of HAProxy's agent checks."""


class Flow(threading.Thread):
    """A client that keeps its session while it can, and remembers what went wrong."""

    def __init__(self, host: LabHost, conninfo: str) -> None:
        super().__init__(daemon=True)
        self._netns, self._conninfo = host.netns, conninfo
        self._over = threading.Event()
        self.errors: list[str] = []
        self.acks: list[tuple[float, str]] = []

    def run(self) -> None:
        with inside(self._netns):
            while not self._over.is_set():
                try:
                    with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=2) as session:
                        self._write(session)
                except psycopg.Error as error:
                    self.errors.append(f"{time.monotonic():.3f} {error}")
                    self._over.wait(0.05)

    def _write(self, session: psycopg.Connection) -> None:
        while not self._over.wait(0.02):
            row = session.execute(
                "with w as (update flow set n = n + 1 returning 1) select inet_server_addr()::text from w"
            ).fetchone()
            assert row
            self.acks.append((time.monotonic(), str(row[0]).partition("/")[0]))

    def end(self) -> None:
        self._over.set()
        self.join(10)

    def goes_on(self, since: float) -> bool:
        """Whether something was acknowledged from then on."""
        return bool(self.acks) and self.acks[-1][0] > since


@contextmanager
def flowing(host: LabHost, *conninfos: str) -> Iterator[list[Flow]]:
    flows = [Flow(host, conninfo) for conninfo in conninfos]
    for flow in flows:
        flow.start()
    try:
        yield flows
    finally:
        for flow in flows:
            flow.end()


KEEPALIVED = """
while sleep 0.2; do
    if {check} {node} {state}; then
        ip addr add {address}/32 dev eth0 2>/dev/null && echo taken >&2 && {python} -c '{announce}'
    else
        ip addr del {address}/32 dev eth0 2>/dev/null && echo given up >&2
    fi
done
"""
"""What keepalived does with it, without its election."""
ANNOUNCE = """
import socket
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0x0806))
mac, own = link.getsockname()[4], socket.inet_aton("ADDRESS")
link.send(bytes([255] * 6) + mac + bytes.fromhex("08060001080006040001") + mac + own + bytes(6) + own)
""".replace("ADDRESS", ADDRESS)
"""A gratuitous ARP request (RFC 5227)."""


def keep_address(stack: ExitStack, product: Product, node: LabHost) -> Path:
    """Have the host hold the address while `render keepalived`'s check says so; a file of what it did."""
    cluster = product.cluster
    home, address = cluster.lab.dir / f"{node.name}.keepalived", cluster.lab.network.controller_address
    printed = product.command("render", "keepalived", CLUSTER, "--controller", address).stdout
    own = {**os.environ, "ETC": str(home), "RUN": str(home)}
    words = ["sh", "-s", node.name, f"{ADDRESS}/32", "eth0"]
    subprocess.run(words, input=printed, text=True, env=own, check=True, capture_output=True)
    loop = KEEPALIVED.format(
        check=home / "pgvigil-check", node=node.name, state=home / "state",
        python=sys.executable, announce=ANNOUNCE, address=ADDRESS,
    )  # fmt: skip
    told = home / "address"
    with told.open("wb") as output:
        stack.callback(end, cluster.lab.popen(["sh", "-c", loop], netns=node.netns, output=output))
    return told


def holders(cluster: Cluster) -> list[str]:
    return [
        node.name
        for node in cluster.nodes
        if f"{ADDRESS}/32" in sh(in_netns(node.netns, ["ip", "-4", "addr", "show", "dev", "eth0"]))
    ]


def start_haproxy(stack: ExitStack, cluster: Cluster, product: Product, host: LabHost) -> None:
    words = ["--port", str(WRITE_PORT), "--read-port", str(READ_PORT)]
    address = cluster.lab.network.controller_address
    text = product.command("render", "haproxy", CLUSTER, *words, "--controller", address).stdout
    file = cluster.lab.dir / "haproxy.cfg"
    file.write_text(text)
    assert HAPROXY
    with (cluster.lab.dir / "haproxy.log").open("wb") as log:
        stack.callback(
            end, cluster.lab.popen([HAPROXY, "-db", "-f", str(file)], netns=host.netns, output=log)
        )


def silence(cluster: Cluster, *, on: bool) -> None:
    """The controller answers nobody over HTTP and to no agent check; its own connections are left alone."""
    rules = "table inet deaf\ndelete table inet deaf\n"
    if on:
        rules += (
            "table inet deaf { chain c { type filter hook input priority 0; "
            f"tcp dport {{ {HTTP_PORT}, {AGENT_PORT} }} drop\n}}\n}}\n"
        )
    sh(in_netns(cluster.lab.network.controller, ["nft", "-f", "-"]), stdin=rules)


class Scene:
    """Clients, HAProxy and the address, in front of a cluster."""

    def __init__(self, cluster: Cluster, flows: list[Flow], files: list[Path], app: LabHost) -> None:
        self.cluster, self.flows, self.files, self._app = cluster, flows, files, app

    def reader(self) -> str:
        """The address of whoever answers on the read port."""
        conninfo = self.cluster.lab.conninfo(self._app)
        with (
            inside(self._app.netns),
            psycopg.connect(conninfo, host="127.0.0.1", port=READ_PORT, connect_timeout=2) as session,
        ):
            row = session.execute("select inet_server_addr()::text").fetchone()
        assert row
        return str(row[0]).partition("/")[0]

    def standbys(self) -> set[str]:
        """The addresses of all nodes but the primary."""
        return {node.address for node in self.cluster.standbys()}

    def settled(self) -> bool:
        """Whether reads go to the standbys, writes to the primary, both ways."""
        try:
            readers = {self.reader() for _ in range(6)}
        except psycopg.Error:
            return False
        primary = self.cluster.primary()
        ends = {flow.acks[-1][1] for flow in self.flows if flow.acks}
        return (
            readers == self.standbys()
            and ends <= {primary.address, ADDRESS}
            and holders(self.cluster) == [primary.name]
        )

    def await_writes(self, *, since: float) -> None:
        """Until both clients write. Raises AssertionError that says what hindered them."""
        try:
            await_that(lambda: all(flow.goes_on(since) for flow in self.flows), 20, "writes")
        except LabError as late:
            seen = [(flow.acks[-1], flow.errors[-2:]) for flow in self.flows]
            raise AssertionError(f"{late}; now {time.monotonic()}: {seen}") from late

    def undisturbed(self, what: str) -> None:
        """For a while: no client is disturbed, the address stays, reads go to the standbys, all of them."""
        before = [len(flow.errors) for flow in self.flows], [file.read_text() for file in self.files]
        begun, readers = time.monotonic(), set[str]()
        while time.monotonic() - begun < KEPT_S:
            readers.add(self.reader())
            time.sleep(0.1)
        after = [len(flow.errors) for flow in self.flows], [file.read_text() for file in self.files]
        assert before == after, f"{what}: {[flow.errors[-3:] for flow in self.flows]} {after[1]}"
        await_that(lambda: all(flow.goes_on(begun) for flow in self.flows), 10, f"{what}: writes go on")
        primary = self.cluster.primary()
        assert holders(self.cluster) == [primary.name], what
        assert readers == self.standbys(), what


# S2-17, S3-10
def test_a_controller_that_is_gone_takes_nobody_out(trio: Cluster) -> None:
    app = trio.lab.add_witness("app1")
    address = trio.lab.network.controller_address
    http = {"listen": f"{address}:{HTTP_PORT}", "haproxy": f"{address}:{AGENT_PORT}"}
    product = Product(trio, {"failover": {"unreachable_after": "1s"}}, http=http)
    trio.sql(trio.primary(), "create table if not exists flow as select 0 as n")
    trio.sql(trio.primary(), "grant all on flow to pgvigil")
    with running(product), ExitStack() as stack:
        start_haproxy(stack, trio, product, app)
        files = [keep_address(stack, product, node) for node in trio.nodes]
        first = trio.primary()
        await_that(lambda: holders(trio) == [first.name], 10, "the address at the primary")
        own = trio.lab.conninfo(app)
        ways = (f"{own} host=127.0.0.1 port={WRITE_PORT}", f"{own} host={ADDRESS} port={first.port}")
        with flowing(app, *ways) as flows:
            scene = Scene(trio, flows, files, app)
            await_that(lambda: all(flow.goes_on(0) for flow in flows), 10, "both ways lead to the primary")
            await_that(scene.settled, 10, "reads at the standbys")
            product.kill()
            scene.undisturbed("killed")
            product.start(healthy=False)
            scene.undisturbed("started again")
            product.await_healthy()
            silence(trio, on=True)
            scene.undisturbed("out of reach")
            silence(trio, on=False)

            begun = time.monotonic()
            faults.kill_postgres(first)
            second = product.await_primary(other_than=first)
            scene.await_writes(since=begun + 1)
            await_that(scene.settled, 20, f"everybody at {second.name}")
        product.await_healthy()
