"""Deliberate bugs in the core. Each must be found by some seed: it shows that the simulation looks there."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgvigil.act import engine, fence, rescue
from pgvigil.act import synchrony as act_synchrony
from pgvigil.act.bench import Bench, Confirmed
from pgvigil.act.settings import set_running
from pgvigil.controller.journal import Journal
from pgvigil.decide import election, failover, lossless, promotion, quorum, repair, switchover, synchrony
from pgvigil.decide import engine as decide
from pgvigil.decide.situation import Situation
from pgvigil.errors import StepFailed
from pgvigil.judge import engine as judge
from pgvigil.judge import primary_lost
from pgvigil.judge.case import Case
from pgvigil.model.diagnosis import Finding, Problem
from pgvigil.model.record import ClusterRecord, Fenced, Phase
from pgvigil.model.sighting import NodeView, Refusal, Standby
from pgvigil.model.step import Act, Decision, Fence, SetSync, Stage
from pgvigil.model.units import Generation, Lsn
from pgvigil.sim.synchrony import NAMES

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
    patch.setattr(primary_lost, "_counted_from", lambda _, since, __: since)
    patch.setattr(failover, "may_not_promote", lambda _: None)  # the second lock on that door


def take_a_refusal_for_a_crash(patch: pytest.MonkeyPatch) -> None:
    def crashed(case: Case) -> Finding | None:
        if isinstance(case.primary.sql, Refusal):
            return Finding(Problem.PRIMARY_CRASHED, case.primary.name, ("it does not let us in",))
        return None

    patch.setattr(judge, "PRIMARY_ROWS", (crashed, *judge.PRIMARY_ROWS))


def act_while_paused(patch: pytest.MonkeyPatch) -> None:
    def begin(situation: Situation, finding: Finding) -> Decision:
        return failover.begin(replace(situation, record=replace(situation.record, paused=False)), finding)

    verdicts = dict.fromkeys(failover.VERDICTS, begin)
    patch.setattr(decide, "REACTIONS", {**decide.REACTIONS, **verdicts})


def elect_another_timeline(patch: pytest.MonkeyPatch) -> None:
    unfit = election.unfit

    def fit(situation: Situation, node: NodeView, **more: Any) -> str:
        reason = unfit(situation, node, **more)
        return "" if "on timeline" in reason else reason

    patch.setattr(election, "unfit", fit)


def rescue_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(promotion, "_may_have_more", lambda _, __, ___: False)


def leave_stale_primaries_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(repair, "stale_primaries", lambda _, __: None)
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


def cut_one_too_few(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quorum, "cuts_needed", lambda in_force: len(in_force.standbys) - in_force.acks)


def believe_the_setting(patch: pytest.MonkeyPatch) -> None:
    async def only_set(confirmed: Confirmed[SetSync], bench: Bench) -> dict[str, str]:
        step = confirmed.step
        await set_running(bench, step.node, {NAMES: step.to.setting})
        return {}

    patch.setitem(engine.EFFECTS, SetSync, engine.Effect(act_synchrony.confirm_set_sync, only_set, 5.0))


def compare_before_the_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lossless, "severed", lambda *_: True)
    patch.setattr(failover, "cut_steps", lambda _: ())


def promise_on_after_a_promotion(patch: pytest.MonkeyPatch) -> None:
    synchronous = promotion.synchronous

    def promised(situation: Situation) -> ClusterRecord:
        record = synchronous(situation)
        return replace(record, sync=record.sync_next) if record.sync_next else record

    patch.setattr(failover, "synchronous", promised)


def forget_the_change_under_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lossless, "weaker", lambda one, _: one)


def lower_before_it_is_on_record(patch: pytest.MonkeyPatch) -> None:
    act = synchrony._act

    def lowering(situation: Situation, changed: ClusterRecord, reason: str) -> Act:
        before, to = situation.record.sync, changed.sync_next
        done = act(situation, changed, reason)
        return replace(done, record=None) if before and to and to.acks < before.acks else done

    patch.setattr(synchrony, "_act", lowering)


def take_writes_before_waiting(patch: pytest.MonkeyPatch) -> None:
    stages = promotion.promotion_stages

    def without(*args: Any, **more: Any) -> tuple[Stage, ...]:
        made = (
            tuple(step for step in stage.steps if not isinstance(step, SetSync))
            for stage in stages(*args, **more)
        )
        return tuple(Stage(steps) for steps in made if steps)

    patch.setattr(failover, "promotion_stages", without)
    patch.setattr(switchover, "promotion_stages", without)


def promote_any_that_is_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lossless.Ground, "objection", lambda *_: "")
    prefer_the_less_advanced(patch)


def do_without_the_rescue(patch: pytest.MonkeyPatch) -> None:
    """Nor stop for it who was started meanwhile."""

    async def refuse(*_: object) -> None:
        raise StepFailed("it runs")

    patch.setattr(promotion, "rescue_demanded", lambda _: False)
    patch.setattr(rescue, "service", SimpleNamespace(stop=refuse))


def degrade_without_asking(patch: pytest.MonkeyPatch) -> None:
    """Fail over from a primary that acknowledged alone, as if something had been promised."""
    patch.setattr(lossless, "ground", lambda _: lossless.Ground(Fenced.QUORUM))


FOUND_WITH_QUORUM: tuple[Mutate, ...] = (take_writes_before_waiting, promote_any_that_is_cut)
"""By seeds; those that do harm only in rare moments are in `test_quorum`, with such moments."""
