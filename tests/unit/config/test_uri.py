from typing import Any

import pytest

from pgvigil.config.uri import Format, Purpose, connection_string
from pgvigil.model.spec import FollowedCluster, NodeSpec, Tag
from pgvigil.model.units import NodeName
from tests.builders import a_cluster, changed_node, changed_spec

C = a_cluster("pg1* pg2")
LOST_HOST = "keepalives_idle=5&keepalives_interval=2&tcp_user_timeout=10000"
WRITE = f"target_session_attrs=read-write&connect_timeout=3&{LOST_HOST}"
READ = f"target_session_attrs=prefer-standby&load_balance_hosts=random&connect_timeout=3&{LOST_HOST}"


def test_of_a_standby_cluster_writes_go_to_whichever_site_takes_them() -> None:
    there = FollowedCluster("main", (NodeSpec(NodeName("main/a1"), "10.9.0.1", 5433),))
    site = changed_spec(C, standby_of=there).spec
    text = connection_string(site, Purpose.WRITE, Format.URI)
    assert text == f"postgresql://10.9.0.1:5433,10.0.0.11:5432,10.0.0.12:5432/?{WRITE}"
    assert "10.9.0.1" not in connection_string(site, Purpose.READ, Format.URI)


# S4-04
@pytest.mark.parametrize(
    ("purpose", "style", "names", "text"),
    [
        (Purpose.WRITE, Format.URI, {}, f"postgresql://10.0.0.11:5432,10.0.0.12:5432/?{WRITE}"),
        (
            Purpose.READ,
            Format.URI,
            {"dbname": "my shop", "user": "me@x"},
            f"postgresql://me%40x@10.0.0.11:5432,10.0.0.12:5432/my%20shop?{READ}",
        ),
        (
            Purpose.WRITE,
            Format.DSN,
            {"dbname": "my shop"},
            "host=10.0.0.11,10.0.0.12 port=5432,5432 dbname='my shop' " + WRITE.replace("&", " "),
        ),
        (
            Purpose.WRITE,
            Format.JDBC,
            {"dbname": "shop"},
            "jdbc:postgresql://10.0.0.11:5432,10.0.0.12:5432/shop?targetServerType=primary&connectTimeout=3",
        ),
    ],
)
def test_all_nodes_in_one_string(purpose: Purpose, style: Format, names: dict[str, Any], text: str) -> None:
    assert connection_string(C.spec, purpose, style, **names) == text


def test_addresses_and_socket_directories_are_written_as_libpq_reads_them() -> None:
    cluster = changed_node(changed_node(C, "pg1", host="fd00::1"), "pg2", host="/run/postgresql")
    text = connection_string(cluster.spec, Purpose.WRITE, Format.URI)
    assert text.startswith("postgresql://[fd00::1]:5432,%2Frun%2Fpostgresql:5432/?")


def test_nodes_kept_from_load_balancing_serve_no_readers() -> None:
    cluster = changed_node(C, "pg1", tags=frozenset({Tag.NO_LOAD_BALANCE}))
    assert "10.0.0.11" not in connection_string(cluster.spec, Purpose.READ, Format.URI)
    assert "10.0.0.11" in connection_string(cluster.spec, Purpose.WRITE, Format.URI)
