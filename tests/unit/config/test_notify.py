"""The `notify` section: what is accepted, what is refused, and how clusters differ from defaults."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgvigil.cli.app import app
from pgvigil.cli.changing import Change
from pgvigil.config.load import Config, parse
from pgvigil.config.service_unit import Service, service_unit
from pgvigil.errors import ConfigError
from pgvigil.model.notify import Quiet, Source, TargetSpec
from pgvigil.model.record import Level
from pgvigil.model.units import ClusterName

CLUSTERS = "clusters: {orders: {nodes: {pg1: h}}, logs: {nodes: {pg1: h}%s}}\n"


def read(text: str, more: str = "") -> Config:
    return parse((text + CLUSTERS % more).encode(), Path("/etc/pgvigil/pgvigil.yaml"), {})


def target(config: Config, cluster: str, name: str) -> TargetSpec:
    return next(each for each in config.notify[ClusterName(cluster)] if each.name == name)


def test_a_cluster_lays_its_own_over_the_defaults() -> None:
    config = read(
        "notify: {level: alert, targets: {mail: {url_file: mail.url, also: [drill]}, chat: 'json://h'}}\n",
        ", notify: {targets: {mail: {level: none}, chat: {url_env: X}, more: 'json://m'}}",
    )
    assert config.notify[ClusterName("orders")] == (
        TargetSpec(
            "mail", Source.FILE, "/etc/pgvigil/mail.url", Level.ALERT, ("drill",),
            rate=target(config, "logs", "mail").rate,
        ),
        TargetSpec("chat", Source.GIVEN, "json://h", Level.ALERT, rate=target(config, "logs", "mail").rate),
    )  # fmt: skip
    assert target(config, "logs", "mail").level is None
    assert target(config, "logs", "chat").source is Source.ENVIRONMENT
    assert target(config, "logs", "more").level is Level.ALERT


@pytest.mark.parametrize(
    ("text", "quiet"),
    [
        ("22:00-07:00", (Quiet(1320, 420),)),
        ("sat,sun 00:00-24:00", (Quiet(0, 1440, frozenset({5, 6})),)),
        ("fri-mon 01:00 - 02:30", (Quiet(60, 150, frozenset({4, 5, 6, 0})),)),
    ],
)
def test_quiet_times(text: str, quiet: tuple[Quiet, ...]) -> None:
    config = read(f"notify: {{quiet: '{text}', targets: {{mail: 'json://h'}}}}\n")
    assert target(config, "orders", "mail").quiet == quiet


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("{targets: {mail: {level: alert}}}", "needs one of url, url_file"),
        ("{targets: {mail: {url: 'json://x', url_env: X}}}", "needs one of url, url_file"),
        ("{title: '{cluster} {passwd}'}", "has {passwd}; in braces may stand"),
        ("{body: '{text.__class__}'}", "in braces may stand"),
        ("{body: '{'}", "in braces may stand"),
        ("{level: error}", "must be one of info, warning, alert, none"),
        ("{quiet: '25:00-07:00'}", "no time of day"),
        ("{quiet: '22-7'}", "must be a time of day"),
        ("{quiet: 'someday 22:00-07:00'}", "a day that is none of mon"),
        ("{timezone: Mars/Phobos}", "no time zone"),
        ("{also: 'Drill!'}", "must be a kind of event"),
        ("{rate: 5}", "must be a number of times"),
        ("{targets: {mail: {url_env: '1 x'}}}", "name of an environment variable"),
    ],
)
def test_refused(section: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"notify: {section}\n")
    assert complaint in refused.value.detail


def test_no_url_is_in_what_people_see() -> None:
    config = read("notify: {targets: {mail: 'json://u:hidden@h'}}\n")
    assert "hidden" not in repr(config)
    with pytest.raises(ConfigError) as refused:
        read("notify: {targets: {mail: {url: ['json://u:hidden@h']}}}\n")
    assert "hidden" not in str(refused.value)


def test_a_change_of_the_file_is_shown_without_urls() -> None:
    config = read("notify: {targets: {mail: 'json://u:hidden@h'}}\n")
    old = "notify: {targets: {mail: {url: 'json://u:hidden@h/hidden'}}}\n"
    shown = "\n".join(Change(config.file, old, old + "log: {level: info}\n", config).diff)
    assert "json://…" in shown
    assert "hidden" not in shown
    assert "+log: {level: info}" in shown


def test_the_unit_brings_the_file_of_a_url() -> None:
    config = read("notify: {targets: {mail: {url_file: $CREDENTIALS_DIRECTORY/mail.url}}}\n")
    (target,) = config.notify[ClusterName("orders")]
    unit = service_unit(
        Service(("/bin/pgvigil",), "/c", "/var/lib/pgvigil", "/s", "", config.clusters, (target,))
    )
    assert "LoadCredential=mail.url:/etc/pgvigil/credentials/mail.url" in unit


def test_where_messages_go_is_listed_without_urls(tmp_path: Path) -> None:
    file = tmp_path / "pgvigil.yaml"
    targets = "mail: {url_env: X}, chat: 'json://u:hidden@h'"
    file.write_text(f"notify: {{targets: {{{targets}}}}}\n" + CLUSTERS % "")
    listed = CliRunner().invoke(app, ["notify", "list", "--json", "--config", str(file)])
    rows = json.loads(listed.stdout)
    assert [(row["target"], row["url_from"]) for row in rows] == [("mail", "url_env"), ("chat", "url")]
    assert rows[0]["clusters"] == ["orders", "logs"]
    assert "hidden" not in listed.output


def test_callbacks_on_nodes_need_a_shell() -> None:
    with pytest.raises(ConfigError) as refused:
        read("hooks: {callbacks: /bin/script}\n")
    assert "there is no shell on pg1" in refused.value.detail
    read("hooks: {callbacks: [{command: /bin/script, run_on: controller}]}\n")
