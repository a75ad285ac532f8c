"""`check` of etcd, on real servers of it."""

import asyncio
from collections.abc import Iterator

import pytest

from pgvigil.model.check import CheckItem, CheckLevel, worst
from pgvigil.store.etcd_check import check_etcd
from tests.etcd import Etcd, etcd_servers, needs_etcd

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def three() -> Iterator[Etcd]:
    with etcd_servers(3) as etcd:
        yield etcd


def told(items: list[CheckItem], level: CheckLevel) -> str:
    return "\n".join(f"{item.place}: {item.what}" for item in items if item.level is level)


def test_three_servers_one_of_which_dies_then_two(three: Etcd) -> None:
    spec = three.spec("ctl1", retry_s=2.0)
    well = asyncio.run(check_etcd(spec))
    assert worst(well) in (CheckLevel.OK, CheckLevel.WARNING), well  # slow, on a loaded machine
    assert "3 servers, of which 1 may be lost" in told(well, CheckLevel.OK)
    three.stop(2)
    three.await_health()
    one_less = asyncio.run(check_etcd(spec))
    assert f"{three.urls[2]}: etcd does not answer" in told(one_less, CheckLevel.WARNING)
    assert not told(one_less, CheckLevel.ERROR)
    three.stop(0, 1)
    gone = asyncio.run(check_etcd(spec))
    assert told(gone, CheckLevel.ERROR) == "etcd: no server of etcd answers"


def test_a_single_server_is_warned_of() -> None:
    with etcd_servers(1) as etcd:
        items = asyncio.run(check_etcd(etcd.spec("ctl1")))
    assert "1 server: none may be lost" in told(items, CheckLevel.WARNING)
