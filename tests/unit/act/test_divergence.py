"""Which way back a stopped node needs, as a table."""

import pytest

from pgvigil.act.divergence import fork, has_record, needed
from pgvigil.act.rewind import common_segments
from pgvigil.model.sighting import ControlFile
from pgvigil.model.step import RebuildMethod
from pgvigil.model.units import Fork, History, Lsn, SystemId, Timeline

START, REWIND, CLONE = RebuildMethod.START, RebuildMethod.REWIND, RebuildMethod.CLONE
FIRST = History(Timeline(1))
SECOND = History(Timeline(2), (Fork(Timeline(1), Lsn(0x5000)),))
FOURTH = History(Timeline(4), (Fork(Timeline(1), Lsn(0x5000)), Fork(Timeline(3), Lsn(0x9000))))


def control(
    timeline: int, checkpoint: int, *, in_recovery: bool = False, shut_down: bool = True
) -> ControlFile:
    return ControlFile(SystemId("7"), Timeline(timeline), Lsn(checkpoint), shut_down, in_recovery)


@pytest.mark.parametrize(
    ("node", "history", "beyond", "method"),
    [
        # a standby, or a former primary, on the upstream's own timeline
        (control(1, 0x4000, in_recovery=True), FIRST, None, START),
        (control(2, 0x6000, in_recovery=True, shut_down=False), SECOND, None, START),
        (control(2, 0x6000), SECOND, None, CLONE),
        # stopped cleanly before the fork: a switchover
        (control(1, 0x4F88), SECOND, False, START),
        # stopped after it wrote something the upstream lacks
        (control(1, 0x4F88), SECOND, True, REWIND),
        (control(1, 0x5000), SECOND, None, REWIND),
        (control(1, 0x5000), SECOND, False, REWIND),
        (control(1, 0x7000), SECOND, None, REWIND),
        # crashed: only its WAL can tell
        (control(1, 0x4000, shut_down=False), SECOND, False, START),
        (control(1, 0x4000, shut_down=False), SECOND, True, REWIND),
        (control(1, 0x4000, shut_down=False), SECOND, None, REWIND),
        # a standby that got more than the one that was promoted
        (control(1, 0x4000, in_recovery=True), SECOND, True, REWIND),
        (control(1, 0x4000, in_recovery=True), SECOND, False, START),
        # several forks: its own timeline's counts
        (control(3, 0x8000), FOURTH, False, START),
        (control(3, 0x9500), FOURTH, None, REWIND),
        (control(1, 0x4000), FOURTH, False, START),
        # timelines that the upstream never was on
        (control(2, 0x4000), FOURTH, None, REWIND),
        (control(5, 0x9900), FOURTH, None, REWIND),
        (control(2, 0x6000), FIRST, None, REWIND),
        # nothing known
        (control(1, 0x4000), None, None, REWIND),
    ],
)
def test_the_mildest_method_that_can_work(
    node: ControlFile, history: History | None, beyond: bool | None, method: RebuildMethod
) -> None:
    need = needed(node, history, beyond)
    assert need.method is method
    assert need.reason


def test_the_fork_is_that_of_the_nodes_own_timeline() -> None:
    assert fork(control(3, 0), FOURTH) == 0x9000
    assert fork(control(1, 0), FOURTH) == 0x5000
    assert fork(control(4, 0), FOURTH) is None
    assert fork(control(2, 0), FOURTH) is None
    assert fork(control(1, 0), None) is None


@pytest.mark.parametrize(
    ("dump", "answer"),
    [
        (
            "rmgr: XLOG  len (rec/tot):    114/   114, tx:  0, lsn: 0/03000148, prev 0/03000110, "
            "desc: CHECKPOINT_SHUTDOWN redo 0/3000148",
            True,
        ),
        ("pg_waldump: error: could not find a valid record after 0/5000148", False),
        ("pg_waldump: error: could not find a valid record after 0/5000148: invalid record length", False),
        (
            'pg_waldump: error: could not find file "000000010000000000000005": No such file or directory',
            False,
        ),
        ('pg_waldump: error: could not open file "000000010000000000000005"', False),
        ("sh: 1: pg_waldump: not found", None),
        ("pg_waldump: error: could not open directory", None),
        ("", None),
    ],
)
def test_pg_waldump_tells_whether_a_record_lies_at_the_fork(dump: str, answer: bool | None) -> None:
    assert has_record(dump) is answer


@pytest.mark.parametrize(
    ("listed", "fork_at", "names"),
    [
        (
            "000000010000000000000003 000000010000000000000004 000000010000000000000005 "
            "first=000000010000000000000004",
            0x5000148,
            ("000000010000000000000004",),
        ),
        (  # never one from the fork on, nor one of another timeline, nor what is no segment
            "000000010000000000000004 000000010000000000000006 000000020000000000000004 00000002.history "
            "000000010000000000000004.partial first=000000010000000000000003",
            0x5000148,
            ("000000010000000000000004",),
        ),
        ("000000010000000000000004 first=000000020000000000000004", 0x5000148, ()),
        ("000000010000000000000004", 0x5000148, ()),
    ],
)
def test_only_wal_before_the_fork_is_given_back(listed: str, fork_at: int, names: tuple[str, ...]) -> None:
    assert common_segments(listed, Lsn(fork_at), Timeline(1), 16 * 1024 * 1024) == names
