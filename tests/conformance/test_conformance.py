"""The simulated server is held against the real one: both play the same scripts, and look the same."""

import asyncio
from collections.abc import Callable

import pytest

from pgvigil.demo.servers import Servers
from tests.conformance.real import RealStage
from tests.conformance.scripts import SCRIPTS, Script
from tests.conformance.simulated import SimStage, virtual_loop
from tests.conformance.stage import Note, Stage
from tests.conformance.synchronous_scripts import SYNCHRONOUS

SEEDS = range(5)
"""The simulation draws its delays: what is compared must not hang on them."""
ALL = SCRIPTS | SYNCHRONOUS
Notes = list[tuple[str, Note]]


@pytest.mark.postgres
@pytest.mark.parametrize("script", ALL.values(), ids=ALL.keys())
@pytest.mark.usefixtures("trio_of_servers")
def test_simulated_servers_look_like_real_ones(servers: Servers, script: Script) -> None:
    real = really(script, servers)
    for seed in SEEDS:
        assert differences(real, simulated(script, seed)) == [], f"seed {seed}"


def really(script: Script, servers: Servers) -> Notes:
    async def main() -> Notes:
        stage = RealStage(servers)
        try:
            async with asyncio.timeout(120):
                return await played(script, stage)
        finally:
            stage.close()

    return asyncio.run(main())


def simulated(script: Script, seed: int) -> Notes:
    loop = virtual_loop()

    async def main() -> Notes:
        stage = SimStage(loop, seed)
        notes = await played(script, stage)
        assert stage.drift() == []
        return notes

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def played(script: Callable[[Stage], object], stage: Stage) -> Notes:
    """Beginning with both standbys streaming."""
    await stage.all_streaming()
    told = script(stage)
    assert asyncio.iscoroutine(told)
    await told
    return stage.notes


def differences(real: Notes, sim: Notes) -> list[str]:
    """Where the two differ, for people."""
    found = [] if len(real) == len(sim) else [f"{len(real)} notes and {len(sim)}"]
    for (label, one), (other_label, other) in zip(real, sim, strict=False):
        assert label == other_label
        found += [
            f"{label}: {key}: real {one.get(key)}, simulated {other.get(key)}"
            for key in one.keys() | other.keys()
            if one.get(key) != other.get(key)
        ]
    return found
