"""Kinds of faults: what is struck, how long it stays so, and whether a failover may come of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import psycopg

from tests.lab import LabError, LabHost, await_that, faults
from tests.soak.scene import Scene

Strike = Callable[[Scene], tuple[LabHost, ...]]
"""Break something; tells which hosts are to be put right later."""


class Change(Enum):
    """What may become of the primary."""

    NONE = "none"
    """It stays: a failover would be one without cause."""
    MAYBE = "maybe"
    """It may be replaced, started again in place, or be back in time."""
    MUST = "must"
    """Another one, or a new generation of the same."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `lasts_s`: from the strike to the repair, drawn between the two."""

    name: str
    strike: Strike
    change: Change
    lasts_s: tuple[float, float]
    weight: int = 2


def any_standby(scene: Scene) -> LabHost:
    """One of the standbys, drawn."""
    return scene.dice.choice(scene.standbys)


def kill_primary(scene: Scene) -> tuple[LabHost, ...]:
    """SIGKILL to all processes of the primary."""
    primary = scene.primary
    faults.kill_postgres(primary)
    return (primary,)


def kill_postmaster(scene: Scene) -> tuple[LabHost, ...]:
    """SIGKILL to the primary's postmaster alone."""
    primary = scene.primary
    faults.kill_postmaster_only(primary)
    return (primary,)


def kill_backend(scene: Scene) -> tuple[LabHost, ...]:
    """One child of the primary dies: it restarts itself."""
    faults.kill_backend(scene.primary)
    return ()


def lose_primary(scene: Scene) -> tuple[LabHost, ...]:
    """The primary's host loses power; half of the hosts start their server when they come back."""
    primary = scene.primary
    if scene.dice.random() < 0.5:
        scene.to_start.add(primary.name)
    scene.lose_power(primary)
    return (primary,)


def cut_off_primary(scene: Scene) -> tuple[LabHost, ...]:
    """The primary's cable is pulled; it runs on, with a client on its side."""
    primary = scene.primary
    faults.link_down(primary)
    return (primary,)


def cut_primary_one_way(scene: Scene) -> tuple[LabHost, ...]:
    """The primary only hears, or only speaks."""
    primary = scene.primary
    faults.drop_one_way(primary, scene.dice.choice(("in", "out")))
    return (primary,)


def cut_primary_from_controller(scene: Scene) -> tuple[LabHost, ...]:
    """Only the controller does not reach the primary."""
    primary = scene.primary
    faults.isolate(primary, [scene.lab.network.controller_address])
    return (primary,)


def hang_primary(scene: Scene) -> tuple[LabHost, ...]:
    """SIGSTOP to all processes of the primary's server."""
    primary = scene.primary
    faults.freeze(primary)
    return (primary,)


def hang_primary_host(scene: Scene) -> tuple[LabHost, ...]:
    """SIGSTOP to everything on the primary's host; its network answers for what the kernel does."""
    primary = scene.primary
    faults.freeze(primary, everything=True)
    return (primary,)


def stop_primary(scene: Scene) -> tuple[LabHost, ...]:
    """A fast stop of the primary by hand; whoever stopped it starts it again."""
    primary = scene.primary
    faults.stop_clean(primary)
    return (primary,)


def slow_primary(scene: Scene) -> tuple[LabHost, ...]:
    """Every packet from and to the primary is late."""
    primary = scene.primary
    faults.delay(primary, scene.dice.uniform(0.01, 0.15), jitter_s=scene.dice.uniform(0, 0.05))
    return (primary,)


def kill_standby(scene: Scene) -> tuple[LabHost, ...]:
    """SIGKILL to all processes of a standby."""
    standby = any_standby(scene)
    faults.kill_postgres(standby)
    scene.to_start.add(standby.name)
    return (standby,)


def lose_standby(scene: Scene) -> tuple[LabHost, ...]:
    """A standby's host loses power."""
    standby = any_standby(scene)
    scene.to_start.add(standby.name)
    scene.lose_power(standby)
    return (standby,)


def cut_off_standby(scene: Scene) -> tuple[LabHost, ...]:
    """A standby's cable is pulled."""
    standby = any_standby(scene)
    faults.link_down(standby)
    return (standby,)


def cut_standby_from_primary(scene: Scene) -> tuple[LabHost, ...]:
    """A standby and the primary do not hear each other; the controller hears both."""
    standby = any_standby(scene)
    faults.isolate(standby, [scene.primary.address])
    return (standby,)


def hang_standby(scene: Scene) -> tuple[LabHost, ...]:
    """SIGSTOP to a standby's server."""
    standby = any_standby(scene)
    faults.freeze(standby)
    return (standby,)


def kill_controller(scene: Scene) -> tuple[LabHost, ...]:
    """SIGKILL to the controller."""
    scene.product.kill()
    return ()


def switch_over(scene: Scene) -> tuple[LabHost, ...]:
    """An operator asks for another primary, and gets it."""
    scene.product.switchover(any_standby(scene))
    return ()


