"""The rules of the house that no other tool checks, as a table; each rule is shown to catch its offence.

Limits only ever go down. A rule is a function from one parsed module to its complaints.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "pgvigil"

LINES_PER_MODULE = 400
LINES_PER_FUNCTION = 60

CORE = ("model/", "judge/", "decide/")
"""Where everything is a function of its arguments."""

IMPURE_MODULES = {"time", "random", "secrets", "os", "socket", "subprocess", "asyncio", "logging", "uuid"}
IMPURE_NAMES = {"open", "print", "input", "exec", "eval", "breakpoint"}
IMPURE_METHODS = {"now", "utcnow", "today", "monotonic", "sleep", "read_text", "write_text", "getenv"}

VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

RETIRED = {
    "master": "primary",
    "slave": "standby",
    "replica": "standby",
    "keeper": "node",
    "instance": "node",
    "member": "node",
    "formation": "cluster",
    "box": "host",
    "daemon": "controller",
    "monitor": "controller",
    "orchestrator": "controller",
    "agent": "controller or host",
    "observer": "witness",
    "noop": "hold",
    "epoch": "generation",
    "stonith": "fence",
    "isolate": "fence or cut",
    "repoint": "follow",
    "takeover": "failover",
    "handover": "switchover",
    "failback": "rejoin",
    "resync": "rewind or clone",
    "salvage": "rescue",
}
SPOKEN_ABROAD = {
    "api/": {"master", "replica", "leader", "member"},  # Patroni's names, as aliases
    "store/": {"member", "leader"},  # of an etcd cluster
}
"""Where another system's word is the right one."""

MAY_CATCH_ALL = ("controller/fleet.py", "api/")
MAKES_CONFIRMED = "act/engine.py"


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its path below the package, its text, its tree."""

    path: str
    text: str

    @property
    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(ast.parse(self.text))

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    def lies_in(self, *places: str) -> bool:
        return self.path.startswith(places)


Rule = Callable[[Module], Iterator[str]]


def module_is_short(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > LINES_PER_MODULE:
        yield f"1: {lines} lines, {LINES_PER_MODULE} at most: split it by family"


def functions_are_short(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_PER_FUNCTION:
                yield f"{node.lineno}: {node.name} has {lines} lines, {LINES_PER_FUNCTION} at most"


def core_is_pure(module: Module) -> Iterator[str]:
    if not module.lies_in(*CORE):
        return
    for node in module.nodes:
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, method = called.rpartition(".")
            of_module = owner.partition(".")[0] in IMPURE_MODULES
            if of_module or called in IMPURE_NAMES or (owner and method in IMPURE_METHODS):
                yield f"{node.lineno}: {called}() in the core: take its result as an argument"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in IMPURE_MODULES:
            yield f"{node.lineno}: from {node.module} import … in the core: take its result as an argument"


def names_made(module: Module) -> Iterator[tuple[int, str]]:
    """Identifiers that this module chooses itself, with their lines; not those it only uses."""
    yield 1, module.stem
    for node in module.nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case _:
                continue


def words_of(name: str) -> set[str]:
    """The words of an identifier: `old_masterNode` → old, master, node; a plural counts as its singular."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return words | {word.removesuffix("s") for word in words}


def words_are_ours(module: Module) -> Iterator[str]:
    foreign = {word for place, words in SPOKEN_ABROAD.items() if module.lies_in(place) for word in words}
    for line, name in names_made(module):
        for word in sorted(words_of(name) & (RETIRED.keys() - foreign)):
            yield f"{line}: {name}: say {RETIRED[word]}, not {word}"


def module_name_says_something(module: Module) -> Iterator[str]:
    if vague := VAGUE_MODULES & set(Path(module.path).with_suffix("").parts):
        yield f"1: {', '.join(vague)} could hold anything: name what it owns"


def public_is_described(module: Module) -> Iterator[str]:
    tree = ast.parse(module.text)
    if ast.get_docstring(tree) is None:
        yield "1: the module does not say what it owns"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            described = ast.get_docstring(node) is not None
            if not described and not node.name.startswith("_"):
                yield f"{node.lineno}: {node.name} has no docstring"


