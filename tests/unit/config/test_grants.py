"""The text of the roles' script; what it does on servers is shown in tests/postgres."""

import pytest

from pgvigil.config.grants import PARAMETERS, grants
from pgvigil.errors import UsageError


def statements(*arguments: object) -> list[str]:
    """The lines of the script that are no comments."""
    script = grants(*arguments)  # type: ignore[arg-type]  # as the tests give them
    return [line for line in script.splitlines() if line and not line.startswith("--")]


# S3-09
@pytest.mark.parametrize("version", [130000, 140012])
def test_before_15_the_script_says_what_needs_the_shell(version: int) -> None:
    lines = statements(version, "watcher", "streamer")
    assert not [line for line in lines if "PARAMETER" in line or "pg_checkpoint" in line]
    assert [line for line in lines if "pg_promote" in line]
    assert "through the shell of the node's host" in grants(version, "watcher", "streamer")


@pytest.mark.parametrize(("version", "told"), [(130000, True), (140012, False), (180000, False)])
def test_on_13_the_script_says_how_passwords_fit_pg_hba(version: int, told: bool) -> None:
    assert ("SET password_encryption = 'scram-sha-256';" in grants(version, "a", "b")) == told


@pytest.mark.parametrize("version", [150000, 160004, 180000])
def test_from_15_on_no_superuser_is_needed(version: int) -> None:
    script = grants(version, "watcher", "streamer")
    for name in PARAMETERS:
        assert f'GRANT ALTER SYSTEM ON PARAMETER {name} TO "watcher";' in script
    assert "Before 15" not in script
    assert ("pg_use_reserved_connections" in script) == (version >= 160000)


def test_each_database_gets_the_functions_and_the_first_the_rewind() -> None:
    lines = statements(160000, "watcher", "streamer", ("postgres", 'my "own"'))
    assert [line for line in lines if line.startswith("\\connect")] == [
        '\\connect "postgres"',
        '\\connect "my ""own"""',
    ]
    assert len([line for line in lines if "pg_promote(" in line]) == 2
    assert [line.split()[-1] for line in lines if "pg_read_binary_file(" in line] == ['"streamer";'] * 2


def test_one_role_for_both_is_made_once() -> None:
    assert len([line for line in statements(160000, "one", "one") if "CREATE ROLE" in line]) == 1


def test_names_are_quoted_whatever_they_are() -> None:
    lines = statements(160000, 'a"; DROP TABLE t; --', "it's")
    assert 'GRANT pg_monitor TO "a""; DROP TABLE t; --";' in "\n".join(lines)
    assert any("'it''s'" in line for line in lines)


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        grants(160000, name, "streamer")


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(UsageError, match="too old"):
        grants(120000, "watcher", "streamer")
