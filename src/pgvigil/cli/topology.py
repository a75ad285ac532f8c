"""Who streams from whom, drawn as a tree."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from pgvigil.cli.show import headline
from pgvigil.cli.tables import Shape
from pgvigil.cli.theme import BAD, DIM, STRONG, WARN, bytes_text, seconds_text, state_style


def topology_view(console: Console, cluster: Shape) -> RenderableType:
    """The primary, below it its standbys and theirs; nodes that stream from nowhere stand apart."""
    nodes: list[Shape] = cluster["nodes"]
    ours = {node["name"] for node in nodes}
    roots = [node for node in nodes if node["upstream"] not in ours]
    roots.sort(key=lambda node: (node["name"] != cluster["primary"], node["role"] != "primary"))
    drawn: set[str] = set()
    trees = [_branch(node, nodes, drawn) for node in roots]
    ring = [node for node in nodes if node["name"] not in drawn]
    trees.extend(Tree(_label(node)) for node in ring)
    return Group(headline(console, cluster), Text(""), *trees)


def _branch(node: Shape, nodes: Iterable[Shape], drawn: set[str]) -> Tree:
    drawn.add(node["name"])
    tree = Tree(_label(node), guide_style=DIM)
    for child in nodes:
        if child["upstream"] == node["name"] and child["name"] not in drawn:
            tree.children.append(_branch(child, nodes, drawn))
    return tree


def _label(node: Shape) -> Text:
    line = Text.assemble((node["name"], STRONG), f"  {node['role']}  ")
    line.append(node["state"], style=state_style(node["state"]))
    if node["role"] == "primary":
        line.append(f"  timeline {node['timeline']}, {node['lsn']}", style=DIM)
    if node["role"] == "standby":
        _append_stream(line, node)
    if node["location"]:
        line.append(f"  {node['location']}", style=DIM)
    if node.get("maintenance"):
        line.append("  under maintenance", style=WARN)
    if node["progress"]:
        line.append(f"  {node['progress']}", style=WARN)
    return line


def _append_stream(line: Text, node: Shape) -> None:
    if not node["upstream"]:
        line.append("  streams from nobody", style=BAD)
        return
    if node["sync_state"]:
        line.append(f"  {node['sync_state']}", style="" if node["sync_state"] in ("sync", "quorum") else DIM)
    if node["lag_bytes"] is not None:
        line.append(f"  {bytes_text(node['lag_bytes'])} behind", style=WARN if node["lag_bytes"] else DIM)
    if node["lag_s"]:
        line.append(f", {seconds_text(node['lag_s'])}", style=WARN if node["lag_s"] >= 1 else DIM)
    line.append(f"  timeline {node['timeline']}", style=DIM)
