"""How quick the dashboard is with many clusters that all write, in headless Chromium on this machine.

Needs Chromium (Debian: chromium). Clusters are made up, everything else is the product. For each number of
clusters: until the first and the last row are drawn; how busy the page and the controller's loop are while
every cluster has news each second; how much comes over the stream; from a change to its being seen.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser.made_up import MadeUp
from tests.browser.stage import chromium, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

COUNTS = (30, 300, 1_000)
WATCHED_S = 10.0
CHANGES = 10
HEAD = (
    "clusters",
    "first row ms",
    "all rows ms",
    "page busy %",
    "process busy %",
    "stream kB/s",
    "change seen ms",
)


def busy_s(session: "CDPSession") -> float:
    """Seconds that the page's main thread has worked."""
    found = session.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in found if each["name"] == "TaskDuration")


def measured(browser: "Browser", count: int) -> list[float]:
    """One row of the table."""
    ops = MadeUp(count, well=True)
    received: list[int] = []
    with served(ops) as base:
        context = browser.new_context(viewport={"width": 1360, "height": 900})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        session.send("Network.enable")

        def took(message: dict[str, Any]) -> None:
            received.append(int(message["dataLength"]))

        began = time.monotonic()
        page.goto(base)
        page.locator(".row").first.wait_for()
        first = time.monotonic()
        page.locator(".row").nth(count - 1).wait_for(state="attached")
        last = time.monotonic()
        page.wait_for_timeout(2_000)
        session.on("Network.dataReceived", took)
        before, process = busy_s(session), time.process_time()
        page.wait_for_timeout(WATCHED_S * 1_000)
        busy, own = busy_s(session) - before, time.process_time() - process
        stream = sum(received) / WATCHED_S / 1_024
        seen = [change_seen(page, ops, number) for number in range(CHANGES)]
        context.close()
    return [
        (first - began) * 1e3, (last - began) * 1e3, 100 * busy / WATCHED_S, 100 * own / WATCHED_S, stream,
        statistics.median(seen) * 1e3,
    ]  # fmt: skip


def change_seen(page: Any, ops: MadeUp, number: int) -> float:
    """Seconds from a cluster's going down to the row that says so."""
    cluster = ops.clusters[-1 - number]
    began = time.monotonic()
    cluster["health"] = "down"
    page.locator(".row[data-health=down]").first.wait_for()
    took = time.monotonic() - began
    cluster["health"] = "ok"
    page.locator(".row[data-health=down]").first.wait_for(state="detached")
    return took


def main() -> None:
    """Print the table."""
    with chromium() as browser:
        print("| " + " | ".join(HEAD) + " |")
        print("|" + "---:|" * len(HEAD))
        for count in COUNTS:
            print(
                f"| {count} | " + " | ".join(f"{value:.0f}" for value in measured(browser, count)) + " |",
                flush=True,
            )


main()
