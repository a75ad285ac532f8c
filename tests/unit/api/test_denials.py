"""How often somebody who is refused is told of."""

from typing import Any

from pgvigil.api.denials import ADDRESSES_MAX, EVERY_S, TOLD_MAX, Denials
from pgvigil.controller.operations import Giver
from pgvigil.model.units import ClusterName

ORDERS = ClusterName("orders")


class Scene:
    def __init__(self) -> None:
        self.now, self.told = 0.0, list[tuple[Any, ...]]()
        self.denials = Denials(lambda *told: self.told.append(told), lambda: self.now)

    def refuse(self, address: str, times: int = 1) -> None:
        for _ in range(times):
            self.denials.tell(ORDERS, "failover", Giver("somebody", address), "no")


def test_an_address_is_told_of_once_a_minute_with_how_often_it_tried() -> None:
    scene = Scene()
    scene.refuse("http 10.0.0.5", 40)
    scene.refuse("http 10.0.0.6")
    assert [(told[2].whence, told[4]) for told in scene.told] == [("http 10.0.0.5", 0), ("http 10.0.0.6", 0)]
    scene.now = EVERY_S
    scene.refuse("http 10.0.0.5")
    assert scene.told[-1][4] == 39


def test_many_addresses_cannot_flood_either() -> None:
    scene = Scene()
    for number in range(3 * ADDRESSES_MAX):
        scene.refuse(f"http {number}")
    assert len(scene.told) == TOLD_MAX
    assert len(scene.denials._known) == ADDRESSES_MAX
