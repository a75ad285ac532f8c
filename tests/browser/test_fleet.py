"""The dashboard over made-up clusters in a browser: many, by keyboard, on a phone, in two languages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgvigil.api.gate import new_token, write_tokens
from pgvigil.model.command import Failover, FollowUpstream
from pgvigil.model.face import Access
from pgvigil.model.units import NodeName
from tests.browser.made_up import MadeUp
from tests.browser.stage import chromium, served, visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COUNT = 300
NAMELESS = """[...document.querySelectorAll('button, a, input, select')].filter(each => !(
  each.getAttribute('aria-label') || each.textContent.trim() || each.title ||
  each.labels?.[0]?.textContent.trim()
)).map(each => each.outerHTML)"""
"""What a reader of screens could not name."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as browser:
        yield browser


def names(page: "Page") -> list[str]:
    return page.locator(".row .name").all_inner_texts()


def healths(page: "Page") -> list[str | None]:
    return [row.get_attribute("data-health") for row in page.locator(".row").all()[:6]]


def test_three_hundred_clusters_worst_first_found_and_opened_by_keyboard(browser: "Browser") -> None:
    from playwright.sync_api import expect

    ops = MadeUp(COUNT)
    ops.tell(
        "identity-fra", "not_fenced", "alert", "pg1 is silent and cannot be fenced", evidence=["no answer"]
    )
    with served(ops) as base, visitor(browser, base) as one:
        page = one.page
        expect(page.locator(".row")).to_have_count(COUNT)
        expect(page.locator("h1")).to_have_text("2 of 300 clusters need you")
        assert healths(page) == ["down", "held", "changing", "degraded", "degraded", "ok"]
        assert not page.evaluate(NAMELESS)

        page.locator("[data-filter=degraded]").click()
        expect(page.locator(".row")).to_have_count(2)
        page.locator("[data-filter=degraded]").click()
        page.keyboard.press("/")
        page.keyboard.type("sin ledger-sin-3")
        expect(page.locator(".row .name")).to_have_text("ledger-sin-3")
        page.keyboard.press("Escape")
        expect(page.locator(".row")).to_have_count(COUNT)
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(".banner")).to_have_attribute("data-health", "held")
        assert page.url.endswith("#/c/identity-fra")
        expect(page.locator(".banner .hint")).to_contain_text("pgvigil failover --force")
        expect(page.locator(".node")).to_have_count(3)
        assert not page.evaluate(NAMELESS)

        before = page.locator(".nodes tr[data-node=pg2] td.mono").first.inner_text()
        expect(page.locator(".nodes tr[data-node=pg2] td.mono").first).not_to_have_text(before)  # live
        ops.tell("identity-fra", "came_back", "info", "pg1 answers again")
        expect(page.locator(".event[data-kind=came_back]")).to_be_visible()

        page.keyboard.press("s")
        expect(page.locator("dialog .fault")).to_contain_text("operator's token")
        expect(page.locator("dialog [data-confirm]")).to_be_disabled()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        page.keyboard.press("?")
        expect(page.locator("dialog kbd").first).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.locator(".row")).to_have_count(COUNT)
        assert (one.faults, one.elsewhere) == ([], [])


@pytest.mark.parametrize(("language", "scheme"), [("en-US", "dark"), ("zh-CN", "light")])
def test_on_a_phone_nothing_is_cut_off_and_the_other_language_and_theme_are_one_press_away(
    browser: "Browser", language: str, scheme: str
) -> None:
    from playwright.sync_api import expect

    ops = MadeUp(24)
    phone = {"viewport": {"width": 360, "height": 780}, "locale": language, "color_scheme": scheme}
    with served(ops) as base, visitor(browser, base, **phone) as one:
        page = one.page
        expect(page.locator(".row")).to_have_count(24)
        assert not one.overflows()
        colour = "getComputedStyle(document.body.parentElement).backgroundColor"
        ground = page.evaluate(colour)
        while page.evaluate(colour) == ground:
            page.keyboard.press("d")
        for name in names(page)[:5]:
            page.goto(f"{base}/#/c/{name}")
            expect(page.locator(".bar .here")).to_have_text(name)
            expect(page.locator(".node")).not_to_have_count(0)
            assert not one.overflows(), name
        chinese = re.compile(r"[\u4e00-\u9fff]")
        headings = " ".join(page.locator("h2").all_inner_texts())
        assert bool(chinese.search(headings)) is (language == "zh-CN")
        page.locator(".bar button[lang]").click()
        expect(page.locator("html")).to_have_attribute("lang", "en" if language == "zh-CN" else "zh")
        assert bool(chinese.search(" ".join(page.locator("h2").all_inner_texts()))) is (language != "zh-CN")
        assert not one.overflows()
        assert (one.faults, one.elsewhere) == ([], [])


