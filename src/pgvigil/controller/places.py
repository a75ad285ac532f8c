"""Where nodes keep their data and programs: as configured, else as it was learnt and is on record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pgvigil.model.record import ClusterRecord, Paths
from pgvigil.model.spec import ClusterSpec
from pgvigil.model.units import NodeName

NOWHERE: Final = Paths()
"""Nothing is known."""


def known_paths(spec: ClusterSpec, record: ClusterRecord | None, name: NodeName) -> Paths:
    """A node's paths, as configured, else as remembered."""
    node = spec.node(name)
    known = (record.paths.get(name) if record else None) or NOWHERE
    if node.data_dir == node.bin_dir == node.config_file == "":
        return known
    return Paths(
        node.data_dir or known.data_dir,
        node.bin_dir or known.bin_dir,
        node.config_file or known.config_file,
    )


def remembered(record: ClusterRecord, learnt: Mapping[NodeName, Paths]) -> ClusterRecord:
    """The record with what was learnt, once something is known of every node."""
    if learnt == record.paths:
        return record
    removed = {name: NOWHERE for name in record.paths if name not in learnt}  # their slots remain
    if {**removed, **learnt} != record.paths and all(paths.data_dir for paths in learnt.values()):
        return replace(record, paths={**removed, **learnt})
    return record
