"""What stands behind the HTTP face beside `Operations`. Light: whoever makes it needs no HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pgvigil.controller.operations import Giver
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName


@dataclass(frozen=True, slots=True)
class Backing:
    """Functions of the controller's process."""

    denied: Callable[[ClusterName, str, Giver, str, int], None]
    """Keeps that a command was given by somebody who may not: cluster, command, who, why, untold before."""
    spec: Callable[[ClusterName], ClusterSpec]
    """The settings of a cluster that there is."""
    check: Callable[[ClusterName], Awaitable[list[CheckItem]]]
    """Looks whether a cluster is ready. Raises ConfigError, UsageError."""
    looked_at: Callable[[ClusterName], Awaitable[None]]
    """Until a controller that was just started, or started anew, has looked at the cluster; not for ever."""
    reload: Callable[[], Awaitable[str]]
    """Reads the configuration again; what changed, as a sentence. Raises ConfigError."""
    late_s: Callable[[], float] = lambda: 0.0
    """By how many seconds in all the controller's own loop ran late."""
    slowdown: Callable[[], float] = lambda: 1.0
    """How many times longer than configured a calm cluster waits to be looked at."""