def test_what_may_lose_data_is_confirmed_by_name_and_goes_where_the_plan_said(
    browser: "Browser", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    operator, secret = new_token("anna", Access.OPERATOR)
    write_tokens(tmp_path / "tokens", [operator])
    ops = MadeUp(3)
    with (
        served(ops, tokens=str(tmp_path / "tokens"), reads_need_token=True) as base,
        visitor(browser, base) as one,
    ):
        page = one.page
        page.locator(".locked input").fill(secret)
        page.keyboard.press("Enter")
        page.locator(".row a").first.click()
        page.locator("[data-action=failover]").click()
        confirm = page.locator("dialog [data-confirm]")
        expect(confirm).to_be_enabled()
        page.locator("dialog input[name=force]").check()
        expect(page.locator("dialog .plan")).to_be_visible()
        expect(confirm).to_be_disabled()
        page.locator("dialog input[name=confirm]").fill("identity-fra")
        page.locator("dialog select[name=to]").select_option("pg3")
        expect(confirm).to_be_enabled()
        assert all(rehearsed for _, rehearsed in ops.orders)
        confirm.click()
        expect(page.locator("dialog [data-outcome=done]")).to_be_visible()
        expect(page.locator("dialog .progress li")).to_have_count(4)
        page.keyboard.press("Escape")
        row = page.locator(".nodes tr[data-node=pg3]")
        row.locator("select").select_option("follow")
        expect(page.locator("dialog .plan")).to_have_count(0)  # from whom is not said yet
        page.locator("dialog select[name=upstream]").select_option("pg2")
        expect(page.locator("dialog .plan")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    done = [command for command, rehearsed in ops.orders if not rehearsed]
    assert done == [Failover(NodeName("pg3"), force=True)]
    assert FollowUpstream(NodeName("pg3"), NodeName("pg2")) in [command for command, _ in ops.orders]


def test_a_controller_that_wants_a_token_shows_nothing_before_it_has_one(
    browser: "Browser", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    viewer, secret = new_token("anna", Access.VIEWER)
    write_tokens(tmp_path / "tokens", [viewer])
    ops = MadeUp(3, well=True)
    with (
        served(ops, tokens=str(tmp_path / "tokens"), reads_need_token=True) as base,
        visitor(browser, base) as one,
    ):
        page = one.page
        field = page.locator(".locked input")
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator(".locked .fault")).to_have_text("this token is not known")
        field.fill(secret)
        page.keyboard.press("Enter")
        expect(page.locator(".row")).to_have_count(3)
        expect(page.locator(".bar .who")).to_have_text("anna")
        page.locator(".row a").first.click()
        expect(page.locator(".buttons p")).to_contain_text("anna may look, and give no commands")
        page.reload()
        expect(page.locator(".banner")).to_be_visible()  # the tab keeps it
        assert secret not in page.evaluate("JSON.stringify(localStorage)") + page.url + "".join(one.asked)
        write_tokens(tmp_path / "tokens", [])
        page.reload()
        expect(page.locator(".locked input")).to_be_visible()  # it is worth nothing any more
        assert one.elsewhere == []
        assert all("401" in fault for fault in one.faults)  # the browser's own word on what was refused
    assert ops.orders == []
