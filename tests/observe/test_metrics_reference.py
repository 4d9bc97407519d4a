from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.observe.definitions import DEFINITIONS
from proxy.observe.line import AccessLine
from proxy.observe.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_is_what_the_code_prints() -> None:
    assert PAGE.read_text() == reference(), "run: python -m proxy.observe.reference > docs/reference/metrics.md"


def test_every_metric_and_every_key_of_a_line_is_on_the_page() -> None:
    page = reference()
    assert all(f"`{definition.name}`" in page for definition in DEFINITIONS)
    assert all(f"| `{name}` |" in page for name in AccessLine.__struct_fields__)


def test_names_follow_the_rules_of_the_format() -> None:
    names = [definition.name for definition in DEFINITIONS]
    assert len(names) == len(set(names))
    for definition in DEFINITIONS:
        assert definition.name.startswith("weir_")
        assert definition.name.endswith("_total") is (definition.kind == "counter")
        assert definition.help.endswith(".") or definition.help.endswith("(Unix time).")
        assert len(definition.labels) <= 4


def test_every_key_of_a_line_says_what_it_is() -> None:
    properties = msgspec.json.schema(AccessLine)["$defs"]["AccessLine"]["properties"]
    assert all(described["description"].endswith(".") for described in properties.values())
