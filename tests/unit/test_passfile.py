"""Password files as libpq reads them."""

import pytest

from pgvigil.ports.host import in_passfile
from pgvigil.ports.secrets import verifier


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*:*:*:replicator:secret", "secret"),
        ("h1:5432:replication:replicator:secret", "secret"),
        ("h2:*:*:replicator:no\nh1:*:*:replicator:yes\n*:*:*:replicator:late", "yes"),
        ("*:*:*:replicator:a\\:b\\\\c", "a:b\\c"),
        ("#*:*:*:replicator:secret", ""),
        ("*:*:*:other:secret", ""),
        ("h1:5433:*:replicator:secret", ""),
        ("*:*:*:replicator", ""),
        ("", ""),
    ],
)
def test_the_first_line_that_fits_has_the_password(text: str, found: str) -> None:
    assert in_passfile(text, host="h1", port=5432, database="replication", user="replicator") == found


def test_a_verifier_does_not_hold_the_password() -> None:
    made = verifier("correct horse", "pgvigil")
    assert made.startswith("SCRAM-SHA-256$4096:")
    assert "horse" not in made
    assert made != verifier("correct horse", "pgvigil")
