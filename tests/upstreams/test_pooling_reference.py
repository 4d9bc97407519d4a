"""docs/reference/pooling.md tells of every key that there is, and of none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.upstreams.queue import PRIORITIES, Refusal
from proxy.upstreams.settings import PoolSettings

PAGE = (Path(__file__).parents[2] / "docs/reference/pooling.md").read_text()


def test_every_key_of_a_pool_has_a_row() -> None:
    section = PAGE.partition("## Every key of `pool`")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(PoolSettings.model_fields)


def test_classes_and_reasons_are_named() -> None:
    for word in (*PRIORITIES, *(refusal.value for refusal in Refusal)):
        assert f"`{word}`" in PAGE
