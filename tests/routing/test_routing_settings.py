"""What may stand in `match` and `rewrite`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.routing.settings import MatchSettings, RewriteSettings


def test_a_route_without_conditions_is_for_everything() -> None:
    match = MatchSettings()
    assert (match.path, match.methods, match.hosts) == ("/**", (), ())


@pytest.mark.parametrize(
    ("host", "stored"),
    [
        ("Shop.Example.COM", "shop.example.com"),
        ("shop.example.com.", "shop.example.com"),
        ("*.Example.com", "*.example.com"),
        ("[::1]", "[::1]"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_hosts_are_kept_in_the_form_that_requests_are_compared_in(host: str, stored: str) -> None:
    assert MatchSettings(hosts=(host,)).hosts == (stored,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hosts": ["shop.test:8080"]}, "has a port, and a route is for all of them; write `shop.test`"),
        ({"hosts": ["müller.test"]}, "xn-- form"),
        ({"hosts": ["a b"]}, "is not a host"),
        ({"hosts": [""]}, "is not a host"),
        ({"hosts": ["*"]}, "the `\\*` is not a whole first label"),
        ({"hosts": ["a.*.test"]}, "the `\\*` is not a whole first label"),
        ({"hosts": ["https://shop.test"]}, "is not a host|has a port"),
        ({"methods": ["get"]}, "methods are case-sensitive; write GET"),
        ({"methods": ["CONNECT"]}, "CONNECT is refused everywhere"),
        ({"methods": ["TRACE"]}, "TRACE is refused everywhere"),
        ({"methods": ["G T"]}, "is not a method"),
        ({"path": "api"}, "does not begin with `/`"),
    ],
)
def test_a_wrong_match_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MatchSettings.model_validate(settings)


def test_prefixes_lose_their_final_slash() -> None:
    rewrite = RewriteSettings(strip_prefix="/api/", add_prefix="/v2/")
    assert (rewrite.strip_prefix, rewrite.add_prefix) == ("/api", "/v2")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs `strip_prefix`, `add_prefix` or `path`"),
        ({"path": "/a", "add_prefix": "/b"}, "cannot be beside it"),
        ({"strip_prefix": "api"}, "does not begin with `/`"),
        ({"add_prefix": "//evil.test"}, "empty segment"),
        ({"add_prefix": "/a/../b"}, "dot segments"),
        ({"add_prefix": "/a?b"}, "has a query"),
        ({"add_prefix": "/a#b"}, "has a fragment"),
        ({"add_prefix": "/a b"}, "without spaces"),
        ({"add_prefix": "/a\r\nX: y"}, "write it in ASCII"),
        ({"add_prefix": "/é"}, "write it in ASCII"),
        ({"add_prefix": "/a\\b"}, "in different ways"),
        ({"path": "//{id}"}, "empty segment"),
        ({"path": "/{id"}, "has a brace"),
        ({"path": "/{1}"}, "has a brace"),
        ({"path": "new/{id}"}, "does not begin with `/`"),
        ({"path": "http://evil.test/"}, "does not begin with `/`"),
    ],
)
def test_a_wrong_rewrite_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RewriteSettings.model_validate(settings)
