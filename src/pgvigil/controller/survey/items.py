"""Short ways to make check items, and to name places."""

from pgvigil.controller.survey.seen import ClusterSeen, NodeSeen
from pgvigil.model.check import CheckItem, CheckLevel


def fine(place: str, what: str) -> CheckItem:
    """Looked at, nothing to do."""
    return CheckItem(CheckLevel.OK, place, what)


def advice(place: str, what: str, fix: str) -> CheckItem:
    """It works; it would work better otherwise."""
    return CheckItem(CheckLevel.ADVICE, place, what, fix)


def warning(place: str, what: str, fix: str) -> CheckItem:
    """Protected, but not in every case."""
    return CheckItem(CheckLevel.WARNING, place, what, fix)


def error(place: str, what: str, fix: str) -> CheckItem:
    """Not protected before this is mended."""
    return CheckItem(CheckLevel.ERROR, place, what, fix)


def at(seen: ClusterSeen, node: NodeSeen) -> str:
    """The place of a node: `orders/pg1`."""
    return f"{seen.spec.name}/{node.name}"


def listed(names: list[str]) -> str:
    """`pg1`, `pg1 and pg2`, `pg1, pg2 and pg3`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def identifier(name: str) -> str:
    """A role or database as SQL needs it."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain and not name[:1].isdigit() else '"' + name.replace('"', '""') + '"'


def set_and_restart(name: str, value: str) -> str:
    """How to change a setting that only counts after a restart."""
    return f"ALTER SYSTEM SET {name} = {value};  then restart the server (standbys first if it grows)"


def set_and_reload(name: str, value: str) -> str:
    """How to change a setting that counts at once."""
    return f"ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf();"
