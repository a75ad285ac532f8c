"""Reads what users write to name a server: a libpq connection string or URI, with libpq's environment."""

import os

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from pgvigil.errors import UsageError


def libpq_keywords(dsn: str) -> dict[str, str]:
    """The keywords of a connection string or URI; what it leaves out comes from PGHOST and its kin.

    Lists of hosts and ports stay lists. `PGPASSWORD` is left where it is: libpq takes it from there.
    Raises UsageError, which never repeats the text: it may hold a password.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.Error as error:
        reason = str(error).partition('"')[0].strip() or "libpq does not understand it"
        raise UsageError(
            "this is no connection string",
            detail=reason,
            hint='write "host=10.0.0.11 user=pgvigil dbname=postgres" or postgresql://pgvigil@10.0.0.11/postgres',
        ) from None
    known = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    for key, variable in known.items():
        if variable and key not in given and key != "password":
            value = os.environ.get(variable.decode())
            if value:
                given[key] = value
    return given
