"""Guards put on nodes: where systemd runs and where not, what `check` says, and what a pulse means."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from pgvigil.controller.guards import install, look, remove
from pgvigil.controller.survey.check_guards import all_well, guards
from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen
from pgvigil.model.check import CheckLevel
from pgvigil.model.guard import GuardState
from pgvigil.model.sighting import Silence
from pgvigil.model.spec import ClusterSpec, Fencing, PgCtl, Systemd, WhenUnreachable
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import NodePorts, NoReply, Output, Session, ShellLost
from pgvigil.ports.guard import VERSION, Pulse, read_pulse
from tests.builders import DATA_DIR, a_cluster, changed_node, changed_spec
from tests.fake_shell import FakeShell

PG1 = NodeName("pg1")
GUARDED = changed_spec(a_cluster("pg1* pg2 pg3"), fencing=Fencing(WhenUnreachable.WAIT, guard=True))
WAYS = {"data": "1", "uid": "101", "user": "postgres", "bin": "/usr/lib/postgresql/16/bin", "writable": "1"}
BOOT = "81d58de9"


def beat(**changes: str) -> str:
    """What a node with a healthy guard says."""
    told = {
        "boot": BOOT,
        "at": "99900",
        "pid": "17",
        "version": VERSION,
        "config": "abc",
        "doing": "leased",
        "seen": "3",
        "nodes": "3",
        "acted": "0",
        "dog": "none",
        "end": ".",
    }
    return " ".join((told | changes).values())


def pulse_text(line: str, *, process: str = "S", installed: bool = True, clock: str = "1000.00") -> str:
    there = "installed=1\n" if installed else ""
    return f"clock={clock}\nboot={BOOT}\n{there}beat={line}\nprocess={process}\n"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (pulse_text(beat()), GuardState.ALIVE),
        (pulse_text("", process="", installed=False), GuardState.MISSING),
        (pulse_text("", process=""), GuardState.DEAD),
        (pulse_text(beat(), process=""), GuardState.DEAD),
        (pulse_text(beat(), process="Z"), GuardState.DEAD),
        (pulse_text(beat(boot="another")), GuardState.DEAD),
        (pulse_text(beat(end="")), GuardState.DEAD),
        (pulse_text(beat(), process="T"), GuardState.STALLED),
        (pulse_text(beat(at="99500")), GuardState.STALLED),
        (pulse_text(beat(version="old")), GuardState.OUTDATED),
        (pulse_text(beat(config="other")), GuardState.OUTDATED),
    ],
)
def test_what_a_node_says_of_its_guard(text: str, state: GuardState) -> None:
    assert read_pulse(text, "abc").state is state


def test_an_answer_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not what was asked for"):
        read_pulse("sh: command not found", "abc")


class SaidShell(FakeShell):
    """A host that answers what the test says, and remembers what it was told to do."""

    def __init__(self, ways: dict[str, str], pulse: str) -> None:
        self.ways, self.pulse, self.told = ways, pulse, list[str]()
        self.status = 0

    async def ask(self, script: str, *, within_s: float) -> Output:
        return await self.run(script, within_s=within_s)

    async def run(
        self,
        script: str,
        *,
        stdin: bytes = b"",
        within_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        if "/run/systemd/system ]" in script:
            return Output(0, "\n".join(f"{key}={value}" for key, value in self.ways.items()).encode())
        if "/proc/uptime" in script and "umask" not in script:
            return Output(0, self.pulse.encode())
        self.told.append(script)
        return Output(self.status, b"", b"disk full" if self.status else b"")

    def close(self) -> None:
        self.told.append("closed")


def never() -> Session:
    raise NoReply("nobody asks it", Silence.TIMED_OUT)


def one_node(spec: ClusterSpec, shell: SaidShell | None) -> dict[NodeName, NodePorts]:
    class Asked:
        """No session is opened: the data directory is configured."""

    return {PG1: NodePorts(spec.node(PG1), never, Asked(), shell)}  # type: ignore[arg-type]  # never used


def on_host(**ways: str) -> SaidShell:
    return SaidShell(WAYS | ways, pulse_text(beat()))


def controlled(control: PgCtl | Systemd) -> ClusterSpec:
    return changed_node(GUARDED, "pg1", control=control).spec


def test_without_systemd_it_is_started_in_the_background_with_a_lease_first() -> None:
    spec, shell = controlled(PgCtl()), SaidShell(WAYS, pulse_text("", process="", installed=False))
    (report,) = asyncio.run(install(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert report.done
    assert "in the background" in report.text
    put, grant, start = shell.told
    assert "chmod 700" in put
    assert f"1<> '{DATA_DIR}.pgvigil-guard'/lease" in grant
    assert start.endswith("guard.sh start")
    assert "systemctl" not in "".join(shell.told[1:])


def test_with_systemd_and_sudo_it_is_a_unit_of_the_shells_user() -> None:
    spec, shell = controlled(Systemd("postgresql@16-main", sudo=True)), on_host(systemd="1")
    (report,) = asyncio.run(install(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert "as pgvigil-guard-orders-pg1.service" in report.text
    start = shell.told[-1]
    assert "User=postgres" in start
    assert "sudo -n tee /etc/systemd/system/pgvigil-guard-orders-pg1.service" in start
    assert start.index("guard.sh stop") < start.index("daemon-reload") < start.index("restart")
    assert not any("/lease'" in line and "printf '%-" in line for line in shell.told), (
        "no lease beside another's"
    )
    shell.pulse = pulse_text(beat(), process="")
    (gone,) = asyncio.run(remove(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert gone.done
    assert "disable --now pgvigil-guard-orders-pg1.service" in shell.told[-2]
    assert "rmdir" in shell.told[-1]


def test_systemd_that_we_may_not_tell_is_left_alone() -> None:
    spec, shell = controlled(Systemd("postgresql", sudo=False)), on_host(systemd="1")
    asyncio.run(install(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert "systemctl" not in "".join(shell.told[1:])


def test_a_dry_run_changes_nothing() -> None:
    spec, shell = controlled(PgCtl()), on_host()
    for work in (install, remove):
        (report,) = asyncio.run(work(spec, one_node(spec, shell), [PG1], dry_run=True))
        assert report.done
        assert "would be" in report.text
    assert shell.told == []


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({"lacks": "pg_isready"}, "pg_isready is not found on pg1"),
        ({"no": "data"}, "is no data directory"),
    ],
)
def test_where_it_cannot_be_it_is_told_why(ways: dict[str, str], said: str) -> None:
    spec = controlled(PgCtl())
    shell = on_host(**ways)
    if "no" in ways:
        del shell.ways["data"]
    (report,) = asyncio.run(install(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert not report.done
    assert said in report.text
    assert report.hint
    assert shell.told == []


def test_a_step_that_fails_and_a_node_without_a_shell_are_told() -> None:
    spec, shell = controlled(PgCtl()), on_host()
    shell.status = 1
    (failed,) = asyncio.run(install(spec, one_node(spec, shell), [PG1], dry_run=False))
    assert (failed.done, "disk full" in failed.text) == (False, True)
    (without,) = asyncio.run(look(spec, one_node(spec, None), [PG1]))
    assert "no shell" in without.text


def test_a_guard_of_another_release_is_to_be_installed_again() -> None:
    spec = controlled(PgCtl())
    shell = SaidShell(WAYS, pulse_text(beat(version="old")))
    (report,) = asyncio.run(look(spec, one_node(spec, shell), [PG1]))
    assert (report.done, report.state) == (False, GuardState.OUTDATED)
    assert report.hint == "pgvigil guard install orders pg1"


def seen_with(*states: GuardState | None, watchdog: str = "none") -> ClusterSeen:
    lost = ShellLost("no answer")
    nodes = [
        NodeSeen(
            node, NoReply("no answer", Silence.TIMED_OUT), lost, pulse(state, watchdog) if state else None
        )
        for node, state in zip(GUARDED.spec.nodes, states, strict=False)
    ]
    return ClusterSeen(GUARDED.spec, tuple(nodes))


def pulse(state: GuardState, watchdog: str) -> Pulse:
    return Pulse(1, BOOT, state, watchdog=watchdog)


def test_check_tells_of_guards_that_are_missing_and_says_when_all_are_well() -> None:
    alive = GuardState.ALIVE
    well = seen_with(alive, alive, alive)
    assert (list(guards(well)), all_well(well)) == ([], "guards: alive on every node")
    assert all_well(seen_with(alive, None, alive)) == ""
    (item,) = guards(seen_with(alive, GuardState.DEAD, alive))
    assert (item.level, item.place, item.fix) == (
        CheckLevel.ERROR,
        "orders/pg2",
        "pgvigil guard install orders pg2",
    )
    off = replace(well, spec=replace(well.spec, fencing=Fencing(WhenUnreachable.WAIT)))
    assert (list(guards(off)), all_well(off)) == ([], "")


def test_check_tells_of_a_watchdog_that_is_not_fed_and_of_two_nodes() -> None:
    fencing = Fencing(WhenUnreachable.WAIT, guard=True, guard_watchdog="/dev/watchdog")
    seen = seen_with(GuardState.ALIVE, GuardState.ALIVE, watchdog="closed")
    items = list(guards(replace(seen, spec=replace(seen.spec, fencing=fencing))))
    assert [item.level for item in items] == [CheckLevel.WARNING, CheckLevel.WARNING, CheckLevel.ADVICE]
