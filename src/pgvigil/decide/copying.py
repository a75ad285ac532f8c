"""Whom a copy is taken from: the node that was named, one that is tagged for it, else the primary. Pure."""

from dataclasses import replace

from pgvigil.decide.situation import Situation
from pgvigil.errors import Unsafe, UsageError
from pgvigil.model.command import Refused
from pgvigil.model.sighting import NodeView
from pgvigil.model.spec import Tag
from pgvigil.model.step import Copying
from pgvigil.model.units import NodeName


def chosen(situation: Situation, node: NodeName, wish: Copying) -> Copying | Refused:
    """The wish with its source filled in if it is not the primary; Refused: the named one cannot serve."""
    if wish.source is None:
        return replace(wish, source=_tagged(situation, node))
    if wish.source not in situation.view.nodes:
        return Refused(UsageError(f"there is no node {wish.source} in {situation.spec.name}"))
    if wish.source == node:
        return Refused(UsageError(f"{node} cannot be copied from itself"))
    if wish.source == situation.record.primary:
        return replace(wish, source=None)
    if why := _unfit(situation, situation.view.node(wish.source)):
        hint = f"copy the primary: leave --from out, or wait until {wish.source} streams"
        return Refused(Unsafe(f"{wish.source} cannot be copied: {why}", hint=hint))
    return wish


def for_repair(situation: Situation, node: NodeName) -> Copying:
    """The same for a repair that nobody asked for."""
    return Copying(source=_tagged(situation, node))


def _tagged(situation: Situation, node: NodeName) -> NodeName | None:
    """The first node tagged `clone_source` that is fit; None: the primary is copied."""
    if Tag.CLONE_SOURCE in situation.spec.node(situation.record.primary).tags:
        return None
    return next(
        (
            other.name
            for other in situation.spec.others(node)
            if Tag.CLONE_SOURCE in other.tags and not _unfit(situation, situation.view.node(other.name))
        ),
        None,
    )


def _unfit(situation: Situation, node: NodeView) -> str:
    """Why a standby cannot be copied; empty: it can. It must follow the primary of this generation."""
    role, primary = node.standby, situation.primary.primary
    if not situation.is_ours(node):
        return "it belongs to another cluster"
    if role is None:
        return "it is no running standby"
    if primary is None or role.receiver is None or role.receiver.status != "streaming":
        return "it does not stream"
    if role.receiver.timeline != primary.timeline:
        return f"it is on timeline {role.receiver.timeline}, not {primary.timeline}"
    return ""
