"""One setting changed in a specification that exists: `failover.unreachable_after=1s`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from pgvigil.config.policy import FailoverSection, ProbeSection
from pgvigil.errors import UsageError
from pgvigil.model.spec import ClusterSpec, Protection, Tag, WhenUnreachable

TIMES: Final = frozenset({"unreachable_after", "hung_after", "restart_grace"})
POLICY: Final[Mapping[str, str]] = {
    "automatic": "automatic",
    "after_crash": "after_crash",
    "max_lag": "max_lag_bytes",
    "max_per": "max_per",
    "auto_rejoin": "auto_rejoin",
    "restart_standbys": "restart_standbys",
}
"""Keys of `failover` → fields of the policy."""
KNOWN: Final = (
    *(f"failover.{key}" for key in (*sorted(TIMES), *POLICY)),
    "fencing.unreachable",
    "protection",
    "sync_required",
    "degrade",
    "nodes.NODE.priority",
    "nodes.NODE.tags",
    "nodes.NODE.location",
)
TRUTH: Final = {"true": True, "false": False}


def changed(spec: ClusterSpec, setting: str) -> ClusterSpec:
    """The specification with one `KEY=VALUE`, written as in the configuration. Raises UsageError."""
    key, equals, text = (part.strip() for part in setting.partition("="))
    if not equals or not text:
        raise UsageError(f"--set {setting}: KEY=VALUE is expected", hint=f"known: {', '.join(KNOWN)}")
    try:
        return _with(spec, key.split("."), text)
    except ValidationError as wrong:
        raise UsageError(f"--set {key}: {wrong.errors()[0]['msg']}", detail=text) from wrong
    except ValueError as wrong:
        raise UsageError(f"--set {key}: {wrong}", detail=text) from wrong
    except KeyError as missing:
        raise UsageError(
            f"--set {key}: there is no such setting that decides anything", hint=f"known: {', '.join(KNOWN)}"
        ) from missing


def _with(spec: ClusterSpec, key: list[str], text: str) -> ClusterSpec:
    match key:
        case ["failover", name] if name in TIMES or name in POLICY:
            value: Any = TRUTH.get(text, text)
            section = FailoverSection.model_validate({name: value})
            if name in TIMES:
                then = getattr(section.timings(ProbeSection()), name)
                return replace(spec, timings=replace(spec.timings, **{name: then}))
            policy = getattr(section.spec(), POLICY[name])
            return replace(spec, failover=replace(spec.failover, **{POLICY[name]: policy}))
        case ["fencing", "unreachable"]:
            return replace(spec, fencing=replace(spec.fencing, unreachable=WhenUnreachable(text)))
        case ["protection"]:
            return replace(spec, protection=Protection(text))
        case ["sync_required"]:
            return replace(spec, sync_required=int(text))
        case ["degrade"]:
            return replace(spec, degrade=TRUTH[text])
        case ["nodes", node, "priority" | "tags" | "location" as what]:
            names = {each.name for each in spec.nodes}
            if node not in names:
                raise ValueError(f"there is no node {node}; known: {', '.join(sorted(names))}")
            value = _tags(text) if what == "tags" else int(text) if what == "priority" else text
            nodes = tuple(replace(n, **{what: value}) if n.name == node else n for n in spec.nodes)
            return replace(spec, nodes=nodes)
        case _:
            raise KeyError(".".join(key))


def _tags(text: str) -> frozenset[Tag]:
    return frozenset(Tag(each.strip()) for each in text.strip("[]").split(",") if each.strip())
