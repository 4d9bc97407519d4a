"""What `weir explain` says of keys and of whose responses are whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app

CONFIGURATION = """
version: 1
trusted_proxies: [127.0.0.1/32]
upstreams: {app: {primary: http://127.0.0.1:3000}}
defaults: {upstream: app}
identity: {user: {header: X-User}}
routes:
  - {name: search, match: {path: /search}, cache: {ttl: 60s, keep_query: [q, page], sort_query: true}}
  - {name: me, match: {path: /me}, cache: {ttl: 60s, by: user}}
  - {name: rates, match: {path: /rates}, require_user: true,
     cache: {ttl: 60s, shared_with_everyone: "rates do not depend on who asks"}}
"""


@pytest.fixture
def cache_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy.yaml").write_text(CONFIGURATION)

    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["explain", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)["cache"]
        return found

    return run


def test_the_key_is_written_as_the_route_writes_it(cache_of: Any) -> None:
    assert cache_of("GET /search?utm=1&q=2&page=3")["key"] == "http://localhost/search?page=3&q=2"


def test_without_a_user_nothing_is_looked_up_where_each_has_the_own(cache_of: Any) -> None:
    said = cache_of("GET /me")
    assert (said["applies"], said["reason"]) == (False, "no user is known, and each has responses of its own")
    known = cache_of("GET /me", "-H", "X-User: ann", "-H", "Authorization: x")
    assert (known["applies"], known["reason"]) == (True, "")
    assert "apart for each user" in known["policy"]


def test_the_reason_for_sharing_is_repeated(cache_of: Any) -> None:
    said = cache_of("GET /rates", "-H", "X-User: ann", "-H", "Authorization: x")
    assert said["policy"].endswith("because: rates do not depend on who asks.")
    assert (said["applies"], said["reason"]) == (True, "")
