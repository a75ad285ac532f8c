"""A witness host over a real shell: what it says of nodes, and what it says when it is of no use."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from pgvigil.model.shell import CommandShell
from pgvigil.model.spec import NodeSpec
from pgvigil.model.units import NodeName
from pgvigil.model.vantage import Reach, Witness
from pgvigil.ports.clock import SystemClock
from pgvigil.ports.shell import make_shell
from pgvigil.sight.shells import Shells
from pgvigil.sight.witness import WitnessHost
from tests.contract.test_reach import NOWHERE, listening
from tests.contract.test_reach import refusing as refusing  # the fixture

T = TypeVar("T")
SH, GONE = ("sh",), (sys.executable, "-c", "raise SystemExit(1)")


def a_node(name: str, port: int, host: str = "127.0.0.1") -> NodeSpec:
    return NodeSpec(NodeName(name), host, port)


def on_witness(work: Callable[[WitnessHost], Awaitable[T]], command: tuple[str, ...] = SH) -> T:
    """What comes of `work` with a witness host of its own."""

    async def whole() -> T:
        shell = make_shell(CommandShell(command), host="w1")
        try:
            return await work(WitnessHost("w1", shell, SystemClock(), 0.5))
        finally:
            shell.close()

    return asyncio.run(whole())


def test_a_witness_tells_of_the_suspect_and_whether_it_reaches_anybody_else(refusing: int) -> None:
    with listening(answer=b"N") as serving:
        pg1, pg2 = a_node("pg1", refusing), a_node("pg2", serving)
        said = on_witness(lambda w1: w1.testify(pg1, [pg2]))
        assert said is not None
        assert said == Witness("w1", said.at, Reach.REFUSED, others=True, before=None)
        assert said.counts
        cut_off = on_witness(lambda w1: w1.testify(pg1, [a_node("pg2", refusing)]))
        assert cut_off is not None
        assert cut_off.others is False
        assert not cut_off.counts


def test_a_witness_remembers_what_it_found_while_the_node_answered_us(refusing: int) -> None:
    pg1 = a_node("pg1", refusing)

    async def calm_and_then_not(w1: WitnessHost) -> Witness | None:
        looked, clock = asyncio.Event(), SystemClock()
        calm = asyncio.ensure_future(w1.run(lambda: [pg1], looked.set, Shells(clock)))
        await looked.wait()
        calm.cancel()
        return await w1.testify(pg1, [])

    said = on_witness(calm_and_then_not)
    assert said is not None
    assert said.before is Reach.REFUSED
    assert not said.counts


def test_a_witness_that_cannot_be_asked_says_nothing_and_why(refusing: int) -> None:
    async def asked(w1: WitnessHost) -> tuple[Witness | None, str, bool]:
        return await w1.testify(a_node("pg1", refusing), []), w1.look.detail, w1.look.heard

    said, why, heard = on_witness(asked, GONE)
    assert (said, heard) == (None, False)
    assert why


def test_a_node_that_is_out_of_a_witness_s_reach_by_its_nature_is_not_asked_for() -> None:
    async def asked(w1: WitnessHost) -> tuple[Witness | None, str]:
        socket = await w1.testify(a_node("pg1", 5432, "/run/postgresql"), [])
        return socket or await w1.testify(a_node("pg1", 5432, NOWHERE), []), w1.look.detail

    said, why = on_witness(asked)
    assert said is None
    assert "cannot resolve" in why


def test_a_witness_that_answers_again_is_of_use_again(refusing: int) -> None:
    async def asked(w1: WitnessHost) -> tuple[str, str]:
        w1.look = replace(w1.look, detail="it did not answer", heard=False)
        await w1.testify(a_node("pg1", refusing), [])
        return w1.look.detail, w1.look.way

    detail, way = on_witness(asked)
    assert detail == ""
    assert way
