from datetime import UTC, datetime, timedelta

import pytest
import yaml

from pgvigil.controller.survey.ask_host import clock_distance, read_host
from pgvigil.controller.survey.describe import scalar
from pgvigil.controller.survey.discover import is_loopback, likely_shell, line_of_pg_hba
from pgvigil.controller.survey.seen import conninfo_keywords, holds_password
from pgvigil.model.shell import LocalShell, SshShell
from pgvigil.model.units import bytes_text


@pytest.mark.parametrize(
    "text",
    [
        "pg1",
        "10.0.0.11",
        "::1",
        "no",
        "1",
        "0x10",
        "a: b",
        "# x",
        'say "hi" \\ bye',
        "ü",
        "a\nb",
        "",
        "~",
        "=",
        "/a b",
    ],
)
def test_scalar_comes_back_from_yaml_as_the_same_text(text: str) -> None:
    assert yaml.safe_load(f"{{{scalar(text)}: {scalar(text)}}}") == {text: text}


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("host=a port=1", {"host": "a", "port": "1"}),
        (r"host = 'a b' passfile='it\'s'", {"host": "a b", "passfile": "it's"}),
        (r"user=a\ b application_name=''", {"user": "a b", "application_name": ""}),
        ("postgresql://u@h/db", {}),
        ("", {}),
    ],
)
def test_conninfo_is_read_as_libpq_reads_it(text: str, keywords: dict[str, str]) -> None:
    assert conninfo_keywords(text) == keywords


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("host=a password=x", True),
        ("host=a PASSWORD = 'x y'", True),
        ("postgresql://u:x@h/db", True),
        ("postgresql://u@h:5432/db", False),
        ("host=a passfile=/x", False),
    ],
)
def test_password_in_a_connection_string_is_seen(text: str, holds: bool) -> None:
    assert holds_password(text) is holds


def test_clock_is_only_off_by_what_the_way_does_not_explain() -> None:
    before = datetime(2026, 1, 1, tzinfo=UTC)
    after = before + timedelta(seconds=3)
    start = before.timestamp()
    assert clock_distance(f"{start + 1:.3f}", before, after) == 0
    assert clock_distance(f"{start + 8:.3f}", before, after) == 5
    assert clock_distance(f"{start - 8:.3f}", before, after) == -8
    assert clock_distance(f"{int(start)}.%N", before, after) == 0
    assert clock_distance("date: not found", before, after) is None


def test_host_without_a_data_directory_is_still_a_host() -> None:
    host = read_host("user=postgres\nuid=101\nbin=\nmissing=pg_rewind\nversion=\nfree=\n", None)
    assert (host.user, host.is_root, host.missing) == ("postgres", False, ("pg_rewind",))
    assert host.free_bytes is None
    assert not host.running


@pytest.mark.parametrize("host", ["", "/run/postgresql", "@sock", "localhost", "127.0.0.2", "::1"])
def test_loopback_means_the_host_that_says_it(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("db1")


def test_sizes_are_for_people() -> None:
    assert [bytes_text(n) for n in (0, 900, 4096, 3_500_000_000)] == [
        "0 bytes",
        "900 bytes",
        "4.0 kB",
        "3.3 GB",
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            'no pg_hba.conf entry for host "10.0.0.5", user "pgvigil", database "postgres"',
            "postgres pgvigil 10.0.0.5/32",
        ),
        ('no pg_hba.conf entry for host "fd00::5", user "me", no encryption', "postgres pgvigil fd00::5/128"),
        ('pg_hba.conf rejects "somebody"', "postgres pgvigil OUR-ADDRESS/32"),
    ],
)
def test_a_server_without_a_line_for_us_is_told_which_it_wants(said: str, line: str) -> None:
    assert f": host {line} scram-sha-256 " in line_of_pg_hba(said, {"user": "pgvigil", "dbname": "postgres"})


def test_a_key_is_for_other_hosts_only() -> None:
    assert likely_shell("10.0.0.11", ssh_key="k") == SshShell("10.0.0.11", "postgres", keys=("k",))
    assert likely_shell("localhost", ssh_key="k") == LocalShell()
