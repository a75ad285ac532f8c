"""What the comparison with others makes of its runs."""

import xml.etree.ElementTree as ET

import pytest

from bench.compare.picture import picture
from bench.compare.table import (
    FAULTS,
    HEAD,
    Run,
    beside,
    exposed_rows,
    longest_gap,
    rows,
    seconds,
)
from bench.outage.columns import as_text
from tests.lab import Ack


def run(gap_s: float | None, **more: object) -> Run:
    values: dict[str, object] = {"system": "repmgr", "settings": "fast", "fault": "crash", "gap_s": gap_s}
    values |= {"client_s": gap_s, "lost": 0, "beside": 0, "exposed_s": 0.0, "back_s": 2.0, "failed": ""}
    return Run(**{**values, **more})  # type: ignore[arg-type]  # a test knows its fields


@pytest.mark.parametrize(
    ("window", "longest"),
    [((0.0, 9.0), 4.0), ((0.0, 1.5), 1.0), ((1.5, 2.5), 4.0), ((7.0, 9.0), 0.0)],
)
def test_the_longest_gap_is_of_those_that_touch_the_window(
    window: tuple[float, float], longest: float
) -> None:
    assert longest_gap([1.0, 2.0, 6.0], *window) == longest


def test_only_an_older_timeline_after_the_first_row_of_the_new_one_counts_as_two_at_once() -> None:
    first = Ack("pg2", 5, 10.0, 10.1, 2)
    before, beside_it = Ack("pg1", 4, 9.9, 10.05, 1), Ack("pg1", 6, 10.2, 10.3, 1)
    after = Ack("pg2", 7, 10.2, 10.3, 2)
    assert beside([before, first, beside_it, after], first) == (beside_it,)
    assert beside([before, beside_it], None) == ()


@pytest.mark.parametrize(
    ("runs", "cells"),
    [
        ((run(1.0), run(30.0), run(2.0)), ("2.00", "1.00–30.0", "2.00", "3", "0", "no", "yes, 2.00 s")),
        ((run(1.0), run(None), run(2.0)), ("2.00", "1.00–> 120", "2.00", "3", "0", "no", "yes, 2.00 s")),
        ((run(None, lost=None),), ("> 120", "–", "> 120", "1", "–", "no", "yes, 2.00 s")),
        ((run(None), run(None)), ("> 120", "–", "> 120", "2", "0", "no", "yes, 2.00 s")),
        (
            (run(1.0), run(None, failed="no server")),
            ("1.00", "1.00–1.00", "1.00", "1 of 2", "0", "no", "yes, 2.00 s"),
        ),
        ((run(None, failed="no server"),), ("failed", "–", "–", "0 of 1", "–", "–", "–")),
        (
            (run(1.0, lost=7, beside=7, back_s=None), run(1.0, lost=3)),
            ("1.00", "1.00–1.00", "1.00", "2", "3–7", "1 of 2, 7 rows", "1 of 2"),
        ),
        ((run(1.0, back_s=None),), ("1.00", "1.00–1.00", "1.00", "1", "0", "no", "no")),
    ],
)
def test_a_row_of_the_table(runs: tuple[Run, ...], cells: tuple[str, ...]) -> None:
    assert rows(runs) == [(FAULTS["crash"], "repmgr", "fast", *cells)]


def test_the_table_goes_fault_by_fault_and_keeps_the_order_of_systems() -> None:
    runs = [run(1.0, fault="hang"), run(2.0), run(3.0, system="Patroni")]
    assert [line[:2] for line in rows(runs)] == [
        (FAULTS["crash"], "repmgr"),
        (FAULTS["crash"], "Patroni"),
        (FAULTS["hang"], "repmgr"),
    ]


def test_how_long_an_isolated_primary_went_on_is_told_for_isolation_only() -> None:
    runs = [run(1.0), *(run(1.0, fault="isolated", exposed_s=s, lost=9) for s in (8.0, 20.0, 9.5))]
    assert exposed_rows(runs) == [("repmgr", "fast", "9.50 [8.00–20.0]", "9")]


def test_a_run_is_read_as_it_was_written() -> None:
    one = run(None, fault="hang", failed="no")
    assert Run.read(one.written()) == one


def test_times_are_told_with_three_figures_at_most() -> None:
    assert [seconds(each) for each in (0.1234, 12.34, None)] == ["0.12", "12.3", "> 120"]


def test_a_table_for_markdown_has_a_cell_for_each_column() -> None:
    lines = as_text(HEAD, rows([run(1.0)]), markdown=True).splitlines()
    assert [line.count("|") for line in lines] == [len(HEAD) + 1] * 3


def test_the_picture_has_a_bar_for_every_system_and_fault_and_one_for_a_run_without_end() -> None:
    runs = [run(1.0), run(None, fault="hang"), run(2.0, fault="hang", system="pgvigil", settings="default")]
    drawn = ET.fromstring(picture(runs))  # of our own making
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and ("repmgr" in text or "pgvigil" in text)] == [
        "repmgr, fast",
        "repmgr, fast",
        "pgvigil, default",
    ]
    assert "> 120" in texts
    widths = [float(bar.get("width", 0)) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[1] > widths[2] > widths[0]
