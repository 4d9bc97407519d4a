"""The page about limits says what the models say."""

from __future__ import annotations

from pathlib import Path

from proxy.limits.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"


def test_the_page_holds_the_tables_that_are_printed() -> None:
    assert reference() in PAGE.read_text(), "put what `python -m proxy.limits.reference` prints between the remarks"
