"""Draws what a probe costs over the number of nodes: flat is good."""

import math
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 320
NEAR: Final = 40
"""So close to the next mark, a number goes to a line of its own."""
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 48


def picture(points: Sequence[tuple[int, float]]) -> str:
    """An SVG of (nodes, microseconds of a core a probe); a logarithmic axis of nodes. At least one point."""
    low, high = math.log10(min(n for n, _ in points) / 1.5), math.log10(max(n for n, _ in points) * 1.5)
    step = 50 if max(us for _, us in points) <= 400 else 100
    most = step * math.ceil(max(us for _, us in points) / step)

    def x(nodes: int) -> float:
        return LEFT + (math.log10(nodes) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(us: float) -> float:
        return HEIGHT - BOTTOM - us / most * (HEIGHT - TOP - BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" font-family="sans-serif" font-size="13">',
        "<title>Processor time of a probe over the number of nodes</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" fill="#222222">microseconds of a core a probe, by nodes watched</text>',
    ]
    lines += [
        f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>'
        f'<text x="{LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end" fill="#555555">{mark}</text>'
        for mark in range(0, most + 1, step)
    ]
    far = {n: all(n >= m or x(m) - x(n) > NEAR for m, _ in points) for n, _ in points}
    path = " ".join(f"{'L' if i else 'M'}{x(n):.1f} {y(us):.1f}" for i, (n, us) in enumerate(points))
    lines.append(f'<path d="{path}" fill="none" stroke="#0b6e99" stroke-width="2"/>')
    lines += [
        f'<circle cx="{x(nodes):.1f}" cy="{y(us):.1f}" r="4" fill="#0b6e99"/>'
        f'<text x="{x(nodes):.1f}" y="{y(us) - 10:.1f}" text-anchor="middle">{us:.0f}</text>'
        f'<text x="{x(nodes):.1f}" y="{HEIGHT - (24 if far[nodes] else 8)}" text-anchor="middle"'
        f' fill="#555555">{nodes:,}</text>'
        for nodes, us in points
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"
