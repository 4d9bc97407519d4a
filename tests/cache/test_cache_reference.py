"""The page about the cache says what the models say, and its example is one that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.cache.reference import reference
from proxy.config.diagnostics import render
from proxy.config.load import load

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cache.md"
REST = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:9}}
defaults: {upstream: app}
identity: {user: {api_key: {header: X-API-Key, keys: {one: "sha256:%s"}}}}
""" % ("0" * 64)


def test_the_page_holds_the_tables_that_are_printed() -> None:
    assert reference() in PAGE.read_text(), "put what `python -m proxy.cache.reference` prints between the remarks"


def test_the_example_of_the_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    monkeypatch.chdir(tmp_path)
    Path("proxy.yaml").write_text(REST + found[1])
    loaded = load("proxy.yaml", environment={})
    assert loaded.snapshot is not None, render(loaded.diagnostics)
