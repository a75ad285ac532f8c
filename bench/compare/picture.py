"""Draws how long writes stood still, fault by fault, on a logarithmic axis of seconds."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from bench.compare.table import FAULTS, LIMIT_S, Run, middle, seconds

WIDTH: Final = 760
LEFT, RIGHT, TOP, LINE, SPACE = 190, 60, 44, 18, 34
MARKS = (0.1, 1.0, 10.0, 100.0)
LEAST, MOST = 0.03, 150.0
COLOURS = {
    "pgvigil": "#0b6e99",
    "Patroni": "#c8641b",
    "repmgr": "#7a7a7a",
    "pg_auto_failover": "#6a4fa3",
}
"""Told apart by people who see few colours, too: every bar carries its name."""


def picture(runs: Sequence[Run]) -> str:
    """An SVG: a group of bars a fault, a bar a system: its median, and a line from min to max."""
    body: list[str] = []
    y = TOP
    for fault, told in FAULTS.items():
        here = [run for run in runs if run.fault == fault and not run.failed]
        if not here:
            continue
        body.append(f'<text x="8" y="{y + 13}" font-weight="bold" fill="#222222">{told}</text>')
        y += LINE
        for (system, settings), group in groupby(here, key=lambda run: (run.system, run.settings)):
            body += _bar(f"{system}, {settings}", COLOURS.get(system, "#444444"), list(group), y)
            y += LINE
        y += SPACE - LINE
    grid = [
        f'<path d="M{_x(mark):.1f} {TOP - 6}V{y - 10}" stroke="#dddddd"/>'
        f'<text x="{_x(mark):.1f}" y="{TOP - 12}" text-anchor="middle" fill="#555555">{mark:g} s</text>'
        for mark in MARKS
    ]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" font-family="sans-serif" font-size="12">',
        "<title>How long no row was acknowledged, by fault and system</title>",
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
        '<text x="8" y="18" font-size="13" fill="#222222">seconds without an acknowledged row: median,'
        " minimum to maximum</text>",
    ]
    return "\n".join([*head, *grid, *body, "</svg>"]) + "\n"


def _bar(name: str, colour: str, runs: list[Run], y: int) -> list[str]:
    value = middle([run.gap_s for run in runs])
    ends = [LIMIT_S if run.gap_s is None else run.gap_s for run in runs]
    end = _x(LIMIT_S if value is None else value)
    right = max(end, _x(max(ends)))
    centre = y + LINE / 2
    return [
        f'<text x="{LEFT - 8}" y="{centre + 4:.1f}" text-anchor="end" fill="#222222">{name}</text>',
        f'<rect x="{LEFT}" y="{y + 3}" width="{end - LEFT:.1f}" height="{LINE - 6}" fill="{colour}"/>',
        f'<path d="M{_x(min(ends)):.1f} {centre}H{_x(max(ends)):.1f}" stroke="#222222" stroke-width="1.5"/>',
        f'<text x="{right + 6:.1f}" y="{centre + 4:.1f}" fill="#222222">{_text(value)}</text>',
    ]


def _text(value: float | None) -> str:
    return seconds(value).replace(">", "&gt;")


def _x(value: float) -> float:
    share = math.log(min(max(value, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)
