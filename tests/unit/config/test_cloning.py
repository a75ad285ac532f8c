"""What `clone:` takes, and what it refuses."""

from datetime import timedelta
from pathlib import Path

import pytest

from pgvigil.config.load import parse
from pgvigil.errors import ConfigError
from pgvigil.model.spec import CheckpointPace, Cloning

FILE = Path("/etc/pgvigil.yaml")
TEXT = "clusters: {{orders: {{nodes: {{pg1: h1, pg2: h2}}, clone: {}}}}}"


def read(clone: str) -> Cloning:
    return parse(TEXT.format(clone).encode(), FILE, {"HOME": "/root"}).clusters[0].cloning


# S2-19
def test_what_is_set_is_taken() -> None:
    assert read("{}") == Cloning()
    text = '{max_rate: 50MB, checkpoint: spread, command: "wal-g fetch {new_dir} ${X}", command_timeout: 2h}'
    command = "wal-g fetch {new_dir} ${X}"
    assert read(text) == Cloning(50 * 2**20, CheckpointPace.SPREAD, command, timedelta(hours=2))


@pytest.mark.parametrize(
    ("clone", "told"),
    [
        ("{max_rate: 1kB}", "from 32kB to 1GB"),
        ("{max_rate: 2GB}", "from 32kB to 1GB"),
        ("{max_rate: 50}", "needs a unit"),
        ("{checkpoint: slow}", "checkpoint"),
        ('{command: "restore {newdir}"}', "knows no {newdir}"),
        ('{command: "restore {data_dir}"}', "must name {new_dir}"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(clone: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(clone)
    assert told in refused.value.detail
    assert "clone." in refused.value.detail
