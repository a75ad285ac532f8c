"""The page of the configuration is the generated one, and says something of every key."""

from pathlib import Path
from typing import get_args, get_origin

from pydantic import TypeAdapter

from pgvigil.config.advice import inner, section_at
from pgvigil.config.reference import config_json_schema, config_reference
from pgvigil.config.schema import FileSection
from pgvigil.config.section import Section
from pgvigil.config.units import duration, duration_text, rate, rate_text, size, size_text

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config.md"


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text() == config_reference(), (
        "run: python -m pgvigil.config.reference > docs/reference/config.md"
    )


def test_every_key_is_described() -> None:
    def undescribed(section: type[Section]) -> list[str]:
        below = [inner(field.annotation) for field in section.model_fields.values()]
        below = [inner(get_args(kind)[1]) if get_origin(kind) is dict else kind for kind in below]
        here = [f"{section.__name__}.{n}" for n, f in section.model_fields.items() if not f.description]
        return here + [line for kind in below if kind for line in undescribed(kind)]

    assert undescribed(FileSection) == []


def test_the_schema_says_how_defaults_are_written() -> None:
    failover = config_json_schema()["$defs"]["FailoverSection"]["properties"]
    assert failover["unreachable_after"]["default"] == "3s"
    assert failover["max_lag"]["default"] == "16MB"
    assert failover["max_per"]["default"] == "3 in 15min"


def test_a_text_form_reads_as_it_was() -> None:
    for text in ("500ms", "3s", "90s", "15min", "1h", "2d", "0ms"):
        assert duration_text(duration(text)) == text
    for text in ("0B", "1B", "10kB", "16MB", "1GB", "3TB"):
        assert size_text(size(text)) == text
    for text in ("3 in 15min", "none"):
        assert rate_text(rate(text)) == text
    assert duration_text(duration("0.5s")) == "500ms"


def test_sections_are_found_by_their_place() -> None:
    assert section_at(()) is FileSection
    for place in ("clusters.a", "clusters.a.nodes.b.postgres.control", "defaults.failover.rescue", "log"):
        assert section_at(tuple(place.split("."))) is not None
    for place in ("nothing", "clusters", "state_dir", "state_dir.x"):
        assert section_at(tuple(place.split("."))) is None


def test_the_schema_is_one() -> None:
    assert TypeAdapter(dict[str, object]).validate_python(config_json_schema())["type"] == "object"
