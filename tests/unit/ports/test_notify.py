"""Messages: who gets what, when, in which words; and that no word of a URL shows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from pgvigil.model.notify import Language, Quiet, Source, TargetSpec
from pgvigil.model.record import Event, Level
from pgvigil.model.spec import Rate
from pgvigil.model.units import ClusterName, Generation, NodeName
from pgvigil.ports.notify import mailbox as mailbox_module
from pgvigil.ports.notify.deliver import secrets_of, url_of, why
from pgvigil.ports.notify.grades import BLOCKED, ENDS, PATIENCE, RESULTS, grade
from pgvigil.ports.notify.mailbox import TOGETHER_S, WAITING_AT_MOST, Mailbox
from pgvigil.ports.notify.wording import HEADLINES, message
from tests.house.test_docs import holds, in_code, page

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
NIGHT = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
TARGET = TargetSpec("mail", Source.GIVEN, "json://127.0.0.1", timezone="UTC")


def event(kind: str = "standby_detached", level: Level = Level.WARNING, **more: object) -> Event:
    plain = Event(ClusterName("orders"), NOON, kind, f"text of {kind}", level)
    return replace(plain, **more)  # type: ignore[arg-type]  # checked by replace itself


def told(mailbox: Mailbox, now: float, wall: datetime = NOON) -> list[str]:
    """The kinds that go out now, as one message."""
    items = mailbox.due(now, wall)
    if items:
        mailbox.delivered(items, now)
    return [item.event.kind for item in items]


def test_what_happens_together_goes_out_together() -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event("primary_crashed", Level.ALERT), 0.0)
    mailbox.take(event("promoted", Level.INFO), 0.2)
    mailbox.take(event("seen", Level.INFO), 0.3)
    assert told(mailbox, TOGETHER_S - 0.1) == []
    assert told(mailbox, TOGETHER_S) == ["primary_crashed", "promoted"]
    assert mailbox.idle


@pytest.mark.parametrize(
    ("kind", "level", "wanted"),
    [
        ("seen", Level.INFO, False),
        ("looking", Level.WARNING, False),
        ("nobody_fit", Level.WARNING, True),
        ("found_standby_lagging", Level.WARNING, True),
        ("found_slot_holds_wal", Level.WARNING, True),
        ("promoted", Level.INFO, True),
        ("drill", Level.INFO, True),
        ("follow", Level.INFO, False),
        ("follow_failed", Level.WARNING, True),
        ("switchover", Level.ALERT, True),
    ],
)
def test_by_default_goes_out(kind: str, level: Level, wanted: bool) -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event(kind, level), 0.0)
    assert mailbox.idle is not wanted


def test_kinds_decide_before_levels() -> None:
    mailbox = Mailbox(replace(TARGET, level=None, also=("found_*", "drill"), never=("found_slot_*",)))
    for kind in ("found_standby_lagging", "found_slot_holds_wal", "drill", "primary_crashed"):
        mailbox.take(event(kind, Level.ALERT), 0.0)
    assert told(mailbox, TOGETHER_S) == ["found_standby_lagging", "drill"]


def test_grades_name_events_that_there_are() -> None:
    known = holds() | in_code(page("reference/events.md"))
    assert {*ENDS, *BLOCKED, *RESULTS, *PATIENCE} <= known
    headlines = {kind.replace("found_", "") if "found_" in kind else kind for kind in HEADLINES}
    problems = in_code(page("concepts/how-it-decides.md"))
    assert headlines - {"notify_test"} <= known | problems


def test_a_condition_is_told_once_and_then_counted() -> None:
    mailbox = Mailbox(TARGET)
    for second in range(5):
        mailbox.take(event(text=f"lag {second}", node=NodeName("pg2")), float(second))
    mailbox.take(event(node=NodeName("pg3")), 4.0)
    assert len(mailbox.due(6.0, NOON)) == 2
    assert told(mailbox, 6.0) == ["standby_detached"] * 2
    assert told(mailbox, 599.0) == []
    assert mailbox.due(601.0, NOON) == []
    (again,) = mailbox.due(601.0 + TOGETHER_S, NOON)
    assert (again.count, again.event.text) == (4, "lag 4")


def test_another_generation_is_another_condition() -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event("promoted", Level.INFO, generation=Generation(2)), 0.0)
    assert told(mailbox, 5.0) == ["promoted"]
    mailbox.take(event("promoted", Level.INFO, generation=Generation(3)), 6.0)
    assert told(mailbox, 8.0) == ["promoted"]


def test_in_quiet_times_only_what_is_urgent_goes_out_and_the_rest_afterwards_as_one() -> None:
    mailbox = Mailbox(replace(TARGET, quiet=(Quiet(22 * 60, 7 * 60),)))
    mailbox.take(event("found_standby_lagging"), 0.0)
    mailbox.take(event("sync_lowered"), 1.0)
    mailbox.take(event("not_fenced"), 2.0)
    mailbox.take(event("promoted", Level.INFO), 3.0)
    assert told(mailbox, 10.0, NIGHT) == ["not_fenced", "promoted"]
    assert told(mailbox, 20.0, NIGHT + timedelta(hours=7, minutes=59)) == []
    assert told(mailbox, 30.0, NIGHT + timedelta(hours=8)) == ["found_standby_lagging", "sync_lowered"]


@pytest.mark.parametrize(
    ("quiet", "wall", "covered"),
    [
        (Quiet(0, 1440, frozenset({5, 6})), NOON, False),
        (Quiet(0, 1440, frozenset({5, 6})), NOON + timedelta(days=1), True),
        (Quiet(1320, 420, frozenset({4})), NOON + timedelta(hours=18), True),  # of Friday's night
        (Quiet(1320, 420, frozenset({5})), NOON + timedelta(hours=18), False),
    ],
)
def test_quiet_times_have_days(quiet: Quiet, wall: datetime, covered: bool) -> None:
    assert Mailbox(replace(TARGET, quiet=(quiet,))).is_quiet(wall) is covered


def test_quiet_is_quiet_where_the_target_is() -> None:
    shanghai = Mailbox(replace(TARGET, quiet=(Quiet(19 * 60, 21 * 60),), timezone="Asia/Shanghai"))
    assert shanghai.is_quiet(NOON)  # 20:00 there


def test_more_than_the_rate_is_gathered() -> None:
    mailbox = Mailbox(replace(TARGET, rate=Rate(2, timedelta(minutes=1))))
    kinds = []
    for second in range(0, 40, 4):
        mailbox.take(event(f"kind_{second}"), float(second))
        kinds.append(told(mailbox, second + 2.0))
    assert [len(each) for each in kinds] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert len(told(mailbox, 62.0)) == 8


def test_a_failure_is_tried_again_ever_later_and_nothing_is_lost() -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event("primary_crashed", Level.ALERT), 0.0)
    tries: list[float] = []
    now = 0.0
    while len(tries) < 6:
        if mailbox.due(now, NOON):
            tries.append(now)
            mailbox.failed(now)
        now += 0.5
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == [5.0, 15.0, 60.0, 300.0, 300.0]
    assert told(mailbox, now + 300) == ["primary_crashed"]


def test_what_waits_is_bounded_and_what_is_urgent_is_kept() -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event("primary_crashed", Level.ALERT), 0.0)
    for number in range(WAITING_AT_MOST + 9):
        mailbox.take(event(node=NodeName(f"n{number}")), 0.0)
    items = mailbox.due(5.0, NOON)
    assert (len(items), mailbox.dropped) == (WAITING_AT_MOST, 10)
    assert items[0].event.kind == "primary_crashed"
    assert "10 events were dropped" in message(items, TARGET, mailbox.local, mailbox.dropped).body


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "REMEMBERED_AT_MOST", 10)
    mailbox = Mailbox(TARGET)
    for number in range(100):
        mailbox.take(event(node=NodeName(f"n{number}")), 0.0)
    assert len(mailbox._told) <= 11


def test_a_target_is_not_told_of_its_own_trouble() -> None:
    mail, chat = Mailbox(TARGET), Mailbox(replace(TARGET, name="chat"))
    for mailbox in (mail, chat):
        mailbox.take(event("notify_failed", data={"target": "mail"}), 0.0)
    assert (mail.idle, chat.idle) == (True, False)


def test_a_message_says_what_to_do() -> None:
    mailbox = Mailbox(TARGET)
    blocked = event("nobody_fit", text="hold: nobody is fit", evidence=("pg2: too far behind",), hint="wait")
    mailbox.take(blocked, 0.0)
    english = message(mailbox.due(5.0, NOON), TARGET, mailbox.local)
    assert english.title == "[warning] orders: nobody fit"
    assert english.body == (
        "hold: nobody is fit\nEvidence: pg2: too far behind\nWhat to do: wait\n2026-11-20 12:00:00 UTC"
    )
    chinese = message(mailbox.due(5.0, NOON), replace(TARGET, language=Language.ZH), mailbox.local)
    assert chinese.title == "[警告] orders: 没有合适的备库，故障切换受阻"
    assert "处理办法：wait" in chinese.body
    assert english.mood == "failure"


def test_a_message_without_a_hint_says_where_to_read() -> None:
    mailbox = Mailbox(TARGET)
    mailbox.take(event("found_standby_down"), 0.0)
    mailbox.take(event("rejoined", Level.INFO), 0.0)
    both = mailbox.due(5.0, NOON)
    body = message(both, TARGET, mailbox.local).body
    assert "What to do: found_standby_down in docs/operate/runbook.md" in body
    assert "rejoined in docs" not in body
    chinese = message(both, replace(TARGET, language=Language.ZH), mailbox.local).body
    assert "处理办法：docs/zh-CN/operate/runbook.md：found_standby_down" in chinese


def test_own_templates_fill_and_leave_out_empty_lines() -> None:
    target = replace(
        TARGET, title="{cluster}/{kind}{more} {{x}}", body="{text}\n> {hint}\n{node}: {evidence}"
    )
    mailbox = Mailbox(target)
    mailbox.take(event("promoted", Level.INFO, text="{hint} {0.__class__} %s"), 0.0)
    mailbox.take(event("follow_failed", hint="look"), 0.0)
    whole = message(mailbox.due(5.0, NOON), target, mailbox.local)
    assert whole.title == "orders/promoted (+1) {x}"
    assert whole.body == "{hint} {0.__class__} %s\n\ntext of follow_failed\n> look"


def test_many_events_get_a_line_each() -> None:
    mailbox = Mailbox(TARGET)
    for number in range(70):
        mailbox.take(event(f"kind_{number}"), 0.0)
    body = message(mailbox.due(5.0, NOON), TARGET, mailbox.local).body.splitlines()
    assert body[0] == "12:00:00 warning orders: text of kind_0"
    assert (len(body), body[-1]) == (61, "… and 10 more events")


def test_grades_leave_levels_alone_where_nothing_is_said() -> None:
    assert [grade(event("x", level)) for level in Level] == list(Level)


URLS = (
    "json://user:passw0rd@alerts.example.com:8443/hidden/path?token=abcdef",
    "mailtos://robot:passw0rd@mail.example.com?from=robot@example.com&to=ops@example.com",
    "dingtalk://SECRETKEY@ABCDEFTOKEN/13800138000",
    "feishu://lark-ghtoken",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXr",
    "json://h.example.com?-h=hidden%20value",
)


@pytest.mark.parametrize("url", URLS)
def test_no_word_of_a_url_shows(url: str) -> None:
    words = [word for word in ("passw0rd", "hidden", "abcdef", "SECRETKEY", "ABCDEFTOKEN") if word in url]
    words += [word for word in ("lark-ghtoken", "TIiajkdnlazkcOXr", "T1JJ3T3L2") if word in url]
    assert words
    log = f"30 cannot reach {url}\n10 sent {url} [Errno 111] Connection refused\n40 {' '.join(words)}"
    text = why(log, url)
    assert [word for word in words if word in text] == []
    assert "Connection refused" in text


def test_hosts_stay_readable() -> None:
    assert "alerts.example.com:8443" not in secrets_of(URLS[0])
    assert "127.0.0.1" not in secrets_of("json://127.0.0.1?token=abcdef")


def test_a_url_comes_from_where_it_is_kept(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    file = f"{tmp_path}/url"
    with open(file, "w") as out:
        out.write("json://one\nsecond line\n")
    monkeypatch.setenv("THE_URL", " json://two ")
    assert url_of(Source.FILE, file) == "json://one"
    assert url_of(Source.ENVIRONMENT, "THE_URL") == "json://two"
    assert url_of(Source.COMMAND, f"cat {file}") == "json://one"
    assert url_of(Source.GIVEN, "json://three") == "json://three"
    for source, place in (
        (Source.FILE, "/no/such"),
        (Source.COMMAND, "exit 3"),
        (Source.ENVIRONMENT, "NO_X"),
    ):
        with pytest.raises(ValueError, match=r"url_|environment"):
            url_of(source, place)
