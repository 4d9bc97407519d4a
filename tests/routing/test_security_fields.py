"""The `security_headers` preset."""

from __future__ import annotations

import pytest

from proxy.http.message import Field
from proxy.routing.security import apply_security

ALWAYS = {
    b"x-content-type-options",
    b"x-frame-options",
    b"referrer-policy",
    b"permissions-policy",
    b"cross-origin-opener-policy",
}


@pytest.mark.parametrize(("scheme", "more"), [("http", set()), ("https", {b"strict-transport-security"})])
def test_the_preset_promises_tls_only_over_tls(scheme: str, more: set[bytes]) -> None:
    assert {lower for lower, _, _ in apply_security([], scheme)} == ALWAYS | more


def test_what_the_backend_says_stays() -> None:
    own: list[Field] = [(b"x-frame-options", b"x-frame-options", b"DENY")]
    fields = apply_security(own, "http")
    assert [value for lower, _, value in fields if lower == b"x-frame-options"] == [b"DENY"]
    assert len(fields) == len(ALWAYS)
    assert len(own) == 1
