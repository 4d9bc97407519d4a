"""`weir explain`: the stages themselves say what they would do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app

KEY = hashlib.sha256(b"abc").hexdigest()
CONFIGURATION = f"""
version: 1
trusted_proxies: [10.0.0.0/8]
upstreams:
  app:
    primary: http://127.0.0.1:3000
    replicas: [http://127.0.0.1:3001, http://127.0.0.1:3002]
identity: {{user: [{{api_key: {{keys: {{mobile: "sha256:{KEY}"}}}}}}, {{header: X-User}}]}}
limits:
  per-ip: {{rate: 200/min}}
  per-user: {{rate: 60/min, by: user}}
  per-key: {{rate: 5/s, by: api_key, missing: skip}}
  strict: {{rate: 5/s, by: "header:X-Device", missing: deny}}
routes:
  - {{name: search, upstream: app, match: {{path: /api/search, methods: [GET]}}, limits: [per-ip, per-user, per-key],
     cache: {{ttl: 60s, ignore_query: [utm]}}, cors: {{origins: [https://a.example]}}}}
  - {{name: item, upstream: app, match: {{path: "/api/items/{{id}}"}}, require_user: true, read: primary}}
  - {{name: device, upstream: app, match: {{path: /device}}, limits: [strict]}}
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy.yaml").write_text(CONFIGURATION)

    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["explain", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_text_for_people(ask: Any) -> None:
    result = CliRunner().invoke(app, ["explain", "GET /api/search?q=lamp&utm=x", "--ip", "203.0.113.7"])
    assert result.stdout.splitlines() == [
        "request   GET /api/search?q=lamp&utm=x from 203.0.113.7",
        "route     search: /api/search                                           proxy.yaml:15",
        "client    203.0.113.7; no user",
        "limits    per-ip: 200/min by ip, gcra, burst 200                        proxy.yaml:10",
        "            Counted by ip. Key weir:1:gcra:6:per-ip:{i203.0.113.7}",
        "          per-user: 60/min by user, gcra, burst 60                      proxy.yaml:11",
        "            The request has no user: counted by address instead (missing: ip)."
        " Key weir:1:gcra:8:per-user:{i203.0.113.7}",
        "          per-key: 5/s by api_key, gcra, burst 5                        proxy.yaml:12",
        "            The request has no api_key: not limited by this policy (missing: skip).",
        "cache     GET and HEAD; fresh for 1m; whatever utm is",
        "            Key http://localhost/api/search?q=lamp",
        "upstream  app, replicas (GET reads): 127.0.0.1:3001, 127.0.0.1:3002, round_robin",
        "result    goes on to the cache or the upstream, while the limits admit it",
        "          (nothing was sent, nothing was counted)",
    ]


def test_a_user_is_known_by_what_the_request_carries(ask: Any) -> None:
    said = ask("GET /api/search", "-H", "X-API-Key: abc")
    assert (said["client"]["user"], said["client"]["api_key"], said["client"]["via"]) == ("mobile", "mobile", "api_key")
    assert [limit["key"] for limit in said["limits"]] == [
        "weir:1:gcra:6:per-ip:{i127.0.0.1}",
        "weir:1:gcra:8:per-user:{umobile}",
        "weir:1:gcra:7:per-key:{kmobile}",
    ]


@pytest.mark.parametrize(
    ("ip", "user", "address"), [("10.0.0.1", "u7", "198.51.100.4"), ("203.0.113.7", None, "203.0.113.7")]
)
def test_forwarding_fields_are_believed_from_trusted_proxies_only(ask: Any, ip: str, user: Any, address: str) -> None:
    said = ask("GET /api/search", "--ip", ip, "-H", "X-User: u7", "-H", "X-Forwarded-For: 198.51.100.4")
    assert (said["client"]["user"], said["client"]["address"]) == (user, address)


@pytest.mark.parametrize(
    ("request_line", "role", "why"),
    [
        ("GET /api/search", "replicas", "GET reads"),
        ("HEAD /api/search", "replicas", "HEAD reads"),
        ("POST /device", "primary", "POST may write"),
        ("GET /api/items/5", "primary", "the route says `read: primary`"),
    ],
)
def test_the_choice_of_the_upstream_has_a_reason(ask: Any, request_line: str, role: str, why: str) -> None:
    upstream = ask(request_line)["upstream"]
    assert (upstream["role"], upstream["why"]) == (role, why)


@pytest.mark.parametrize(
    ("arguments", "result", "route"),
    [
        (["GET /nowhere"], "404 from Weir: No route matches the request", None),
        (["POST /api/search"], "405 from Weir: The method is not allowed for this path", None),
        (["TRACE /api/search"], "405 from Weir: The method is refused (TRACE)", None),
        (["GET /api//../search"], "400 from Weir: The request is malformed or ambiguous", None),
        (["GET /api/items/5"], "401 from Weir: This route requires an authenticated user", "item"),
        (["GET /device", "-H", "X-Device: 1"], "429 from Weir: Request cannot be satisfied", "device"),
        (["GET /device"], "429 from Weir: Request cannot be satisfied as assigned quota has been exceeded", "device"),
        (
            ["GET /device", "-H", "X-Device: 1", "--ip", "10.0.0.1"],
            "goes on to the cache or the upstream, while the limits",
            "device",
        ),
        (
            ["OPTIONS /api/search", "-H", "Origin: https://a.example", "-H", "Access-Control-Request-Method: GET"],
            "204 from Weir: the route's CORS rule answers a preflight",
            "search",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_result_is_what_the_client_would_get(ask: Any, arguments: list[str], result: str, route: Any) -> None:
    said = ask(*arguments)
    assert said["result"].startswith(result)
    assert (said["route"] or {}).get("name") == route


def test_a_url_gives_the_host(ask: Any) -> None:
    said = ask("GET https://Shop.Example.com:8443/api/search?q=1")
    assert said["request"]["host"] == "shop.example.com"
    assert said["cache"]["key"] == "https://shop.example.com:8443/api/search?q=1"


def test_names_in_the_path_are_shown(ask: Any) -> None:
    assert ask("GET /api/items/5")["route"] == {
        "name": "item",
        "where": "proxy.yaml:17",
        "path": "/api/items/{id}",
        "names": {"id": "5"},
    }


def test_a_bad_configuration_explains_itself(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(CONFIGURATION + "listne: 1\n")
    result = CliRunner().invoke(app, ["explain", "GET /"])
    assert result.exit_code == 1
    assert "did you mean `listen`?" in result.stderr
