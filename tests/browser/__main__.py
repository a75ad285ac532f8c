"""Takes the pictures of the dashboard that the documentation shows: `python -m tests.browser` (docs/images).

The clusters are made up; the evidence of the failover is that of a recorded one.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgvigil.api.gate import new_token, write_tokens
from pgvigil.model.face import Access
from tests.browser.made_up import MadeUp
from tests.browser.stage import chromium, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
CLUSTERS = 64
CHARTS_FILL_MS = 75_000
DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {**DESK, "color_scheme": "light", "locale": "en-GB"},
    "dark": {**DESK, "color_scheme": "dark", "locale": "en-GB"},
    "zh": {**DESK, "color_scheme": "light", "locale": "zh-CN"},
    "phone": {**PHONE, "color_scheme": "dark", "locale": "en-GB"},
}


@contextmanager
def opened(browser: "Browser", base: str, look: str, secret: str) -> Iterator["Page"]:
    """The fleet, as an operator has it before him."""
    context = browser.new_context(**LOOKS[look])
    context.add_init_script(f"sessionStorage.setItem('pgvigil.token', '{secret}')")
    page = context.new_page()
    page.goto(base)
    try:
        yield page
    finally:
        context.close()


def shoot(page: "Page", name: str, *, whole: bool = False) -> None:
    """Keep what is to be seen now."""
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(600)
    page.screenshot(path=IMAGES / f"{name}.png", full_page=whole)
    print(IMAGES / f"{name}.png")


def cluster_pages(page: "Page", base: str, look: str) -> None:
    """One cluster that is well, with an event opened; one in need; one being ordered about."""
    page.goto(f"{base}/#/c/orders-fra")
    event = page.locator(".event[data-kind=primary_crashed] .head")
    event.click()
    page.locator(".why dd").first.wait_for()
    shoot(page, f"cluster-{look}", whole=look != "phone")
    event.click()
    page.goto(f"{base}/#/c/identity-fra")
    page.locator(".banner[data-health=held]").wait_for()
    if look in ("dark", "phone"):
        shoot(page, f"held-{look}")
    page.goto(f"{base}/#/c/orders-fra")
    page.locator("[data-action=switchover]").click()
    page.locator(".plan li").first.wait_for()
    if look in ("light", "phone"):
        shoot(page, f"switchover-{look}")


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    ops = MadeUp(CLUSTERS)
    ops.tell_a_story()
    anna, secret = new_token("anna", Access.OPERATOR)
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        tokens = Path(place) / "tokens"
        write_tokens(tokens, [anna])
        with served(ops, tokens=str(tokens)) as base, ExitStack() as all_of_them:
            pages = {look: all_of_them.enter_context(opened(browser, base, look, secret)) for look in LOOKS}
            for look, page in pages.items():
                page.locator(".row").nth(CLUSTERS - 1).wait_for(state="attached")
                shoot(page, f"fleet-{look}")
            next(iter(pages.values())).wait_for_timeout(CHARTS_FILL_MS)
            for look, page in pages.items():
                cluster_pages(page, base, look)


main()
