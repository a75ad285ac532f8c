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
}
"""Schema version → the fields of a record that came with it, and what they are in an older one."""
TABLES: Final[Mapping[int, str]] = {5: shelf.TABLE, 6: versions.TABLE}
"""Schema version → the tables that came with it."""


def renew(db: sqlite3.Connection, version: int, to: int) -> None:
    """Rewrite every record from `version` to `to`, and add tables, all or nothing. Raises sqlite3.Error."""
    added: dict[str, object] = {}
    for since, fields in ADDED.items():
        added |= fields if since > version else {}
    with db:
        db.execute("BEGIN IMMEDIATE")
        for cluster, body in db.execute("SELECT cluster, body FROM record").fetchall():
            renewed = json.dumps({**added, **json.loads(body)})
            db.execute("UPDATE record SET body = ? WHERE cluster = ?", (renewed, cluster))
        for since, tables in TABLES.items():
            for statement in tables.split(";") if since > version else ():
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {to}")
