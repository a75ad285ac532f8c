"""Turns the configuration of other programs into ours, and says what was not taken over and why.

Values that could be secrets are never printed: notes name a setting by its place only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pgvigil.config.imports.patroni import from_patroni
from pgvigil.config.imports.pg_auto_failover import from_pg_auto_failover
from pgvigil.config.imports.repmgr import from_repmgr
from pgvigil.config.imports.written import Imported, Source

IMPORTERS: Final[Mapping[str, Callable[[Sequence[Source], str], Imported]]] = {
    "patroni": from_patroni,
    "repmgr": from_repmgr,
    "pg_auto_failover": from_pg_auto_failover,
}
"""By the name of the program; from its files and the name that the cluster is to have (empty: its own)."""

__all__ = ["IMPORTERS", "Imported", "Source"]
