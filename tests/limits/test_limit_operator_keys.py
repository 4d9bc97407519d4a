"""Keys between the store and the operator, both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.client import Client
from proxy.clients.ip_text import canonical_address, limit_key
from proxy.core.units import Rate
from proxy.http.message import Request
from proxy.limits.operator_keys import shown, store_key
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimitSettings


def address_key(text: str) -> bytes | None:
    canonical = canonical_address(text.removesuffix("/64"))
    return None if canonical is None else limit_key(canonical)


def limit(*by: str, missing: Any = "ip") -> LimitPolicy:
    return compile_limit("x", LimitSettings(rate=Rate(5, 60.0), by=list(by), missing=missing), "t.yaml:1")


class Search:
    name = "search"


def key_of(policy: LimitPolicy, client: Client, **fields: str) -> bytes:
    index = {name.lower().encode(): value.encode() for name, value in fields.items()}
    key = policy.key(client, Request(b"GET", b"/", 1, [], index), Search())
    assert key is not None
    return key


def somebody(address: str = "203.0.113.7", **known: Any) -> Client:
    return Client(address, address.encode(), limit_key(address), is_vouched_for=True, **known)


ALICE = somebody(user="alice", tenant="acme", api_key="ci")


@pytest.mark.parametrize(
    ("by", "client", "text"),
    [
        pytest.param(["ip"], ALICE, "203.0.113.7", id="address"),
        pytest.param(["ip"], somebody("2001:db8::1"), "2001:db8::/64", id="network of an IPv6 address"),
        pytest.param(["user"], ALICE, "alice", id="user"),
        pytest.param(["tenant"], ALICE, "acme", id="tenant"),
        pytest.param(["api_key"], ALICE, "ci", id="API key"),
        pytest.param(["route"], ALICE, "search", id="route"),
        pytest.param(["global"], ALICE, "*", id="global"),
        pytest.param(["header:Device"], ALICE, "phone", id="field"),
        pytest.param(["ip", "user"], ALICE, "203.0.113.7|alice", id="two parts"),
        pytest.param(["tenant", "global", "route"], ALICE, "acme|*|search", id="three parts"),
        pytest.param(["user"], somebody(), "ip=203.0.113.7", id="an address in the place of a user"),
        pytest.param(["user", "ip"], somebody(), "ip=203.0.113.7|203.0.113.7", id="twice the address"),
        pytest.param(["user"], somebody(user="ip=203.0.113.7"), "user=ip=203.0.113.7", id="a user called so"),
        pytest.param(["user"], somebody(user="user=x"), "user=user=x", id="a user called like the word"),
        pytest.param(["user"], somebody(user="#" + "a" * 32), "user=#" + "a" * 32, id="a user called like a hash"),
        pytest.param(["user"], somebody(user="a|b"), "a|b", id="a bar in the only part"),
        pytest.param(["user", "ip"], somebody(user="a|b%"), "a%7Cb%25|203.0.113.7", id="a bar in one of two"),
        pytest.param(["user"], somebody(user="a\n\x00b"), "a%0A%00b", id="control characters"),
        pytest.param(["user"], somebody(user="jörg"), "jörg", id="letters beyond ASCII"),
        pytest.param(["user"], somebody(user="\ud800x"), "%ED%A0%80x", id="half a surrogate pair"),
    ],
)
def test_a_key_and_its_text_lead_to_one_another(by: list[str], client: Client, text: str) -> None:
    policy = limit(*by)
    key = key_of(policy, client, device="phone")
    assert shown(policy, key) == text
    assert store_key(policy, text, address_key) == key


def test_a_long_value_stays_a_hash_and_can_be_named_by_it() -> None:
    for policy in (limit("user"), limit("ip", "user")):
        key = key_of(policy, somebody(user="u" * 100))
        text = shown(policy, key)
        assert "#" in text
        assert "uuu" not in text
        assert store_key(policy, text, address_key) == key
        assert store_key(policy, text.split("#")[0] + "u" * 100, address_key) == key


@pytest.mark.parametrize(
    ("by", "text", "same"),
    [
        pytest.param(["ip"], "2001:DB8:0::5", "2001:db8::/64", id="IPv6 is put into its network"),
        pytest.param(["ip"], "::ffff:203.0.113.7", "203.0.113.7", id="IPv4 inside IPv6"),
        pytest.param(["ip"], "ip=203.0.113.7", "203.0.113.7", id="said what it is"),
        pytest.param(["user"], "user=alice", "alice", id="said that it is a user"),
        pytest.param(["global"], "", "*", id="nothing for the one count"),
        pytest.param(["user"], "%61lice", "alice", id="encoded more than needed"),
    ],
)
def test_one_key_may_be_written_in_several_ways(by: list[str], text: str, same: str) -> None:
    policy = limit(*by)
    assert store_key(policy, text, address_key) == store_key(policy, same, address_key)


@pytest.mark.parametrize(
    ("by", "text", "sentence"),
    [
        pytest.param(["ip"], "alice", "`alice` is not an address", id="no address"),
        pytest.param(["ip"], "010.0.0.1", "is not an address", id="an address with zeros"),
        pytest.param(["ip", "user"], "203.0.113.7", "counts by ip and user; write one part for each", id="a part"),
        pytest.param(["ip", "user"], "1.2.3.4|a|b", "write one part for each", id="a part too many"),
        pytest.param(["user"], "", "one of them is empty", id="empty"),
        pytest.param(["global"], "alice", "has one count for all; write `*`", id="a name for the one count"),
        pytest.param(["user", "ip"], "ip=1.2.3.4|5.6.7.8", "a key has one address", id="two addresses"),
        pytest.param(["user"], "%FF", "is not UTF-8", id="no text"),
    ],
)
def test_what_is_no_key_is_refused_with_a_sentence(by: list[str], text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="^.*" + sentence.replace("*", r"\*")):
        store_key(limit(*by, missing="deny"), text, address_key)


def test_a_key_of_something_else_is_shown_as_it_is() -> None:
    assert shown(limit("user"), b"weir:1:fixed:1:y:ua\x1b\xff") == "weir:1:fixed:1:y:ua%1B%FF"
    assert shown(limit("user", "ip"), limit("user", "ip").prefix + b"99:u") == "weir:1:gcra:1:x:99:u"


words = st.lists(st.sampled_from(["ip", "user", "tenant", "api_key", "route"]), min_size=1, max_size=4, unique=True)
values = st.one_of(st.none(), st.text(min_size=1, max_size=80), st.sampled_from(["ip=1.1.1.1", "|", "%", "#", "*"]))


@given(words, values, values, values, st.sampled_from(["203.0.113.7", "2001:db8::1"]))
def test_every_key_can_be_named(
    by: list[str], user: str | None, tenant: str | None, api_key: str | None, address: str
) -> None:
    policy = limit(*by)
    key = key_of(policy, somebody(address, user=user, tenant=tenant, api_key=api_key))
    text = shown(policy, key)
    assert text.isprintable()
    assert store_key(policy, text, address_key) == key
