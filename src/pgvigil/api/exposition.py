"""Gauges in Prometheus' text format, filled cluster by cluster: of a fleet no slice of it takes long.

https://prometheus.io/docs/instrumenting/exposition_formats/ wants all samples of a metric together.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pgvigil.controller.operations import Json

Sample = tuple[Sequence[str], float]
"""The values of the labels, and the number."""


@dataclass(frozen=True, slots=True)
class Family:
    """One gauge: what it is called beside its labels and help, and how it is read from a cluster."""

    name: str
    text: str
    labels: Sequence[str]
    read: Callable[[Json], Iterable[Sample]]


class Gauges:
    """The samples of these families so far."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = [(family, list[str]()) for family in families]

    def add(self, cluster: Json) -> None:
        """What its status says."""
        for family, samples in self._families:
            for values, number in family.read(cluster):
                samples.append(f"{family.name}{{{_labels(family.labels, values)}}} {float(number)!r}\n")

    def text(self) -> bytes:
        """All of them."""
        parts = []
        for family, samples in self._families:
            parts.append(f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n")
            parts += samples
        return "".join(parts).encode()


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
