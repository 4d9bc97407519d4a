"""The page says what the model says."""

from __future__ import annotations

from pathlib import Path

from proxy.replicas.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "replicas.md"


def test_the_table_of_the_page_is_the_model_s() -> None:
    assert reference() in PAGE.read_text()