def kill_primary_and_controller(scene: Scene) -> tuple[LabHost, ...]:
    """The controller dies somewhere in the failover; another goes on."""
    struck = kill_primary(scene)
    time.sleep(scene.dice.uniform(0.0, 0.4))
    scene.product.kill()
    return struck


def cut_off_primary_and_kill_controller(scene: Scene) -> tuple[LabHost, ...]:
    """The same, for a primary that runs on where nobody reaches it."""
    struck = cut_off_primary(scene)
    time.sleep(scene.dice.uniform(3.0, 5.0))
    scene.product.kill()
    scene.product.start(healthy=False)
    return struck


def kill_the_new_primary_too(scene: Scene) -> tuple[LabHost, ...]:
    """The next primary dies within a second of being one."""
    first = scene.primary
    faults.kill_postgres(first)
    await_that(lambda: any(node is not first for node in scene.cluster.primaries()), 30, "another primary")
    time.sleep(scene.dice.uniform(0.0, 1.0))
    second = next(node for node in scene.cluster.primaries() if node is not first)
    faults.kill_postgres(second)
    return (first, second)


def two_at_once(scene: Scene, first: Strike, second: Strike, pause_s: float) -> tuple[LabHost, ...]:
    """The second strikes what is there so long after the first."""
    struck = first(scene)
    time.sleep(pause_s)
    with suppress(LabError, psycopg.Error):  # nothing may be left there that could be struck
        struck += second(scene)
    return struck


STANDBY_FAULTS = (kill_standby, lose_standby, cut_off_standby, hang_standby)
PRIMARY_FAULTS = (kill_primary, lose_primary, cut_off_primary, hang_primary)


def a_standby_then_the_primary(scene: Scene) -> tuple[LabHost, ...]:
    """While a standby is away, in the set still or out of it, the primary is lost."""
    first, second = scene.dice.choice(STANDBY_FAULTS), scene.dice.choice(PRIMARY_FAULTS)
    return two_at_once(scene, first, second, scene.dice.choice((0.0, 0.3, 1.0, 3.0, 6.0)))


def the_primary_then_a_standby(scene: Scene) -> tuple[LabHost, ...]:
    """While the primary is away, a standby is lost: one that is to be cut, or promoted."""
    first, second = scene.dice.choice(PRIMARY_FAULTS), scene.dice.choice(STANDBY_FAULTS)
    return two_at_once(scene, first, second, scene.dice.choice((0.0, 0.05, 0.2, 1.0, 3.0, 3.5, 4.0)))


N, MAYBE, MUST = Change.NONE, Change.MAYBE, Change.MUST
KINDS = (
    Kind("primary: all processes killed", kill_primary, MAYBE, (0, 3), weight=4),
    Kind("primary: postmaster killed", kill_postmaster, MAYBE, (0, 3)),
    Kind("primary: a backend killed", kill_backend, N, (1, 3), weight=1),
    Kind("primary: host lost", lose_primary, MAYBE, (1, 12), weight=4),
    Kind("primary: cut off, runs on with a client", cut_off_primary, MAYBE, (2, 14), weight=5),
    Kind("primary: cut one way", cut_primary_one_way, MAYBE, (2, 12), weight=3),
    Kind("primary: cut off from the controller alone", cut_primary_from_controller, N, (1, 8)),
    Kind("primary: hiccup of the network", cut_off_primary, N, (0.1, 1.5)),
    Kind("primary: hangs", hang_primary, MAYBE, (1, 12), weight=3),
    Kind("primary: hiccup of the server", hang_primary, N, (0.1, 2.0), weight=1),
    Kind("primary: host hangs", hang_primary_host, MAYBE, (2, 12)),
    Kind("primary: stopped cleanly", stop_primary, MAYBE, (0, 10)),
    Kind("primary: slow network", slow_primary, N, (2, 8)),
    Kind("standby: killed", kill_standby, N, (0, 6)),
    Kind("standby: host lost", lose_standby, N, (1, 10), weight=3),
    Kind("standby: cut off", cut_off_standby, N, (1, 10)),
    Kind("standby: cut off from the primary alone", cut_standby_from_primary, N, (1, 8)),
    Kind("standby: hangs", hang_standby, N, (1, 10)),
    Kind("controller killed", kill_controller, N, (0, 4)),
    Kind("switchover", switch_over, MUST, (0, 0), weight=3),
    Kind("double: primary killed, then the controller", kill_primary_and_controller, MAYBE, (0, 3)),
    Kind(
        "double: primary cut off, then the controller killed",
        cut_off_primary_and_kill_controller,
        MAYBE,
        (2, 9),
    ),
    Kind("double: primary killed, then its successor", kill_the_new_primary_too, MAYBE, (0, 3)),
    Kind("double: a standby, then the primary", a_standby_then_the_primary, MAYBE, (1, 10), weight=3),
    Kind("double: the primary, then a standby", the_primary_then_a_standby, MAYBE, (1, 10), weight=3),
)
