"""What another configuration changes: which clusters come, go, or have other settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import ClusterName


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Clusters by what becomes of them."""

    added: tuple[ClusterName, ...]
    removed: tuple[ClusterName, ...]
    changed: tuple[ClusterName, ...]

    @property
    def sentence(self) -> str:
        """For whoever asked for it."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        words = [f"{what}: {', '.join(sorted(names))}" for what, names in kinds.items() if names]
        return "; ".join(words) or "nothing changed"


def compare(
    before: Mapping[ClusterName, ClusterSpec], after: Mapping[ClusterName, ClusterSpec]
) -> Reconfigured:
    """What is different now."""
    return Reconfigured(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name, spec in after.items() if name in before and before[name] != spec),
    )
