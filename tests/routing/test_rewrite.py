"""Rewrites of the path: what they give, and what no request can make of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.targets import BadTarget, canonical_path, split_target
from proxy.routing.rewrite import Rewrite, compile_rewrite
from proxy.routing.settings import RewriteSettings


@pytest.mark.parametrize(
    ("strip", "add", "target", "result"),
    [
        pytest.param("/api", "", b"/api/items?a=1", b"/items?a=1", id="strip"),
        pytest.param("/api", "", b"/api", b"/", id="nothing-left"),
        pytest.param("/api", "", b"/api?x", b"/?x", id="nothing-left-but-the-query"),
        pytest.param("/api", "", b"/api/", b"/", id="a-slash-left"),
        pytest.param("/api", "", b"/apis/x", b"/apis/x", id="whole-segments-only"),
        pytest.param("/api", "", b"/other", b"/other", id="another-path"),
        pytest.param("/api", "", b"/%61pi/x", b"/x", id="prefix-in-another-spelling"),
        pytest.param("/api", "", b"//api/x", b"/x", id="prefix-after-an-empty-segment"),
        pytest.param("/@me", "", b"/%40me/x", b"/x", id="prefix-with-an-escaped-reserved-character"),
        pytest.param("/%40me", "", b"/@me/x", b"/x", id="escaped-prefix"),
        pytest.param("/api", "/v2", b"/api/x?y", b"/v2/x?y", id="strip-and-add"),
        pytest.param("/api", "/v2", b"/api", b"/v2", id="add-to-nothing"),
        pytest.param("", "/v2", b"/x", b"/v2/x", id="add"),
        pytest.param("", "/v2", b"/", b"/v2/", id="add-to-the-root"),
        pytest.param("/api", "", b"/api/caf%C3%A9/%2F;x", b"/caf%C3%A9/%2F;x", id="the-rest-byte-for-byte"),
        pytest.param("/api", "", b"/api/x?next=//evil/%0d%0a", b"/x?next=//evil/%0d%0a", id="the-query-byte-for-byte"),
        pytest.param("/api", "", b"/api//evil.test/x", b"/evil.test/x", id="no-second-slash"),
        pytest.param("/api", "", b"/api/\\evil.test", b"/evil.test", id="no-backslash-after-the-slash"),
        pytest.param("/api", "", b"/api/\\/\\//evil.test", b"/evil.test", id="no-run-of-slashes"),
        pytest.param("/api", "", b"/api@evil.test/x", b"/api@evil.test/x", id="no-user-information"),
        pytest.param("/api", "", b"/api/@evil.test", b"/@evil.test", id="an-at-sign-in-a-path-is-a-path"),
    ],
)
def test_prefixes_are_taken_off_and_put_on(strip: str, add: str, target: bytes, result: bytes) -> None:
    assert Rewrite(strip, add).apply(target, None) == result


@pytest.mark.parametrize(
    ("path", "params", "target", "result"),
    [
        ("/new/{id}", {"id": "7"}, b"/old/7?q=1", b"/new/7?q=1"),
        ("/items/{id}.json", {"id": "a%2Fb"}, b"/x/a%2Fb", b"/items/a%2Fb.json"),
        ("/{b}/{a}", {"a": "1", "b": "2"}, b"/1/2", b"/2/1"),
        ("/fixed", {}, b"/anything?", b"/fixed?"),
    ],
)
def test_a_new_path_is_filled_with_the_segments(
    path: str, params: dict[str, str], target: bytes, result: bytes
) -> None:
    assert Rewrite(path=path).apply(target, params) == result


def test_a_new_path_may_use_only_names_of_the_route() -> None:
    settings = RewriteSettings(path="/new/{id}/{other}")
    with pytest.raises(
        ValueError, match=r"the new path uses `\{other\}`, which the route's path `/a/\{id\}` does not have"
    ):
        compile_rewrite(settings, "/a/{id}")
    assert compile_rewrite(RewriteSettings(path="/new/{id}"), "/a/{id}").apply(b"/a/1", {"id": "1"}) == b"/new/1"


_targets = st.lists(
    st.sampled_from(
        ["/", "//", "api", "%61pi", "\\", "@", "evil.test", ";", "%2F", "%5C", ":", "%40", "x", "..", "%25"]
    ),
    max_size=8,
).map(lambda pieces: "/" + "".join(pieces))
_queries = st.sampled_from([b"", b"?", b"?a=//b", b"?@evil/%0A"])


@given(_targets, _queries, st.sampled_from([("/api", ""), ("/api", "/v2"), ("", "/v2"), ("/api/x", "")]))
def test_no_target_leaves_the_path(target: str, query: bytes, prefixes: tuple[str, str]) -> None:
    try:
        canonical_path(target.encode())
    except BadTarget:
        return
    result = Rewrite(*prefixes).apply(target.encode() + query, None)
    authority, path, _ = split_target(result)
    assert authority == b""
    assert path[:1] == b"/"
    assert path[1:2] not in (b"/", b"\\")
    assert result.endswith(query)
    assert result.isascii()
    assert not any(octet <= 0x20 or octet == 0x7F for octet in result)


@given(_targets)
def test_a_stripped_prefix_is_gone_in_every_spelling(target: str) -> None:
    try:
        before = canonical_path(target.encode())
    except BadTarget:
        return
    if before == "/api" or before.startswith("/api/"):
        after = canonical_path(Rewrite("/api").apply(target.encode(), None))
        assert after.strip("/").lstrip("\\/") == before[4:].strip("/").lstrip("\\/")
