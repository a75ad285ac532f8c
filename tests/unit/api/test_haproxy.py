"""One line in, one line out: what HAProxy's agent checks are answered."""

import asyncio
from dataclasses import replace

import pytest

from pgvigil.api.haproxy import LINE_MAX, answer, answering
from pgvigil.config.haproxy import haproxy
from pgvigil.controller.operations import Json
from pgvigil.controller.status import status_json
from pgvigil.demo.ports import free_port
from pgvigil.errors import ConfigError
from pgvigil.model.diagnosis import Diagnosis
from pgvigil.model.sighting import Unseen
from pgvigil.model.spec import Tag
from pgvigil.model.step import Plan, Rest
from pgvigil.model.units import Lsn, NodeName
from tests.builders import (
    HERE,
    WALL,
    Cluster,
    a_cluster,
    a_sender,
    changed_node,
    crashed,
    in_role,
    said,
    seen,
)
from tests.fake_operations import FakeOperations

C = a_cluster("pg1* pg2 pg3")


def status(cluster: Cluster) -> Json:
    return status_json(
        cluster.spec,
        cluster.record,
        cluster.view,
        Diagnosis(()),
        Plan(Rest()),
        wall=WALL,
        paused=False,
        busy={},
    )


def answered(line: str, cluster: Cluster = C) -> str:
    return asyncio.run(answer(FakeOperations([status(cluster)]), line))


def behind(cluster: Cluster, node: str, lag: int) -> Cluster:
    at = Lsn(HERE - lag)
    sender = replace(a_sender(cluster.spec.node(NodeName(node))), replayed=at)
    return said(in_role(cluster, node, replayed=at), "pg1", senders=(sender,))


@pytest.mark.parametrize(
    ("line", "cluster", "expected"),
    [
        ("orders pg1 primary", C, "up ready 100%\n"),
        ("orders pg2 primary", C, "down #running\n"),
        ("orders pg1 primary", crashed(C, "pg1"), "down #failed\n"),
        ("orders pg2 replica", C, "up ready 100%\n"),
        ("orders pg2 replica lag=16MB", behind(C, "pg2", 4 * 2**20), "up ready 75%\n"),
        ("orders pg2 replica lag=16MB", behind(C, "pg2", 16 * 2**20), "up ready 10%\n"),
        ("orders pg2 replica lag=16MB", behind(C, "pg2", 17 * 2**20), "down #running\n"),
        ("orders pg2 primary", seen(C, "pg2", sql=Unseen(NodeName("pg2"))), ""),
        ("orders pg9 primary", C, ""),
        ("nope pg1 primary", C, ""),
        ("orders pg1 king", C, ""),
        ("orders pg1 replica lag=far", C, ""),
        ("orders pg1 replica lag", C, ""),
        ("", C, ""),
    ],
)
def test_an_answer_or_none(line: str, cluster: Cluster, expected: str) -> None:
    assert answered(line, cluster) == expected


def test_over_a_socket_with_clients_that_misbehave() -> None:
    async def ask(port: int, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def story() -> None:
        port = free_port()
        async with answering(FakeOperations([status(C)]), "127.0.0.1", port):
            assert await ask(port, b"x" * LINE_MAX * 10 + b"\n") == b""
            assert await ask(port, b"\xff\xfe\n") == b""
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
            assert await ask(port, b"orders pg1 primary\n") == b"up ready 100%\n"
            for _, writer in silent:
                writer.close()
            with pytest.raises(ConfigError, match="cannot listen"):
                async with answering(FakeOperations(), "127.0.0.1", port):
                    pass

    asyncio.run(story())


def test_the_printed_configuration() -> None:
    spec = changed_node(C, "pg3", tags=frozenset({Tag.NO_LOAD_BALANCE, Tag.NEVER_PROMOTE})).spec
    text = haproxy(spec, ("10.0.0.5", 8010), write=6000, read=6001, lag="1GB")
    servers = [line.split()[1:3] for line in text.splitlines() if line.startswith("    server")]
    assert servers == [
        ["pg1", "10.0.0.11:5432"],
        ["pg2", "10.0.0.12:5432"],
        ["pg1", "10.0.0.11:5432"],
        ["pg2", "10.0.0.12:5432"],
        ["pg1_primary", "10.0.0.11:5432"],
        ["pg2_primary", "10.0.0.12:5432"],
    ]
    assert 'agent-send "orders pg2 replica lag=1GB\\n"' in text
    assert {"    bind :6000", "    bind :6001"} <= set(text.splitlines())
