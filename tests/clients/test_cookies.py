"""Signed cookies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.cookies import CookieSource, cookie_values, sign_cookie
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

MakeRequest = Callable[..., Request]
SECRET = "a secret of more than thirty-two bytes"
GOOD = sign_cookie("sid", "alice", 2000, SECRET)


def _fault(make_request: MakeRequest, cookie: str, now: float = 1000.0) -> str | None:
    finding = CookieSource("sid", SECRET).find(make_request(("Cookie", cookie)), now)
    if finding is None:
        return None
    assert (finding.error is ErrorKind.UNAUTHENTICATED) is bool(finding.fault)
    assert (finding.user is None) is bool(finding.fault)
    return finding.fault or finding.user


@given(st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=50))
def test_a_signed_name_comes_back(make_request: MakeRequest, user: str) -> None:
    assert _fault(make_request, "sid=" + sign_cookie("sid", user, 2000, SECRET)) == user


def test_the_form_is_the_documented_one() -> None:
    """A fixed vector, so that backends can be written against it."""
    assert sign_cookie("sid", "a.b@c d", 1700000000, "0123456789abcdef0123456789abcdef") == (
        "a%2Eb%40c%20d.1700000000.slyUjvkWFD5or3ojKXb_ugyXvCQn0iQWIPE9ShHsSNo"
    )


def test_a_cookie_holds_until_it_expires(make_request: MakeRequest) -> None:
    assert _fault(make_request, f"a=b; sid={GOOD}; c=d", now=1999.9) == "alice"
    assert _fault(make_request, f"sid={GOOD}", now=2000.0) == "expired"
    finding = CookieSource("sid", SECRET).find(make_request(("Cookie", f"sid={GOOD}")), 1000.0)
    assert finding is not None
    assert finding.until_wall == 2000.0


@pytest.mark.parametrize(
    ("cookie", "fault"),
    [
        pytest.param(f"sid={GOOD[:-1]}A", "signature", id="last-character"),
        pytest.param(f"sid={GOOD}=", "signature", id="padding"),
        pytest.param(f"sid={GOOD.replace('alice', 'admin')}", "signature", id="another-name"),
        pytest.param(f"sid={GOOD.replace('2000', '9000')}", "signature", id="another-expiry"),
        pytest.param("sid=" + sign_cookie("sid", "alice", 2000, SECRET + "x"), "signature", id="another-secret"),
        pytest.param("sid=" + sign_cookie("theme", "alice", 2000, SECRET), "signature", id="another-cookie"),
        pytest.param("sid=alice", "signature", id="unsigned"),
        pytest.param("sid=..", "signature", id="dots"),
        pytest.param("sid=" + "x" * 2000, "malformed", id="huge"),
        pytest.param(f"sid={GOOD}; sid={sign_cookie('sid', 'bob', 2000, SECRET)}", "malformed", id="two-values"),
        pytest.param("sid=" + sign_cookie("sid", "", 2000, SECRET), "malformed", id="no-name"),
        pytest.param("sid=" + sign_cookie("sid", "a\nb", 2000, SECRET), "malformed", id="control-character"),
        pytest.param("sid=" + sign_cookie("sid", "x" * 300, 2000, SECRET), "malformed", id="long-name"),
        pytest.param("sid=" + sign_cookie("sid", "alice", -5, SECRET), "malformed", id="negative-expiry"),
    ],
)
def test_a_wrong_cookie_is_an_error(make_request: MakeRequest, cookie: str, fault: str) -> None:
    assert _fault(make_request, cookie) == fault


@pytest.mark.parametrize("cookie", ["", "other=1", "xsid=1", "sidx=1", "sid", "sid=", "SID=1", "a=sid=1"])
def test_without_the_cookie_there_is_no_finding(make_request: MakeRequest, cookie: str) -> None:
    assert _fault(make_request, cookie) is None


def test_the_same_value_twice_is_one(make_request: MakeRequest) -> None:
    assert _fault(make_request, f"sid={GOOD}; sid={GOOD}") == "alice"


def test_cookies_in_several_lines_are_kept_apart(make_request: MakeRequest) -> None:
    request = make_request(("Cookie", "a=1,2"), ("Cookie", f'b="x"; sid={GOOD}'), ("Cookie", "a=3"))
    assert cookie_values(request, b"sid") == [GOOD.encode()]
    assert cookie_values(request, b"a") == [b"1,2", b"3"]
    assert cookie_values(request, b"b") == [b"x"]
