"""Make recordings of real faults: `python -m tests.recordings [NAME …]`, or bring their decisions up to date.

`python -m tests.recordings --renew` decides again on what was recorded and writes today's decisions into the
files. It prints each that differs: do that only when they were meant to change.
"""

import os
import signal
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from pgvigil.controller.replay import decision_words, replayed
from pgvigil.demo.binaries import find_postgres
from pgvigil.demo.servers import Server, Servers, wait_until
from pgvigil.model.command import FetchRecording, Switchover
from pgvigil.model.recording import Recording, repacked, unpacked
from pgvigil.model.spec import AfterCrash, ClusterSpec, Protection
from pgvigil.model.units import NodeName
from pgvigil.store.sqlite import SqliteStore
from tests.postgres.conftest import FAST
from tests.postgres.guard import Guard, cluster_spec, guarding, with_timings

HERE = Path(__file__).parent
Trio = tuple[Server, Server, Server]


@dataclass(frozen=True)
class Fault:
    """What is done to real servers, and the kind of event whose recording is kept."""

    event: str
    do: Callable[[Trio, Guard], object]
    wish: Callable[[ClusterSpec], ClusterSpec] = lambda spec: spec
    shell: bool = True
    heals: bool = True


def lock_out(trio: Trio, guard: Guard) -> None:
    """Our login may not log in any more, and our session is ended."""
    trio[0].sql("create role administrator superuser login password 'only here'")
    login = trio[0].conninfo(user="administrator", password="only here", dbname="postgres")
    with psycopg.connect(login, autocommit=True) as session:
        session.execute("alter role pgvigil nologin")
        session.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgvigil'")


def promote_by_hand(trio: Trio, guard: Guard) -> None:
    """A human promotes a standby beside the primary."""
    trio[1].sql("select pg_promote()")


def freeze_receiver(trio: Trio, guard: Guard) -> None:
    """The candidate's WAL receiver stands still during a switchover, which is undone."""
    ((receiver,),) = trio[1].sql("select pid from pg_stat_wal_receiver")
    os.kill(receiver, signal.SIGSTOP)
    try:
        guard.order(Switchover(NodeName("pg2")), within_s=90)
    finally:
        os.kill(receiver, signal.SIGCONT)


def restart(trio: Trio, guard: Guard) -> None:
    """A human restarts the primary within its grace."""
    trio[0].stop()
    wait_until(lambda: "primary_restarting" in guard.kinds(), within_s=10, what="the grace to begin")
    trio[0].start()


def after_crash_restart(spec: ClusterSpec) -> ClusterSpec:
    return replace(spec, failover=replace(spec.failover, after_crash=AfterCrash.RESTART))


def quorum(spec: ClusterSpec) -> ClusterSpec:
    return replace(spec, protection=Protection.QUORUM)


def soon(spec: ClusterSpec) -> ClusterSpec:
    return with_timings(spec, hung_after=1.5, unreachable_after=1.5, restart_grace=1.5)


FAULTS: Mapping[str, Fault] = {
    "crash": Fault("primary_crashed", lambda trio, _: trio[0].kill_all()),
    "crash-without-a-shell": Fault(
        "primary_crashed", lambda trio, _: trio[0].kill_all(), shell=False, heals=False
    ),
    "postmaster-killed": Fault("primary_crashed", lambda trio, _: trio[0].kill_postmaster()),
    "crash-in-quorum": Fault("primary_crashed", lambda trio, _: trio[0].kill_all(), quorum),
    "restarted-in-place": Fault("restarted", lambda trio, _: trio[0].kill_all(), after_crash_restart),
    "stopped-for-good": Fault("primary_stopped", lambda trio, _: trio[0].stop(), soon),
    "restarted-by-a-human": Fault("primary_restarting", restart),
    "hung": Fault("primary_hung", lambda trio, _: trio[0].freeze(), soon),
    "standby-killed-in-quorum": Fault("sync_set", lambda trio, _: trio[2].kill_all(), quorum, heals=False),
    "promoted-by-hand": Fault("stale_primary", promote_by_hand),
    "locked-out": Fault("primary_locked_out", lock_out, heals=False),
    "switchover": Fault("switchover", lambda _, guard: guard.order(Switchover(NodeName("pg2")))),
    "switchover-undone": Fault("undo", freeze_receiver),
}


def record(name: str, fault: Fault) -> bytes:
    """Make a cluster, break it, and return the recording of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Servers(find_postgres(), settings=FAST, wal_segment_mb=1) as servers,
    ):
        primary = servers.make_primary("pg1")
        trio = (primary, servers.add_standby("pg2", primary), servers.add_standby("pg3", primary))
        for standby in trio[1:]:
            standby.wait_streaming(primary)
        spec = fault.wish(cluster_spec(servers, trio, name=name, shell=fault.shell))
        with guarding(spec, store=SqliteStore(Path(folder) / "pgvigil.db")) as guard:
            guard.await_health()
            before = max(event["number"] for event in guard.events())

            def found() -> list[int]:
                return [
                    event["number"]
                    for event in guard.events()
                    if event["kind"] == fault.event and event["number"] > before
                ]

            fault.do(trio, guard)
            wait_until(found, within_s=60, what=f"{fault.event} in {guard.kinds()}")
            if fault.heals:
                guard.await_health(within_s=60)
            time.sleep(1.0)  # what follows it, too
            number = found()[0]
            outcome = guard.order(FetchRecording(number))
            assert outcome.data["recording"], outcome
            return b64decode(outcome.data["recording"])


def shortened(recording: Recording) -> Recording:
    """Without decidings that are the same as the one before: small files, every decision kept."""
    frames = [
        frame
        for before, frame in zip((None, *recording.frames), recording.frames, strict=False)
        if before is None or before.decided != frame.decided or before.command != frame.command
    ]
    return replace(recording, frames=tuple(frames))


def renew(file: Path) -> None:
    """Today's decisions on what was recorded."""
    recording = unpacked(file.read_bytes())
    frames = []
    for again in replayed(recording):
        if not again.same:
            print(f"{file.name} +{again.at_s:.3f} s: {decision_words(again.frame.decided)}")
            print(f"{'now':>{len(file.name)}}: {decision_words(again.now)}")
        frames.append(replace(again.frame, decided=again.now))
    file.write_bytes(repacked(replace(recording, frames=tuple(frames))))


def main(words: list[str]) -> None:
    if words == ["--renew"]:
        for file in sorted(HERE.glob("*.recording")):
            renew(file)
        return
    for name in words or FAULTS:
        recording = shortened(unpacked(record(name, FAULTS[name])))
        body = repacked(recording)
        (HERE / f"{name}.recording").write_bytes(body)
        print(f"{name}: {len(recording.frames)} decisions, {len(body)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
