"""What our login and the standbys' login may do. Asked by has_…_privilege, never by trying."""

from collections.abc import Iterator

from pgvigil.controller.survey.ask_sql import CHANGED
from pgvigil.controller.survey.items import advice, error, identifier, listed, warning
from pgvigil.controller.survey.seen import ClusterSeen, SqlSeen
from pgvigil.model.check import CheckItem
from pgvigil.model.spec import Protection


def rights(seen: ClusterSeen) -> Iterator[CheckItem]:
    """Rights are the same on all nodes: the primary is asked, else whoever answers."""
    source = seen.primary or next((node for node, _ in seen.answers()), None)
    if source is None or source.answer is None:
        return
    place, sql = seen.spec.name, source.answer
    if not sql.superuser:
        shells = all(node.host_answer for node in seen.nodes)
        yield from _looking(place, sql)
        yield from _changing(place, sql, shells=shells)
        yield from _slots_and_checkpoints(seen, sql)
        if seen.spec.protection is Protection.QUORUM:
            yield from _proving(place, sql, shells=shells)
    yield from _rewinding(seen, sql)


def _looking(place: str, sql: SqlSeen) -> Iterator[CheckItem]:
    if sql.rights.get("pg_monitor") is False:
        what = f"{sql.user} may not look: without pg_monitor neither settings nor standbys can be seen"
        yield error(place, what, f"GRANT pg_monitor TO {identifier(sql.user)};")


def _changing(place: str, sql: SqlSeen, *, shells: bool) -> Iterator[CheckItem]:
    """What a failover does over SQL; where a shell works on every node, that does it too."""
    user = identifier(sql.user)
    say = advice if shells else error
    instead = (
        "; it goes through the shell instead, which takes longer" if shells else ", and no shell can do it"
    )
    if sql.rights.get("pg_promote") is False:
        what = f"{sql.user} may not promote{instead}"
        fix = f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {user};"
        yield say(place, what, fix)
    if sql.rights.get("pg_reload_conf") is False:
        what = f"{sql.user} may not reload settings{instead}"
        yield say(place, what, f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {user};")
    denied = [name for name in CHANGED if not sql.rights.get(name, False)]
    if denied:
        what = f"{sql.user} may not point standbys at another node (ALTER SYSTEM){instead}"
        fix = f"GRANT ALTER SYSTEM ON PARAMETER {', '.join(denied)} TO {user};"
        yield say(place, what, fix if sql.major >= 15 else f"before 15 only: ALTER ROLE {user} SUPERUSER;")


def _proving(place: str, sql: SqlSeen, *, shells: bool) -> Iterator[CheckItem]:
    """What `quorum` takes: setting who is waited for, and seeing that commits do wait."""
    user = identifier(sql.user)
    if not sql.rights.get("synchronous_standby_names", False):
        say, instead = (advice, "; it goes through the shell instead") if shells else (error, "")
        grant = f"GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {user};"
        fix = grant if sql.major >= 15 else f"before 15 only: ALTER ROLE {user} SUPERUSER;"
        yield say(place, f"{sql.user} may not set who commits wait for (ALTER SYSTEM){instead}", fix)
    if sql.rights.get("pg_read_all_stats") is False:
        what = f"{sql.user} may not see what sessions wait for: it can never be proved that commits wait"
        yield error(place, what, f"GRANT pg_monitor TO {user};")
    if sql.rights.get("pg_logical_emit_message") is False:
        what = f"{sql.user} may not write a commit of its own: it can never be proved that commits wait"
        function = "pg_logical_emit_message(boolean, text, text"
        function += ", boolean)" if sql.major >= 17 else ")"
        yield error(place, what, f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {user};")
    if sql.rights.get("pg_terminate_backend") is False:
        what = f"{sql.user} may not end a session of its own whose commit waits in vain: it stays there"
        function = (
            "pg_terminate_backend(integer, bigint)" if sql.major >= 14 else "pg_terminate_backend(integer)"
        )
        yield warning(place, what, f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {user};")


def _slots_and_checkpoints(seen: ClusterSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    user = identifier(sql.user)
    if not sql.rights.get("replication", False) and seen.spec.replication.slots:
        what = f"{sql.user} may not make replication slots: after a failover standbys would go without"
        yield warning(seen.spec.name, what, f"ALTER ROLE {user} REPLICATION;")
    if sql.rights.get("pg_signal_backend") is False:
        what = f"{sql.user} may not end a session that still holds the slot of a returning standby"
        yield advice(seen.spec.name, what, f"GRANT pg_signal_backend TO {user};")
    if sql.rights.get("pg_checkpoint") is False:
        what = f"{sql.user} may not order a checkpoint: switchovers take longer"
        yield advice(seen.spec.name, what, f"GRANT pg_checkpoint TO {user};")


def _rewinding(seen: ClusterSeen, sql: SqlSeen) -> Iterator[CheckItem]:
    """pg_rewind logs in as the standbys do."""
    role = dict(seen.spec.replication.conninfo).get("user", "")
    if not role:
        what = "it is not said as whom standbys log in at the primary"
        yield error(seen.spec.name, what, "replication: {user: …}  in the configuration")
    elif sql.rewind_rights is None and not any("pg_rewind" in what for what in sql.unread):
        what = f"there is no role {role}, as which standbys are to log in"
        fix = f"CREATE ROLE {identifier(role)} LOGIN REPLICATION;  then \\password {role}"
        yield error(seen.spec.name, what, fix)
    elif denied := [name for name, may in (sql.rewind_rights or {}).items() if not may]:
        names = sorted({name.partition("(")[0] for name in denied})
        grants = ", ".join(f"pg_catalog.{name.replace(',', ', ')}" for name in denied)
        yield warning(
            seen.spec.name,
            f"{role} may not call {listed(names)}: pg_rewind cannot work, old primaries are copied anew",
            f"GRANT EXECUTE ON FUNCTION {grants} TO {identifier(role)};",
        )