def cleans_up(handler: ast.ExceptHandler) -> bool:
    """Whether what was caught goes on: a handler that ends in a bare `raise`."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def only_edges_catch_all(module: Module) -> Iterator[str]:
    if module.lies_in(*MAY_CATCH_ALL):
        return
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and not cleans_up(node):
            caught = "everything" if node.type is None else ast.unparse(node.type)
            if re.search(r"\b(everything|Exception|BaseException)\b", caught):
                edges = " and ".join(MAY_CATCH_ALL)
                yield f"{node.lineno}: catches {caught}: only {edges} may; name what you expect, or re-raise"


def only_the_engine_confirms(module: Module) -> Iterator[str]:
    if module.path == MAKES_CONFIRMED:
        return
    for node in module.nodes:
        if isinstance(node, ast.Call):
            made = ast.unparse(node.func).partition("[")[0].rpartition(".")[2]
            if made == "Confirmed":
                yield f"{node.lineno}: only {MAKES_CONFIRMED} may make a Confirmed"


RULES: tuple[Rule, ...] = (
    module_is_short,
    functions_are_short,
    core_is_pure,
    words_are_ours,
    module_name_says_something,
    public_is_described,
    only_edges_catch_all,
    only_the_engine_confirms,
)

OFFENCES: tuple[tuple[Rule, str, str], ...] = (
    (module_is_short, "act/fence.py", "x = 1\n" * (LINES_PER_MODULE + 1)),
    (functions_are_short, "act/fence.py", "def f():\n" + "    x = 1\n" * LINES_PER_FUNCTION),
    (core_is_pure, "model/units.py", "import time\ndef lag(): return time.monotonic()"),
    (core_is_pure, "judge/primary.py", "def since(): return datetime.datetime.now()"),
    (core_is_pure, "decide/election.py", "from random import choice"),
    (core_is_pure, "decide/election.py", "def f(): print(1)"),
    (words_are_ours, "act/fence.py", "def stop_master(): ..."),
    (words_are_ours, "act/fence.py", "class KeeperView: ..."),
    (words_are_ours, "act/fence.py", "def stop(*, members): ..."),
    (words_are_ours, "act/fence.py", "self.slave = 1"),
    (words_are_ours, "controller/daemon.py", ""),
    (module_name_says_something, "act/utils.py", ""),
    (module_name_says_something, "common/fence.py", ""),
    (public_is_described, "act/fence.py", "x = 1"),
    (public_is_described, "act/fence.py", '"""Fences."""\nasync def stop(): ...'),
    (public_is_described, "act/fence.py", '"""Fences."""\nclass Stop: ...'),
    (only_edges_catch_all, "act/fence.py", "try: f()\nexcept Exception: ..."),
    (only_edges_catch_all, "act/fence.py", "try: f()\nexcept (OSError, BaseException): ..."),
    (only_edges_catch_all, "act/fence.py", "try: f()\nexcept: ..."),
    (only_the_engine_confirms, "act/fence.py", "step = Confirmed(step)"),
    (only_the_engine_confirms, "controller/cluster.py", "step = engine.Confirmed[Promote](step)"),
)

INNOCENT: tuple[tuple[Rule, str, str], ...] = (
    (core_is_pure, "sight/watch.py", "def lag(): return time.monotonic()"),
    (core_is_pure, "model/sighting.py", "def age(now): return now - 1\ndef f(view): return view.time(1)"),
    (words_are_ours, "act/fence.py", "def f(x): return isinstance(x, asyncssh.agent)"),
    (words_are_ours, "api/app.py", "def replica(): ..."),
    (only_edges_catch_all, "controller/fleet.py", "try: f()\nexcept Exception: ..."),
    (only_edges_catch_all, "act/fence.py", "try: f()\nexcept ExceptionGroup: ..."),
    (only_edges_catch_all, "act/fence.py", "try: f()\nexcept BaseException:\n    close()\n    raise"),
    (only_the_engine_confirms, "act/engine.py", "step = Confirmed(step)"),
    (only_the_engine_confirms, "act/promote.py", "def promote(step: Confirmed[Promote]): ..."),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_rule_is_kept(rule: Rule) -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert files, f"no sources below {SOURCE}"
    modules = [Module(path.relative_to(SOURCE).as_posix(), path.read_text()) for path in files]
    broken = [f"src/pgvigil/{module.path}:{complaint}" for module in modules for complaint in rule(module)]
    if broken:
        pytest.fail("\n".join([f"{len(broken)} broken:", *broken]), pytrace=False)


@pytest.mark.parametrize(("rule", "path", "text"), OFFENCES)
def test_rule_catches_its_offence(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Module(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), INNOCENT)
def test_rule_leaves_the_innocent_alone(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Module(path, text)))
