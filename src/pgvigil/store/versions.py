"""The versions of each cluster's parameters in the SQLite file. Runs in the store's thread."""

import sqlite3
from typing import Final

from pgvigil.model.parameter import ParameterVersion
from pgvigil.model.units import ClusterName
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.limits import version_taken

TABLE: Final = """
CREATE TABLE parameter_version (
  cluster TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (cluster, number)
);
"""


def add(db: sqlite3.Connection, version: ParameterVersion) -> None:
    """Insert a version, in a transaction of the caller. Raises StoreError if its number is taken."""
    added = db.execute(
        "INSERT INTO parameter_version (cluster, number, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (version.cluster, version.number, to_json(version)),
    )
    if not added.rowcount:
        raise version_taken(version)


def newest(db: sqlite3.Connection, cluster: ClusterName, limit: int) -> tuple[ParameterVersion, ...]:
    """The newest `limit` versions, oldest first."""
    rows = db.execute(
        "SELECT body FROM parameter_version WHERE cluster = ? ORDER BY number DESC LIMIT ?", (cluster, limit)
    ).fetchall()
    return tuple(from_json(ParameterVersion, body) for (body,) in reversed(rows))
