"""Changing a node's replication settings, while it runs and while it does not."""

from collections.abc import Mapping
from typing import Final

from pgvigil.act.bench import DENIED, Bench, Place
from pgvigil.errors import StepFailed
from pgvigil.model.spec import ClusterSpec, FollowedCluster, OwnCommands, slot_name
from pgvigil.model.units import NodeName
from pgvigil.ports.contract import QueryFailed
from pgvigil.ports.host import quoted

OWN_RELOAD_S: Final = 30.0
"""A service manager may be asked."""
QUOTED_LISTS: Final = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Parameters whose items the server quotes one by one (guc.h: GUC_LIST_QUOTE)."""


def upstream_settings(spec: ClusterSpec, node: NodeName, upstream: NodeName | None) -> dict[str, str]:
    """The settings that point a standby at an upstream; without one it is cut.

    Written by us, never by `pg_basebackup -R`, whose options an older server may refuse (SAFETY §5).
    No password: the server's libpq takes it from its passfile.
    """
    if upstream is None:
        return {"primary_conninfo": ""}
    if spec.standby_of and spec.standby_of.is_upstream(upstream):
        return site_settings(spec, node, spec.standby_of)
    target = spec.node(upstream)
    keywords = {**dict(spec.replication.conninfo), "host": target.host, "port": str(target.port)}
    keywords["application_name"] = node
    settings = {"primary_conninfo": conninfo_text(keywords)}
    settings["primary_slot_name"] = slot_name(node) if spec.replication.slots else ""
    return settings


def site_settings(spec: ClusterSpec, node: NodeName, there: FollowedCluster) -> dict[str, str]:
    """What has a leader stream from whoever is primary of another cluster (manual: 34.1.1.3)."""
    keywords = {**dict(there.conninfo), "host": there.host, "port": there.port}
    keywords |= {"target_session_attrs": "read-write", "application_name": application_name(spec, node)}
    return {"primary_conninfo": conninfo_text(keywords), "primary_slot_name": there.slot}


def application_name(spec: ClusterSpec, node: NodeName) -> str:
    """What a leader is called there: as no node can be, so that no commit waits for it by mistake."""
    return f"{spec.name}/{node}"


def conninfo_text(keywords: Mapping[str, str]) -> str:
    """A connection string made of libpq keywords (manual: 34.1.1)."""
    return " ".join(f"{key}={_conninfo_value(value)}" for key, value in keywords.items())


async def set_running(bench: Bench, node: NodeName, settings: Mapping[str, str | None]) -> None:
    """ALTER SYSTEM (None: RESET) and reload; through the host where the login may not. Raises StepFailed."""
    try:
        await alter_system(bench, node, settings)
        await bench.sql(node, "select pg_reload_conf()")
    except QueryFailed as refused:
        place = await _write_instead(bench, node, settings, refused)
        reload = f'read -r p < {quoted(place.data_dir)}/postmaster.pid && kill -HUP "$p"'
        await place.must(reload, "reloading", within_s=3.0)


async def set_and_reload(bench: Bench, node: NodeName, settings: Mapping[str, str | None]) -> None:
    """`set_running` where somebody asks for a reload: by the node's own command, if it has one.

    Steps that change roles do not wait for such a command, nor for a shell. Raises StepFailed.
    """
    control = bench.spec.node(node).control
    if not isinstance(control, OwnCommands) or not control.reload:
        await set_running(bench, node, settings)
        return
    place = bench.place(node)  # before anything is changed
    try:
        await alter_system(bench, node, settings)
    except QueryFailed as refused:
        await _write_instead(bench, node, settings, refused)
    await place.must(control.reload, "reloading by its own command", within_s=OWN_RELOAD_S)


async def _write_instead(
    bench: Bench, node: NodeName, settings: Mapping[str, str | None], refused: QueryFailed
) -> Place:
    """Through the host, where the login may not. Raises StepFailed, also if another reason was given."""
    if refused.sqlstate != DENIED:
        raise StepFailed(f"settings of {node} cannot be changed", detail=str(refused)) from refused
    place = bench.place(node)
    await write(place, settings)
    return place


async def alter_system(bench: Bench, node: NodeName, settings: Mapping[str, str | None]) -> None:
    """One ALTER SYSTEM each, without a reload; the server checks each value first. Raises QueryFailed."""
    for name, value in settings.items():
        if value is None:
            await bench.sql(node, f"alter system reset {name}")
        else:
            await bench.sql(node, f"alter system set {name} = {_assigned(name, value)}")


def _assigned(name: str, value: str) -> str:
    """A value as ALTER SYSTEM wants it: where lists are quoted item by item, so must they be given."""
    if name.lower() in QUOTED_LISTS and value:
        return ", ".join(_literal(item.strip().strip('"')) for item in value.split(","))
    return _literal(value)


async def write(place: Place, settings: Mapping[str, str | None]) -> None:
    """Set (None: remove) settings in `postgresql.auto.conf` through the host, in one rename.

    For servers that do not run, or whose login may not ALTER SYSTEM. Raises StepFailed.
    """
    file = f"{place.data_dir}/postgresql.auto.conf"
    names = "|".join(settings)
    lines = [f"{name} = {_file_value(value)}" for name, value in settings.items() if value is not None]
    printed = "".join(f"printf '%s\\n' {quoted(line)} && " for line in lines)
    script = (
        f'umask 077; f={quoted(file)}; [ -f "$f" ] || : > "$f"; '
        f'{{ grep -Ev \'^[[:space:]]*({names})[[:space:]]*=\' "$f"; {printed}:; }} > "$f.pgvigil" && '
        'sync "$f.pgvigil" 2>/dev/null; mv "$f.pgvigil" "$f"'
    )
    await place.must(script, "writing postgresql.auto.conf", within_s=5.0)


def _file_value(value: str) -> str:
    """As in postgresql.conf, where a backslash escapes too (manual: 20.1.2)."""
    return _literal(value.replace("\\", "\\\\"))


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _conninfo_value(value: str) -> str:
    if value and not set(value) & set(" '\\"):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
