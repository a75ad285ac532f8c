"""What a standby owes its upstream, and since when."""

from dataclasses import replace

import pytest

from pgvigil.model.sighting import Answer, Primary
from pgvigil.model.units import Instant, Lsn, NodeName
from pgvigil.sight.streams import OWED_LONG_S, Streams
from tests.builders import HERE, NOW, a_cluster

PRIMARY = NodeName("pg1")


def look(after_s: float, *, confirmed: int) -> Answer:
    """At a primary that has flushed 1000 bytes, of which its standbys have confirmed so many."""
    answer = a_cluster("pg1* pg2 pg3").view.node(PRIMARY).answer
    assert answer
    assert isinstance(answer.role, Primary)
    senders = tuple(replace(sender, flushed=Lsn(HERE + confirmed)) for sender in answer.senders)
    role = replace(answer.role, flushed=Lsn(HERE + 1000))
    return replace(answer, at=Instant(NOW + after_s), role=role, senders=senders)


@pytest.mark.parametrize(
    ("confirmed", "long"),
    [((0, 0, 0), True), ((0, 100, 200), False), ((0, 0, 1000), False), ((1000, 1000, 1000), False)],
)
def test_only_who_confirms_nothing_of_what_it_owes_owes_for_long(
    confirmed: tuple[int, ...], long: bool
) -> None:
    streams, step_s = Streams(), OWED_LONG_S * 0.6
    for number, so_far in enumerate(confirmed):
        streams.note(PRIMARY, look(number * step_s, confirmed=so_far))
    assert streams.owes_long(PRIMARY, Instant(NOW + 2 * step_s)) is long


def test_a_primary_without_senders_is_owed_nothing() -> None:
    streams = Streams()
    streams.note(PRIMARY, look(0.0, confirmed=0))
    streams.note(PRIMARY, replace(look(9.0, confirmed=0), senders=()))
    assert streams.owed(PRIMARY) == {}
    assert not streams.owes_long(PRIMARY, Instant(NOW + 99.0))
