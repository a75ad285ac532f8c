"""Who is told of a real failover: people by mail and webhook, scripts; who is down or slow harms nothing."""

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


def scripts(servers: Servers) -> list[dict[str, object]]:
    """One that works on nodes, one that works at its second attempt, one on the controller, one too slow."""
    servers.account.own(servers.home)
    keep = 'f() {{ echo "$* $(sed \'s/.*"node": "\\([^"]*\\)", "event".*/\\1/\')" >> {home}/{name}; }}; f'
    home = servers.home
    second = f'g() {{ if mkdir {home}/tried.$1.$2 2>/dev/null; then exit 7; fi; f "$@"; }}; g'
    return [
        {"command": keep.format(home=home, name="node")},
        {
            "command": keep.format(home=home, name="second").removesuffix("f") + second,
            "attempts": 9,
            "actions": ["on_role_change"],
        },
        {
            "command": keep.format(home=home, name="here"),
            "run_on": "controller",
            "actions": ["on_role_change"],
        },
        {"command": "sleep 300;", "timeout": "200ms", "actions": ["on_role_change"]},
    ]


def called(servers: Servers, name: str) -> str:
    """What a script was called with, and for which node."""
    file = servers.home / name
    return file.read_text() if file.exists() else ""


def await_calls(servers: Servers, name: str, lines: tuple[str, ...]) -> None:
    """Return once a script has been called with all of these."""
    wait_until(
        lambda: all(line in called(servers, name) for line in lines), within_s=60, what=f"calls of {name}"
    )


# S0-14, S2-16
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
                hooks={"callbacks": scripts(servers)},
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
            reloaded = service.command("config", "reload", "orders", "--yes")
            assert reloaded.returncode == 0, reloaded.stderr
            new = str(service.status()["primary"])
            changes = (f"on_role_change primary orders {new}", "on_role_change replica orders pg1")
            reads = (f"on_reload primary orders {new}", "on_reload replica orders pg1")
            for name, lines in (("node", changes + reads), ("second", changes), ("here", changes)):
                await_calls(servers, name, lines)
            wait_until(lambda: "callback_failed" in service.log, within_s=30, what="the slow one's end")
            events = service.command("events", "--json", "-n", "1000")
            tried = service.command("notify", "test", "--json")
            looked = service.command("notify", "test", "hook", "--dry-run")
    assert any("(+" in mail["title"] for mail in mails), "what happens together is one mail"
    assert any("依据：" in mail["message"] for mail in mails)
    moods = {post["type"] for post in posts}
    assert moods >= {"success"}
    assert "on_reload" not in called(servers, "here")
    told = [json.loads(line) for line in events.stdout.splitlines()]
    failed = [event for event in told if event["kind"] == "notify_failed"]
    assert [event["data"]["target"] for event in failed] == ["down"]
    assert "Connection refused" in failed[0]["text"]
    slow = [event["text"] for event in told if event["kind"] == "callback_failed"]
    assert slow
    assert all(text.startswith("sleep on_") for text in slow)
    results = {row["target"]: row for row in json.loads(tried.stdout)}
    assert {name: row["ok"] for name, row in results.items()} == {"mail": True, "hook": True, "down": False}
    assert (tried.returncode, looked.returncode) == (1, 0)
    assert any("pgvigil.ports.notify.deliver" in line for line in watcher.seen)
    seen = (
        *watcher.seen,
        service.log,
        events.stdout,
        tried.stdout,
        tried.stderr,
        looked.stdout,
    )
    assert [word for word in SECRETS for text in seen if word in text] == []
    kept = [path for path in service.state.rglob("*") if path.is_file()]
    assert [word for word in SECRETS for path in kept if word.encode() in path.read_bytes()] == []
