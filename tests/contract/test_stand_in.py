"""The stand-in servers of `make bench-fleet` are read by the product as a healthy cluster."""

import asyncio
from xml.etree import ElementTree

import pytest

from bench.fleet.picture import picture
from bench.fleet.stand_in import Node, Session
from pgvigil.demo.ports import HOST, free_port
from pgvigil.model.sighting import Primary, Standby
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed, Row
from pgvigil.ports.postgres import PostgresSession
from pgvigil.sight import probe


async def asked(node: Node, sql: str) -> Row:
    loop, port = asyncio.get_running_loop(), free_port()
    server = await loop.create_server(lambda: Session(node), HOST, port)
    login = (("user", "bench"), ("dbname", "postgres"))
    session = PostgresSession(NodeSpec(NodeName("n0"), HOST, port, conninfo=login))
    try:
        await session.open(within_s=5)
        arguments = (probe.settings_argument(),) if sql == probe.FACTS else ()
        for _ in range(2):  # the second use is prepared
            await session.query(sql, arguments, within_s=5)
        (row,) = await session.query(sql, arguments, within_s=5)
        return row
    finally:
        session.close()
        server.close()


def test_it_answers_probes_as_a_primary_with_standbys_does() -> None:
    row = asyncio.run(asked(Node(0, 0), probe.PROBE))
    assert isinstance(probe.read_role(row), Primary)
    assert [sender.state for sender in probe.read_senders(probe.told_senders(row), {})] == [
        "streaming",
        "streaming",
    ]
    facts = probe.read_facts(asyncio.run(asked(Node(0, 0), probe.FACTS)))
    assert (facts.server_version, [slot.name for slot in facts.slots]) == (
        170006,
        ["pgvigil_n1", "pgvigil_n2"],
    )


def test_a_standby_streams_until_its_primary_has_crashed() -> None:
    role = probe.read_role(asyncio.run(asked(Node(0, 1), probe.PROBE)))
    assert isinstance(role, Standby)
    assert role.receiver
    role = probe.read_role(asyncio.run(asked(Node(0, 1, streams=False), probe.PROBE)))
    assert isinstance(role, Standby)
    assert role.receiver is None


def test_what_it_does_not_know_is_an_error() -> None:
    with pytest.raises(QueryFailed) as failed:
        asyncio.run(asked(Node(0, 0), "select 1"))
    assert failed.value.sqlstate == "0A000"


def test_its_picture_has_a_point_for_each_size_and_higher_stands_for_more() -> None:
    drawn = ElementTree.fromstring(picture([(300, 200.0), (3000, 120.0), (6000, 90.0)]))
    circles = drawn.findall("{*}circle")
    across, down = ([float(each.attrib[axis]) for each in circles] for axis in ("cx", "cy"))
    assert across == sorted(across)
    assert down == sorted(down)
    assert len(circles) == 3
