"""A browser without a window, and a face to look at. Chromium is Debian's; playwright only drives it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgvigil.api.backing import Backing
from pgvigil.api.http_server import serving
from pgvigil.controller.operations import Operations
from pgvigil.demo.ports import free_port
from pgvigil.model.face import HttpSpec

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
WITHIN_MS = 40_000.0


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser; without Chromium the test is skipped, and says so."""
    if not CHROMIUM.exists():
        pytest.skip("a browser is needed: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A page, and everything that went wrong on it."""

    def __init__(self, page: "Page", base: str) -> None:
        self.page, self.base = page, base
        self.faults: list[str] = []
        self.asked: list[str] = []
        """Every address that the page went to."""
        page.set_default_timeout(WITHIN_MS)
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    @property
    def elsewhere(self) -> list[str]:
        """What it fetched from other hosts."""
        return [url for url in self.asked if not url.startswith(self.base)]

    def overflows(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@contextlib.contextmanager
def visitor(browser: "Browser", base: str, **options: Any) -> Iterator[Visitor]:
    """Somebody who opens that address."""
    context = browser.new_context(
        **{"locale": "en-US", "viewport": {"width": 1360, "height": 900}, **options}
    )
    try:
        found = Visitor(context.new_page(), base)
        found.page.goto(base)
        yield found
    finally:
        context.close()


@contextlib.contextmanager
def served(ops: Operations, **settings: Any) -> Iterator[str]:
    """The HTTP face over these operations, in a thread of its own; gives its address."""
    spec = HttpSpec(port=free_port(), asked_for=True, **settings)
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(ops, spec, NOTHING_BEHIND):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://{spec.host}:{spec.port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.close()


async def _nothing(*_: object) -> Any:
    raise NotImplementedError


NOTHING_BEHIND = Backing(
    denied=lambda *_: None,
    spec=_nothing,  # type: ignore[arg-type]  # nobody asks
    check=_nothing,
    looked_at=_nothing,
    reload=_nothing,
)
"""For pages that only look at clusters and events."""
