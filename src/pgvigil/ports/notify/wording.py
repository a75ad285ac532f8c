"""A message from events: the user's templates or the built-in ones, in English or Chinese."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pgvigil.model.notify import BRACES, Language, TargetSpec
from pgvigil.model.record import Event, Level
from pgvigil.ports.notify.grades import ENDS, RESULTS, gravest
from pgvigil.ports.notify.mailbox import Item

if TYPE_CHECKING:
    import re

WHOLE_AT_MOST: Final = 8
"""Events that are told in full; of more each gets one line."""
LINES_AT_MOST: Final = 60
"""Events that get a line; of more it is said how many."""

TITLE: Final = "[{level}] {cluster}: {headline}{more}"
BODIES: Final = {
    Language.EN: "{text}\nEvidence: {evidence}\nWhat to do: {hint}\nSeen {count} times since last told\n{at}",
    Language.ZH: "{text}\n依据：{evidence}\n处理办法：{hint}\n上次通知以来出现 {count} 次\n{at}",
}
LEVELS: Final = {Level.INFO: "信息", Level.WARNING: "警告", Level.ALERT: "警报"}
HEADLINES: Final = {
    "primary_crashed": "主库崩溃，开始故障切换",
    "primary_hung": "主库停止响应，开始故障切换",
    "primary_lost": "主库主机失联，开始故障切换",
    "primary_stopped": "主库已停止，开始故障切换",
    "primary_silent": "主库没有响应",
    "promote": "正在提升备库",
    "promoted": "新主库已接管写入",
    "came_back": "原主库恢复服务，故障切换结束",
    "switchover": "开始计划切换",
    "switch": "候选库已追平，正在提升",
    "undone": "计划切换已撤销，原主库继续服务",
    "restart": "就地重启主库",
    "restarted": "主库重启后恢复服务",
    "adopted": "接受人工提升的主库",
    "rejoined": "原主库已作为备库重新加入",
    "stale_primary": "发现第二个主库",
    "nobody_fit": "没有合适的备库，故障切换受阻",
    "not_fenced": "无法隔离原主库，故障切换受阻",
    "not_lossless": "无法保证不丢数据，故障切换受阻",
    "not_automatic": "未启用自动切换，需要人工处理",
    "objected": "自定义规则阻止了故障切换",
    "cool_down": "切换过于频繁，暂停自动切换",
    "commits_wait": "提交正在等待备库",
    "unprotected": "提交不再等待备库",
    "protected": "提交已由备库确认",
    "paused": "自动操作已暂停",
    "found_standby_lagging": "备库延迟过大",
    "found_standby_detached": "备库未在复制",
    "found_slot_holds_wal": "复制槽保留了过多 WAL",
    "drill": "切换演练完成",
    "command_failed": "命令失败",
    "store_failed": "状态无法写入",
    "loop_failed": "集群控制循环出错",
    "notify_failed": "通知发送失败",
    "notify_works": "通知恢复发送",
    "notify_test": "测试消息",
}
_MORE: Final = {
    Language.EN: ("… and {} more events", "{} events were dropped before"),
    Language.ZH: ("……还有 {} 个事件", "此前丢弃了 {} 个事件"),
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent."""

    title: str
    body: str
    mood: str
    """`info`, `success`, `warning` or `failure`."""


def message(
    items: Sequence[Item], target: TargetSpec, local: Callable[[datetime], datetime], dropped: int = 0
) -> Message:
    """One message about all of them, which are at least one."""
    worst = gravest([item.grade for item in items])
    head = [item for item in items if item.grade is worst][-1]
    more = f" (+{len(items) - 1})" if len(items) > 1 else ""
    title = _filled(target.title or TITLE, _words(head, target, local, more)).replace("\n", " ")
    if len(items) > WHOLE_AT_MOST:
        parts = [_line(item, target, local) for item in items[:LINES_AT_MOST]]
    else:
        body = target.body or BODIES[target.language]
        parts = [_filled(body, _words(item, target, local, more)) for item in items]
    gap = "\n" if len(items) > WHOLE_AT_MOST else "\n\n"
    left_out, were_dropped = _MORE[target.language]
    notes = [(left_out, len(items) - LINES_AT_MOST), (were_dropped, dropped)]
    parts += [text.format(count) for text, count in notes if count > 0]
    return Message(title, gap.join(parts), _mood(head.event, worst))


def _mood(event: Event, worst: Level) -> str:
    if event.kind in ENDS or (event.kind in RESULTS and event.level is Level.INFO):
        return "success"
    return {Level.INFO: "info", Level.WARNING: "warning", Level.ALERT: "failure"}[worst]


def _words(
    item: Item, target: TargetSpec, local: Callable[[datetime], datetime], more: str
) -> dict[str, str]:
    """What stands for each placeholder."""
    event, chinese = item.event, target.language is Language.ZH
    return {
        "at": local(event.at).strftime("%Y-%m-%d %H:%M:%S %Z").strip(),
        "cluster": event.cluster,
        "count": str(item.count) if item.count > 1 else "",
        "data": ", ".join(f"{key}: {value}" for key, value in event.data.items() if value not in ("", None)),
        "evidence": "; ".join(event.evidence),
        "generation": str(event.generation or ""),
        "headline": _headline(event, chinese=chinese),
        "hint": event.hint or _runbook(event, chinese=chinese),
        "kind": event.kind,
        "level": LEVELS[event.level] if chinese else event.level.value,
        "more": more,
        "node": event.node or "",
        "text": event.text,
    }


def _runbook(event: Event, *, chinese: bool) -> str:
    """Where to read what to do, for what is graver than news and has no hint of its own."""
    if event.level is Level.INFO:
        return ""
    return (
        f"docs/zh-CN/operate/runbook.md：{event.kind}"
        if chinese
        else f"{event.kind} in docs/operate/runbook.md"
    )


def _headline(event: Event, *, chinese: bool) -> str:
    plain = event.kind.removeprefix("found_").replace("_", " ")
    words = HEADLINES.get(event.kind, plain) if chinese else plain
    return f"{words} ({event.node})" if event.node else words


def _line(item: Item, target: TargetSpec, local: Callable[[datetime], datetime]) -> str:
    event = item.event
    level = LEVELS[event.level] if target.language is Language.ZH else event.level.value
    times = f" (×{item.count})" if item.count > 1 else ""
    return f"{local(event.at):%H:%M:%S} {level} {event.cluster}: {event.text}{times}"


def _filled(template: str, words: dict[str, str]) -> str:
    """The template with its placeholders replaced, without lines in which all of them are empty."""

    def put(found: "re.Match[str]") -> str:
        return words[found[1]] if found[1] else found[0][0]

    kept = []
    for line in template.splitlines():
        names = [found[1] for found in BRACES.finditer(line) if found[1]]
        if not names or any(words[name] for name in names):
            kept.append(BRACES.sub(put, line))
    return "\n".join(kept)
