"""The JSON Schema accepts what Weir accepts, and refuses what an editor can see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.schema import schema
from proxy.config.settings import Settings
from proxy.config.source import parse

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def complaints(made: dict[str, Any], value: Any, root: dict[str, Any], path: str = "") -> Iterator[str]:
    """As much of JSON Schema 2020-12 as ours uses."""
    if "$ref" in made:
        yield from complaints(root["$defs"][made["$ref"].rpartition("/")[2]], value, root, path)
    if "anyOf" in made and all(list(complaints(branch, value, root)) for branch in made["anyOf"]):
        yield f"{path}: fits no branch"
    if "type" in made and not any(_is(kind, value) for kind in _listed(made["type"])):
        yield f"{path}: not {made['type']}"
    if ("enum" in made and value not in made["enum"]) or ("const" in made and value != made["const"]):
        yield f"{path}: not a choice"
    if isinstance(value, str) and "pattern" in made and not re.search(made["pattern"], value):
        yield f"{path}: does not match"
    if _is("number", value) and not made.get("minimum", value) <= value <= made.get("maximum", value):
        yield f"{path}: out of bounds"
    if isinstance(value, list) and "items" in made:
        for index, item in enumerate(value):
            yield from complaints(made["items"], item, root, f"{path}[{index}]")
    if isinstance(value, dict):
        yield from _of_mapping(made, value, root, path)


def _of_mapping(made: dict[str, Any], value: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}: no {key}" for key in made.get("required", ()) if key not in value)
    for key, item in value.items():
        fitting = [made.get("properties", {}).get(key)]
        fitting += [inner for pattern, inner in made.get("patternProperties", {}).items() if re.search(pattern, key)]
        fitting = [inner for inner in fitting if inner is not None]
        if not fitting and made.get("additionalProperties") is False:
            yield f"{path}.{key}: unknown"
        for inner in fitting:
            yield from complaints(inner, item, root, f"{path}.{key}")


def _listed(kinds: Any) -> list[str]:
    return kinds if isinstance(kinds, list) else [kinds]


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return kind != "boolean" and isinstance(value, TYPES[kind])


def values_of(text: str) -> Any:
    """The values as an editor sees them: nothing is substituted, so `$` stays."""
    return parse(text.replace("$", "$$").encode(), "proxy.yaml", {}).plain()


@pytest.mark.parametrize(
    "path", ["proxy.yaml", *sorted(str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "policies").glob("*.yaml"))]
)
def test_our_own_files_are_accepted(path: str) -> None:
    made = schema(included=path != "proxy.yaml")
    assert list(complaints(made, values_of((REPOSITORY / path).read_text()), made)) == []


@pytest.mark.parametrize("case", ["unknown_keys", "missing_keys", "wrong_kinds", "units", "choices"])
def test_what_an_editor_can_see_is_refused(case: str) -> None:
    text, _, shown = (GOLDEN / f"{case}.txt").read_text().partition("=" * 20)
    made = schema()
    found = list(complaints(made, values_of(text), made))
    assert len(found) >= shown.count("error[") // 3  # a branch that fits nothing counts once


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ("version: 1\n", True),
        ("version: 1\nlisten: [a:1, {address: b:2}]\nadmin: off\nx-a: 1\n", True),
        ("version: 1\nroutes: [{name: a, cache: off, x-b: [1], timeout: '${T}', upgrade: '${U}'}]\n", True),
        ("version: 1\ndefaults: {read: '${READ}'}\nwire: {max_fields: '${N}', max_head: '${SIZE:-64KiB}'}\n", True),
        ("version: 2\n", False),
        ("version: 1\ndefaults: {read: none}\n", False),
        ("version: 1\nwire: {max_fields: many}\n", False),
        ("version: 1\nwire: {max_head: 64}\n", False),
        ("version: 1\nlimits: {a: {rate: 10/sec}}\n", False),
        ("version: 1\nlimits: {a: {rate: 10/s, burst: 0}}\n", False),
    ],
)
def test_the_schema_knows_the_grammar(text: str, is_fine: bool) -> None:
    made = schema()
    assert (list(complaints(made, values_of(text), made)) == []) is is_fine


def test_every_key_is_described_and_defaults_are_written_as_people_write_them() -> None:
    made = schema()
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name, definition in {**made["$defs"], "root": made}.items():
        for key, item in definition.get("properties", {}).items():
            assert item.get("description"), f"{name}.{key} has no description"
    assert made["$defs"]["WireSettings"]["properties"]["head_timeout"]["default"] == "10s"
    assert made["$defs"]["CacheSettings"]["properties"]["memory"]["default"] == "64MiB"
    assert made["$defs"]["AccessLogSettings"]["properties"]["sample"]["default"] == "1%"


def test_the_defaults_of_the_schema_are_the_defaults_of_the_models() -> None:
    made = schema()
    settings = Settings.model_validate({"version": 1})
    for section in ("wire", "drain", "limiter", "cache", "access_log"):
        definition = made["$defs"][type(getattr(settings, section)).__name__]
        written = {key: item["default"] for key, item in definition["properties"].items() if "default" in item}
        again = type(getattr(settings, section)).model_validate(written)
        assert again == getattr(settings, section)
