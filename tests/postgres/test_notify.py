"""Messages to people over a real failover: by mail, to a webhook, and to one that is down."""

import json
from pathlib import Path

import pytest

from pgvigil.demo.ports import free_port
from pgvigil.demo.servers import LOGIN, Server, Servers, config_text, wait_until
from tests.postgres.mail_server import mail_server, webhook
from tests.postgres.service import Service
from tests.postgres.test_secrets import Watcher

pytestmark = pytest.mark.postgres
SECRETS = ("hidden-mail", "hidden-path", "hidden-down")


def test_a_failover_is_told_and_a_target_that_is_down_harms_nothing(
    servers: Servers, trio_of_servers: tuple[Server, Server, Server], tmp_path: Path
) -> None:
    with mail_server() as (smtp, mails), webhook() as (port, posts):
        (tmp_path / "mail").write_text(
            f"mailto://127.0.0.1:{smtp}?from=pgvigil@example.com&to=ops@example.com&name=hidden-mail\n"
        )
        targets = {
            "mail": {"url_file": str(tmp_path / "mail"), "language": "zh"},
            "hook": {
                "url_command": f"cat {tmp_path}/hook",
                "also": ["rejoined", "follow"],
                "body": "{kind}: {text}",
            },
            "down": {"url": f"json://127.0.0.1:{free_port()}/hidden-down", "level": "alert"},
        }
        (tmp_path / "hook").write_text(f"json://127.0.0.1:{port}/hidden-path")
        (servers.home / "pgvigil.yaml").write_text(
            config_text(
                servers,
                "orders",
                postgres={"user": LOGIN, "dbname": "postgres", "passfile": str(servers.passfile()),
                          "control": "pg_ctl"},
                notify={"targets": targets},
            )
        )  # fmt: skip
        with Watcher() as watcher, Service(servers) as service:
            service.await_health()
            trio_of_servers[0].kill_all()
            service.await_that(lambda status: status["primary"] != "pg1", "a failover")
            service.await_health()
            wait_until(lambda: "新主库已接管写入" in str(mails), within_s=60, what="a mail")
            wait_until(
                lambda: "pg1" in str(posts) and "notify_failed" in str(posts), within_s=60, what="posts"
            )
            wait_until(lambda: "rejoined: " in str(posts), within_s=60, what="a post of the rejoin")
            events = service.command("events", "--json", "-n", "1000")
            listed = service.command("notify", "list", "--json")
            tried = service.command("notify", "test", "--json")
            looked = service.command("notify", "test", "hook", "--dry-run")
    (first,) = [mail for mail in mails if "新主库已接管写入" in mail["title"]][:1]
    assert "(+" in first["title"]  # all of a failover is one mail
    assert "依据：" in first["message"]
    moods = {post["type"] for post in posts}
    assert moods >= {"success"}
    told = [json.loads(line) for line in events.stdout.splitlines()]
    failed = [event for event in told if event["kind"] == "notify_failed"]
    assert [event["data"]["target"] for event in failed] == ["down"]
    assert "Connection refused" in failed[0]["text"]
    results = {row["target"]: row for row in json.loads(tried.stdout)}
    assert {name: row["ok"] for name, row in results.items()} == {"mail": True, "hook": True, "down": False}
    assert (tried.returncode, looked.returncode) == (1, 0)
    assert {row["url_from"] for row in json.loads(listed.stdout)} == {"url_file", "url_command", "url"}
    assert any("pgvigil.ports.notify.deliver" in line for line in watcher.seen)
    seen = (
        *watcher.seen,
        service.log,
        events.stdout,
        listed.stdout,
        tried.stdout,
        tried.stderr,
        looked.stdout,
    )
    assert [word for word in SECRETS for text in seen if word in text] == []
    kept = [path for path in service.state.rglob("*") if path.is_file()]
    assert [word for word in SECRETS for path in kept if word.encode() in path.read_bytes()] == []
