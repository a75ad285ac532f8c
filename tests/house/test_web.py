"""The dashboard's files: small modules, vendored ones as they came, every word in both languages."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvigil.controller.status_shape import Health, State
from pgvigil.model.record import Phase

STATIC = Path(__file__).resolve().parents[2] / "src" / "pgvigil" / "web" / "static"
VENDOR = STATIC / "vendor"
LINES_PER_MODULE = 250
OURS = sorted((STATIC / "js").rglob("*.js"))
STYLES = sorted((STATIC / "css").glob("*.css"))
LANGUAGES = ("en", "zh")
FROM = re.compile(r'(?:import|from) "([^"]+)"')
KEYED = re.compile(r't\(\s*(?:"([\w./?*! -]+)"|`([^`]+)`)')


def dictionary(language: str) -> dict[str, str]:
    """The texts of a language: the module is a comment and one JSON object."""
    text = (STATIC / "js" / "i18n" / f"{language}.js").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text[text.index("{") :].rstrip().removesuffix(";"))
    return found


def templates(text: str) -> Iterator[str]:
    """The literal parts of each html`…`, without what stands in ${…}; those inside come on their own."""
    for start in (match.end() for match in re.finditer(r"html`", text)):
        parts, place = [], start
        while text[place] != "`":
            if text.startswith("${", place):
                place = after_braces(text, place + 2)
                parts.append("\0")
            else:
                parts.append(text[place])
                place += 1
        yield "".join(parts)


def after_braces(text: str, place: int) -> int:
    """Behind the brace that closes the expression which begins here."""
    depth = 1
    while depth:
        if text[place] == "`":
            place += 1
            while text[place] != "`":
                place = after_braces(text, place + 2) if text.startswith("${", place) else place + 1
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        place += 1
    return place


def words_outside(text: str) -> Iterator[str]:
    """Visible words that are written into a module."""
    for template in templates(text):
        for shown in re.split(r"<[^>]*>", re.sub(r"<code>[^<]*</code>", "", template)):
            if re.search(r"[^\W\d_]{2,}", shown.replace("pgvigil", "")):
                yield shown.strip()
        for name, value in re.findall(r'(title|aria-label|placeholder|alt)="?([^"\s>]*)', template):
            if re.search(r"[^\W\d_]", value):
                yield f"{name}={value}"


def test_words_outside_are_seen() -> None:
    assert list(words_outside('html`<b>Hello</b>${t("x")}`')) == ["Hello"]
    assert list(words_outside('html`<b title="Save">${x && html`<i>Now</i>`}</b>`')) == ["title=Save", "Now"]
    assert (
        list(words_outside('html`<b class="a" title=${t("b")}>${t(`c.${d}`)} / ${{ a: "word" }}</b>`')) == []
    )


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_module_is_short_described_and_speaks_through_the_dictionary(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/**"), "it does not say what it owns"
    if path.parent.name != "i18n":
        assert len(text.splitlines()) <= LINES_PER_MODULE
        assert not list(words_outside(text))
    for wanted in FROM.findall(text):
        if wanted.startswith("."):
            assert (path.parent / wanted).is_file(), wanted
        else:
            pytest.fail(f"{wanted}: a module is imported by its path, from here")


def test_the_languages_have_the_same_keys_and_places() -> None:
    english, chinese = map(dictionary, LANGUAGES)
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert text
        assert chinese[key]
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", chinese[key])), key


def test_every_key_that_is_asked_for_is_there_and_every_text_is_used() -> None:
    known = dictionary("en").keys()
    code = "\n".join(path.read_text(encoding="utf-8") for path in OURS if path.parent.name != "i18n")
    asked = {plain for plain, _ in KEYED.findall(code) if "." in plain and "/" not in plain}
    assert asked <= known, f"no text for {sorted(asked - known)}"
    groups = {made.partition("${")[0] for _, made in KEYED.findall(code) if made}
    groups |= {f"{group}." for group in re.findall(r'word\("(\w+)"', code)}
    unused = {key for key in known - asked if not key.startswith(tuple(groups))}
    assert not unused, f"nothing shows {sorted(unused)}"


def test_every_action_and_shape_has_its_texts() -> None:
    known = dictionary("en").keys()
    views = STATIC / "js" / "views"
    actions = re.findall(r'\bid: "(\w+)"', (views / "actions.js").read_text())
    assert len(actions) > 10
    assert {f"{group}.{each}" for each in actions for group in ("action", "do", "about")} <= known
    flags = re.findall(
        r'id: "(\w+)"[^{}]*?fields: \[(?:{[^}]*}, )?{ name: "(\w+)", kind: "flag"',
        (views / "actions.js").read_text(),
    )
    assert {f"flag.{action}.{flag}" for action, flag in flags} == {
        key for key in known if key.startswith("flag.")
    }
    assert {f"state.{state}" for state in State} <= known
    assert {f"phase.{phase}" for phase in Phase} <= known
    for health in Health:
        assert {f"health.{health}", f"headline.{health}"} <= known


def test_vendored_files_are_those_that_are_written_down() -> None:
    rows = [line.split() for line in (VENDOR / "VENDORED.txt").read_text().splitlines() if line[:1].islower()]
    written = {file: digest for file, _, _, _, digest in rows}
    there = {path.name for path in VENDOR.iterdir()} - {"VENDORED.txt"}
    assert there - {name for name in there if name.startswith("LICENSE.")} == written.keys()
    for file, names, _, licence, digest in rows:
        assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest, f"{file} was changed"
        assert licence
        for name in names.split("+"):
            assert (VENDOR / f"LICENSE.{name}").is_file()


@pytest.mark.parametrize("path", [*OURS, *STYLES, STATIC / "index.html"], ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere_and_nothing_is_inline(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    assert not re.search(r"\son\w+=\"|style=\"|innerHTML|\beval\(|@import", text)
    assert not re.search(r"localStorage.*[tT]oken|[?&]token=", text), "a token stays in sessionStorage"


def colours(theme: str) -> dict[str, str]:
    """The custom properties of a theme that are colours."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_is_readable_in_both_themes() -> None:
    blocks = re.findall(r"\{([^{}]*)\}", (STATIC / "css" / "tokens.css").read_text())
    themes = [found for found in map(colours, blocks) if "ground" in found]
    assert len(themes) == 3  # light, dark by the system, dark by choice
    assert themes[1] == themes[2]
    for theme in themes:
        for name in ("text", "dim", "accent", "good", "note", "warn", "bad", "busy"):
            for ground in ("ground", "surface", "sunken"):
                assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
        for tone in ("good", "note", "warn", "bad", "busy"):
            for text in (tone, "text", "dim"):
                assert contrast(theme[text], theme[f"{tone}-wash"]) >= 4.5, (text, tone)
        assert contrast(theme["on-accent"], theme["accent"]) >= 4.5
        assert contrast(theme["surface"], theme["bad"]) >= 4.5  # a dangerous button
        assert contrast(theme["line-strong"], theme["surface"]) >= 3  # borders of fields and boxes
