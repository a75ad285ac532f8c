"""Entries of the file added and removed in place: everything else stays as it was, byte by byte."""

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pgvigil.config.edit import (
    read_text,
    replace_text,
    with_cluster,
    with_node,
    without_cluster,
    without_node,
)
from pgvigil.errors import ConfigError, UsageError

TEXT = """\
# ours
clusters:
  orders:            # the shop
    nodes:
      pg1: {host: 10.0.0.11}   # rack 1
      # the second
      pg2: {host: 10.0.0.12, priority: 200}
      pg3: h3

    # after the nodes
    protection: async
  other:
    nodes:
      a:
        host: x
        postgres:
          port: 1
      # of b
      b:
        host: y   # end

# the end
state_dir: /x
"""


def changed(new: str, old: str = TEXT) -> list[str]:
    """The lines that differ."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_a_node_is_added_the_way_its_neighbours_are_written() -> None:
    new = with_node(TEXT, "orders", "pg4", {"host": "h4", "tags": ["clone_source"]})
    assert changed(new) == ["+       pg4: {host: h4, tags: [clone_source]}"]
    assert new.index("pg4") < new.index("# after the nodes")
    new = with_node(TEXT, "other", "c", {"host": "z", "postgres": {"port": 5}})
    assert changed(new) == ["+       c:", "+         host: z", "+         postgres:", "+           port: 5"]
    assert new.index("c:\n        host") < new.index("# the end")


def test_a_node_is_removed_and_nothing_else() -> None:
    assert changed(without_node(TEXT, "orders", "pg1")) == ["-       pg1: {host: 10.0.0.11}   # rack 1"]
    assert changed(without_node(TEXT, "orders", "pg3")) == ["-       pg3: h3"]
    assert changed(without_node(TEXT, "other", "b")) == ["-       b:", "-         host: y   # end"]
    assert len(changed(without_node(TEXT, "other", "a"))) == 4


def test_clusters_come_and_go() -> None:
    new = with_cluster(TEXT, "third", {"nodes": {"n1": {"host": "q"}}})
    assert changed(new) == ["+   third:", "+     nodes:", "+       n1:", "+         host: q"]
    assert without_cluster(new, "third") == TEXT
    assert "10.0.0.11" not in without_cluster(TEXT, "orders")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{c: {nodes: {a: x, b: y}}}", "{c: {nodes: {a: x, b: y, d: {host: h}}}}"),
        ("{c: {nodes: {a: x, b: {host: y},}}}", "{c: {nodes: {a: x, b: {host: y}, d: {host: h},}}}"),
        ("{c: {nodes: {a: x,\n  b: y}}}  # end", "{c: {nodes: {a: x,\n  b: y, d: {host: h}}}}  # end"),
    ],
)
def test_what_is_written_on_one_line_stays_so(old: str, new: str) -> None:
    assert with_node(f"clusters: {old}\n", "c", "d", {"host": "h"}) == f"clusters: {new}\n"
    assert yaml.safe_load(without_node(f"clusters: {new}\n", "c", "d")) == yaml.safe_load(f"clusters: {old}")


@pytest.mark.parametrize(
    "text",
    [
        "clusters:\n  c:\n    nodes:\n      a: x",
        "clusters:\n  c:\n    nodes:\n      a:\n        host: |\n          x\n\n# end\n",
        "clusters:\r\n  c:\r\n    nodes:\r\n      a: x\r\n",
        "defaults: &d\n  protection: async\nclusters:\n  c:\n    <<: *d\n    nodes: {a: x}\n",
    ],
)
def test_odd_ways_to_write_are_kept(text: str) -> None:
    new = with_node(text, "c", "b", {"host": "h"})
    assert yaml.safe_load(new)["clusters"]["c"]["nodes"]["b"] == {"host": "h"}
    end = "\r\n" if "\r\n" in text else "\n"
    assert without_node(new, "c", "b") in (text, text + end)


def test_what_would_change_more_is_refused() -> None:
    shared = "x: &n {a: h, b: i}\nclusters: {c: {nodes: *n}, d: {nodes: *n}}\n"
    with pytest.raises(ConfigError, match="cannot be changed without more changing"):
        with_node(shared, "c", "e", {"host": "h"})
    merged = "x: &n {a: h, b: i}\nclusters:\n  c:\n    nodes:\n      <<: *n\n      k: l\n"
    with pytest.raises(ConfigError, match="merged from elsewhere"):
        without_node(merged, "c", "a")


def test_wrong_names_are_told() -> None:
    with pytest.raises(UsageError, match="has pg1 already"):
        with_node(TEXT, "orders", "pg1", {"host": "h"})
    with pytest.raises(UsageError, match="has no pg9"):
        without_node(TEXT, "orders", "pg9")
    one = "clusters: {c: {nodes: {a: x}}}"
    with pytest.raises(UsageError, match="is the last"):
        without_node(one, "c", "a")
    with pytest.raises(UsageError, match="is the last"):
        without_cluster(one, "c")
    with pytest.raises(ConfigError, match="cannot be found"):
        with_node(TEXT, "nowhere", "a", {"host": "h"})


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8) | st.integers(0, 9),
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=4,
)
ENTRIES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)


@given(
    st.dictionaries(NAMES, ENTRIES, min_size=1, max_size=4),
    NAMES,
    ENTRIES,
    st.sampled_from([True, False, None]),
)
def test_whatever_is_there_an_entry_comes_and_goes(
    nodes: dict[str, Any], name: str, entry: dict[str, Any], flow: bool | None
) -> None:
    text = yaml.safe_dump({"clusters": {"c": {"nodes": nodes}}}, default_flow_style=flow, allow_unicode=True)
    if name in nodes:
        return
    new = with_node(text, "c", name, entry)
    assert yaml.safe_load(new)["clusters"]["c"]["nodes"] == {**nodes, name: entry}
    assert yaml.safe_load(without_node(new, "c", name)) == yaml.safe_load(text)


def test_the_file_is_replaced_only_if_it_is_still_the_same(tmp_path: Path) -> None:
    file = tmp_path / "pgvigil.yaml"
    file.write_text("a: 1\n")
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    replace_text(link, "a: 1\n", "a: 2\n")
    assert file.read_text() == "a: 2\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    with pytest.raises(ConfigError, match="changed meanwhile"):
        replace_text(file, "a: 1\n", "a: 3\n")
    assert read_text(file) == "a: 2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "pgvigil.yaml"]
