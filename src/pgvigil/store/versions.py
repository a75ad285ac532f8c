"""The versions of each cluster's parameters in the SQLite file, and what is tried. In the store's thread."""

import sqlite3
from typing import Final

from pgvigil.model.parameter import ParameterVersion, Trial
from pgvigil.model.units import ClusterName
from pgvigil.store.codec import from_json, to_json
from pgvigil.store.limits import version_taken

TABLE: Final = """
CREATE TABLE parameter_version (
  cluster TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (cluster, number)
);
"""
TRIAL_TABLE: Final = """
CREATE TABLE parameter_trial (cluster TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


def add(db: sqlite3.Connection, version: ParameterVersion) -> None:
    """Insert a version and forget its trial, in a transaction of the caller.

    Raises StoreError if its number is taken.
    """
    added = db.execute(
        "INSERT INTO parameter_version (cluster, number, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (version.cluster, version.number, to_json(version)),
    )
    if not added.rowcount:
        raise version_taken(version)
    note_trial(db, version.cluster, None)


def newest(db: sqlite3.Connection, cluster: ClusterName, limit: int) -> tuple[ParameterVersion, ...]:
    """The newest `limit` versions, oldest first."""
    rows = db.execute(
        "SELECT body FROM parameter_version WHERE cluster = ? ORDER BY number DESC LIMIT ?", (cluster, limit)
    ).fetchall()
    return tuple(from_json(ParameterVersion, body) for (body,) in reversed(rows))


def note_trial(db: sqlite3.Connection, cluster: ClusterName, trial: Trial | None) -> None:
    """Put it in the place of what was noted before. None: nothing is tried any more."""
    db.execute("DELETE FROM parameter_trial WHERE cluster = ?", (cluster,))
    if trial is not None:
        db.execute("INSERT INTO parameter_trial (cluster, body) VALUES (?, ?)", (cluster, to_json(trial)))


def trial(db: sqlite3.Connection, cluster: ClusterName) -> Trial | None:
    """What is noted."""
    row = db.execute("SELECT body FROM parameter_trial WHERE cluster = ?", (cluster,)).fetchone()
    return from_json(Trial, row[0]) if row else None
