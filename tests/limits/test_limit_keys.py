from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.message import Request
from proxy.limits.key import key_builder, key_prefix

PREFIX = key_prefix("p", "gcra")


class Caller:
    def __init__(
        self,
        address: bytes = b"203.0.113.7",
        user: Any = None,
        tenant: Any = None,
        api_key: Any = None,
        is_vouched_for: bool = True,
    ) -> None:
        self.key_address = address
        self.user = user
        self.tenant = tenant
        self.api_key = api_key
        self.is_vouched_for = is_vouched_for


class Somewhere:
    def __init__(self, name: str) -> None:
        self.name = name


def key(by: list[str], missing: str = "ip", headers: dict[bytes, bytes] | None = None, **client: Any) -> bytes | None:
    build = key_builder(by, PREFIX, missing)
    return build(Caller(**client), Request(b"GET", b"/", 1, [], headers or {}), Somewhere("search"))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (["ip"], b"{i203.0.113.7}"),
        (["user"], b"{uana}"),
        (["tenant"], b"{tacme}"),
        (["api_key"], b"{kmobile}"),
        (["route"], b"{rsearch}"),
        (["global"], b""),
        (["header:X-Device"], b"{hd1}"),
        (["tenant", "user"], b"5:{tacme}4:uana"),
        (["global", "ip"], b"1:{g}12:i203.0.113.7"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_each_word_takes_its_part_of_the_request(by: list[str], expected: bytes) -> None:
    found = key(by, headers={b"x-device": b"d1"}, user="ana", tenant="acme", api_key="mobile")
    assert found == b"weir:1:gcra:1:p:" + expected


@pytest.mark.parametrize("word", ["user", "tenant", "api_key", "header:X-Device"])
@pytest.mark.parametrize(
    ("missing", "expected"),
    [("ip", PREFIX + b"{i203.0.113.7}"), ("skip", None), ("deny", None)],
    ids=["ip", "skip", "deny"],
)
@pytest.mark.parametrize("value", [None, ""], ids=["none", "empty"])
def test_a_missing_part_is_the_address_or_no_key(word: str, missing: str, expected: bytes | None, value: Any) -> None:
    headers = {b"x-device": b""} if value == "" else {}
    assert key([word], missing, headers, user=value, tenant=value, api_key=value) == expected


def test_in_a_composite_key_only_the_missing_part_is_replaced() -> None:
    assert key(["tenant", "user"], tenant="acme") == PREFIX + b"5:{tacme}12:i203.0.113.7"
    assert key(["tenant", "user"], "skip", tenant="acme") is None


def test_a_user_who_is_called_like_an_address_is_not_that_address() -> None:
    assert key(["user"], user="203.0.113.7") != key(["user"])


def test_a_long_part_is_hashed_and_no_short_one_can_spell_its_digest() -> None:
    long = key(["user"], user="x" * 65)
    assert long is not None
    assert len(long) == len(PREFIX) + 3 + 32
    assert key(["user"], user="x" * 64) == PREFIX + b"{u" + b"x" * 64 + b"}"
    digest = long[len(PREFIX) + 2 : -1].decode()
    assert key(["user"], user=digest) != long
    assert key(["user"], user="x" * 66) != long


def test_a_field_of_a_request_that_nobody_vouches_for_is_as_good_as_missing() -> None:
    headers = {b"x-device": b"d1"}
    assert key(["header:X-Device"], headers=headers, is_vouched_for=False) == PREFIX + b"{i203.0.113.7}"
    assert key(["header:X-Device"], "skip", headers, is_vouched_for=False) is None


def test_all_limits_of_a_client_have_the_same_text_in_braces() -> None:
    keys = [key_builder(["ip"], key_prefix(name, "gcra"), "ip") for name in ("one", "two")]
    made = [str(build(Caller(), Request(b"GET", b"/", 1, [], {}), Somewhere("a"))) for build in keys]
    assert {text[text.index("{") : text.index("}") + 1] for text in made} == {"{i203.0.113.7}"}


def test_half_a_surrogate_pair_in_a_token_is_no_error() -> None:
    assert key(["user"], user="\ud800") == PREFIX + b"{u\xed\xa0\x80}"


@given(
    st.lists(
        st.tuples(st.text(alphabet="abu:1234t", min_size=1, max_size=8), st.text(alphabet="abu:1234t", min_size=1)),
        min_size=2,
        max_size=12,
        unique=True,
    )
)
def test_different_pairs_never_share_a_key(pairs: list[tuple[str, str]]) -> None:
    keys = [key(["tenant", "user"], tenant=tenant, user=user) for tenant, user in pairs]
    assert all(one != other for one, other in combinations(keys, 2))


@given(
    st.lists(st.tuples(st.text("a:1p", min_size=1, max_size=6), st.text("a:1p", max_size=6)), unique=True, max_size=8)
)
def test_different_policies_never_share_a_key(pairs: list[tuple[str, str]]) -> None:
    keys = {key_prefix(name, "gcra") + rest.encode() for name, rest in pairs}
    assert len(keys) == len(pairs)


def test_the_key_does_not_know_the_policys_numbers() -> None:
    assert key_prefix("per-ip", "sliding") == b"weir:1:sliding:6:per-ip:"
