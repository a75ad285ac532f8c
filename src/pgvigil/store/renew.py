"""Bringing a store that an older pgvigil wrote up to date, once, when it is opened."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Final

from pgvigil.store import shelf, versions

ADDED: Final[Mapping[int, Mapping[str, object]]] = {
    2: {"sync": None, "sync_next": None},
    3: {"restarts": [], "rescue_from": []},
    4: {"maintenance": []},
    5: {},
    6: {},
    7: {"scheduled": []},
    8: {},
    9: {"underway": None},
    10: {},
    11: {"standby_cluster": False},
}
"""Schema version → the fields of a record that came with it, and what they are in an older one."""
OF_SCHEDULED: Final[Mapping[int, Mapping[str, object]]] = {8: {"every_s": None}}
"""The same for each of what is scheduled in a record."""
TABLES: Final[Mapping[int, str]] = {
    5: shelf.TABLE,
    6: versions.TABLE,
    10: versions.TRIAL_TABLE,
}
"""Schema version → the tables that came with it."""


def renew(db: sqlite3.Connection, version: int, to: int) -> None:
    """Rewrite every record from `version` to `to`, and add tables, all or nothing. Raises sqlite3.Error."""
    added, of_scheduled = _since(ADDED, version), _since(OF_SCHEDULED, version)
    with db:
        db.execute("BEGIN IMMEDIATE")
        for cluster, body in db.execute("SELECT cluster, body FROM record").fetchall():
            renewed = {**added, **json.loads(body)}
            renewed["scheduled"] = [{**of_scheduled, **each} for each in renewed["scheduled"]]
            db.execute("UPDATE record SET body = ? WHERE cluster = ?", (json.dumps(renewed), cluster))
        for since, tables in TABLES.items():
            for statement in tables.split(";") if since > version else ():
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {to}")


def _since(fields: Mapping[int, Mapping[str, object]], version: int) -> dict[str, object]:
    """All that came after that version."""
    return {name: value for since, new in fields.items() if since > version for name, value in new.items()}
