"""Deliberate bugs in the core. Each must be found by some seed: it shows that the simulation looks there."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgvigil.act import engine, fence
from pgvigil.controller.journal import Journal
from pgvigil.decide import election, failover, promotion, repair
from pgvigil.decide.situation import Situation
from pgvigil.judge import engine as judge
from pgvigil.judge import primary_lost
from pgvigil.judge.case import Case
from pgvigil.model.diagnosis import Finding, Problem
from pgvigil.model.record import ClusterRecord, Fenced, Phase
from pgvigil.model.sighting import NodeView, Refusal, Standby
from pgvigil.model.step import Act, Fence
from pgvigil.model.units import Generation, Lsn

Mutate = Callable[[pytest.MonkeyPatch], None]


def promote_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(failover, "proof", lambda _: Fenced.STOPPED)
    patch.setattr(failover, "fence_steps", lambda _: ())


def believe_a_fence_that_failed(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_: object, __: object) -> dict[str, str]:
        return {}

    patch.setitem(engine.EFFECTS, Fence, engine.Effect(fence.confirm_fence, nothing, 1.0))
    patch.setattr(failover, "proof", lambda _: Fenced.STOPPED)


def record_after_the_effect(patch: pytest.MonkeyPatch) -> None:
    saved = Journal.decided

    async def decided(self: Journal, act: Act, generation: Generation) -> ClusterRecord | None:
        if act.record is None or act.record.phase is not Phase.PROMOTING:
            return await saved(self, act, generation)
        asyncio.get_running_loop().call_later(
            1.0, lambda: asyncio.ensure_future(saved(self, act, generation))
        )
        return replace(act.record, revision=act.record.revision + 1)

    patch.setattr(Journal, "decided", decided)


def prefer_the_less_advanced(patch: pytest.MonkeyPatch) -> None:
    rank = election._rank

    def wrong(situation: Situation, node: NodeView, role: Standby) -> tuple[object, ...]:
        timeline, furthest, *rest = rank(situation, node, role)
        assert isinstance(furthest, int)
        return (timeline, -furthest, *rest)

    patch.setattr(election, "_rank", wrong)


def believe_silence_without_a_witness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(primary_lost, "_vantage_points", lambda _, __: (["nobody"], []))
    patch.setattr(failover, "may_not_promote", lambda _: None)  # the second lock on that door


def take_a_refusal_for_a_crash(patch: pytest.MonkeyPatch) -> None:
    def crashed(case: Case) -> Finding | None:
        if isinstance(case.primary.sql, Refusal):
            return Finding(Problem.PRIMARY_CRASHED, case.primary.name, ("it does not let us in",))
        return None

    patch.setattr(judge, "PRIMARY_ROWS", (crashed, *judge.PRIMARY_ROWS))


def act_while_paused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClusterRecord, "is_paused", lambda _, __: False)


def elect_another_timeline(patch: pytest.MonkeyPatch) -> None:
    unfit = election.unfit

    def fit(situation: Situation, node: NodeView, **more: Any) -> str:
        reason = unfit(situation, node, **more)
        return "" if "on timeline" in reason else reason

    patch.setattr(election, "unfit", fit)


def rescue_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(promotion, "_may_have_more", lambda _, __, ___: False)


def leave_stale_primaries_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(repair, "stale_primary", lambda _, __: None)
    patch.setattr(failover, "stray_fences", lambda _: ())


def forget_who_was_asked_to_promote(patch: pytest.MonkeyPatch) -> None:
    start = failover.start

    def forgetful(situation: Situation, *args: Any, **more: Any) -> Act:
        act = start(situation, *args, **more)
        assert act.record is not None
        if situation.record.phase is Phase.RESTARTING:
            return replace(act, record=replace(act.record, at_least=Lsn(0)))
        return act

    patch.setattr(failover, "start", forgetful)


def never_rejoin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(repair, "repairs", lambda _: ())


FOUND_BY_SEEDS: tuple[Mutate, ...] = (
    promote_without_a_fence,
    believe_a_fence_that_failed,
    record_after_the_effect,
    prefer_the_less_advanced,
    take_a_refusal_for_a_crash,
    act_while_paused,
    rescue_nothing,
    leave_stale_primaries_alone,
    never_rejoin,
)
