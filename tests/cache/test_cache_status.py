"""Section 3.6: what Cache-Status says, in the grammar of structured fields (RFC 9211, RFC 9651)."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest

from proxy.cache import status


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        pytest.param(status.hit(34), {"hit": True, "ttl": 34}, id="hit"),
        pytest.param(status.hit(-3), {"hit": True, "ttl": -3}, id="stale hit"),
        pytest.param(status.URI_MISS, {"fwd": "uri-miss"}, id="miss"),
        pytest.param(status.METHOD, {"fwd": "method"}, id="method"),
        pytest.param(status.bypass(b"no-store"), {"fwd": "bypass", "detail": "no-store"}, id="bypass"),
        pytest.param(status.stored(status.VARY_MISS), {"fwd": "vary-miss", "stored": True}, id="stored"),
        pytest.param(
            status.not_stored(status.URI_MISS, b"private"), {"fwd": "uri-miss", "detail": "private"}, id="not stored"
        ),
        pytest.param(status.collapsed(status.STALE), {"fwd": "stale", "collapsed": True}, id="collapsed"),
        pytest.param(status.answered(status.REQUEST, 304), {"fwd": "request", "fwd-status": 304}, id="validated"),
        pytest.param(
            status.stood_in(status.STALE, 503),
            {"fwd": "stale", "fwd-status": 503, "detail": "stale-if-error"},
            id="instead of an error",
        ),
        pytest.param(
            status.stood_in(status.STALE, None), {"fwd": "stale", "detail": "stale-if-error"}, id="unreachable"
        ),
    ],
)
def test_every_text_is_a_member_with_these_parameters(text: bytes, parameters: dict[str, Any]) -> None:
    (member,) = http_sf.parse(b"weir; " + text, tltype="list")
    found = {name: value if isinstance(value, bool | int) else str(value) for name, value in member[1].items()}
    assert found == parameters
