"""The dashboard over a real controller and real servers: a failover watched, a switchover ordered."""

import subprocess
import sys

import pytest
import yaml

from pgvigil.demo.ports import free_port
from pgvigil.demo.servers import Server, Servers, config_text
from tests.browser.stage import Visitor, chromium, visitor
from tests.postgres.service import Service

pytestmark = pytest.mark.postgres
Trio = tuple[Server, Server, Server]


def token(file: str) -> str:
    words = ["token", "add", "anna", "--access", "operator", "--config", file]
    made = subprocess.run(
        [sys.executable, "-m", "pgvigil", *words], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


# S3-10
def test_a_failover_is_watched_and_a_switchover_ordered_on_the_page(
    servers: Servers, trio_of_servers: Trio
) -> None:
    port, file = free_port(), servers.home / "pgvigil.yaml"
    written = yaml.safe_load(config_text(servers, "orders"))
    written["http"] = {"listen": f"127.0.0.1:{port}", "tokens": "tokens"}
    file.write_text(yaml.safe_dump(written))
    secret = token(str(file))
    with Service(servers) as service:
        service.await_health()
        with chromium() as browser, visitor(browser, f"http://127.0.0.1:{port}") as one:
            _come_in(one, secret)
            _watch_a_failover(one, trio_of_servers)
            _order_a_switchover(one, "pg1")
            assert (one.faults, one.elsewhere) == ([], [])
            _outlive_the_controller(one, service)
            kept = one.page.evaluate("JSON.stringify(localStorage)")
            assert secret not in kept + one.page.url + "".join(one.asked)


def _come_in(one: Visitor, secret: str) -> None:
    from playwright.sync_api import expect

    page = one.page
    expect(page.locator("h1")).to_have_text("All is well (1)")
    page.locator(".row a").click()
    expect(page.locator(".buttons p")).to_contain_text("operator's token")
    page.locator(".bar button").first.click()
    page.locator("dialog input").fill(secret)
    page.keyboard.press("Enter")
    expect(page.locator(".bar .who")).to_have_text("anna")
    expect(page.locator(".buttons p")).to_have_count(0)
    expect(page.locator(".node[data-kind=primary]")).to_have_attribute("data-node", "pg1")
    expect(page.locator(".stream-async")).to_have_count(2)


def _watch_a_failover(one: Visitor, trio: Trio) -> None:
    from playwright.sync_api import expect

    page = one.page
    trio[0].kill_all()
    expect(page.locator(".node[data-kind=primary]:not([data-node=pg1])")).to_have_count(1)
    promoted = page.locator(".event[data-kind=promoted]").first
    expect(promoted).to_be_visible()
    expect(page.locator(".banner")).to_have_attribute("data-health", "ok")
    expect(page.locator(".stream-async")).to_have_count(2)  # pg1 streams again
    begun = page.locator(".event[data-kind=primary_crashed]")
    begun.locator("button").click()
    expect(begun.locator(".why")).to_contain_text("What was seen")
    expect(begun.locator(".why")).to_contain_text("this it is (now)")


def _order_a_switchover(one: Visitor, to: str) -> None:
    from playwright.sync_api import expect

    page = one.page
    page.keyboard.press("s")
    page.locator("dialog select[name=to]").select_option(to)
    expect(page.locator("dialog .plan")).to_contain_text(f" to {to}")
    expect(page.locator(".node[data-kind=primary]:not([data-node=pg1])")).to_have_count(1)  # only a plan
    page.locator("dialog [data-confirm]").click()
    expect(page.locator("dialog [data-outcome=done]")).to_be_visible()
    assert page.locator("dialog .progress li").count() > 0
    page.keyboard.press("Escape")
    expect(page.locator(".node[data-kind=primary]")).to_have_attribute("data-node", to)
    expect(page.locator(".event[data-kind=ordered]").first).to_contain_text("anna")


def _outlive_the_controller(one: Visitor, service: Service) -> None:
    from playwright.sync_api import expect

    page = one.page
    service.stop()
    expect(page.locator(".link[data-link=lost]")).to_be_visible()
    expect(page.locator(".node")).to_have_count(3)  # what was last known stays
    service.start()
    expect(page.locator(".link[data-link=live]")).to_be_visible()
