"""Which address counts: texts of addresses, networks of trusted proxies, and the walk from the right."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.addresses import TrustedProxies, client_address, connection_client, forwarded_client
from proxy.clients.ip_text import canonical_address, limit_key, read_hop
from proxy.http.message import Request

MakeRequest = Callable[..., Request]
TRUSTED = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48", "unix"])
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("0:0:0:0:0:ffff:cb00:7107", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("64:ff9b::cb00:7107", "203.0.113.7"),
        ("64:ff9b:1::cb00:7107", "64:ff9b:1::cb00:7107"),
        ("", None),
        ("unix", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("010.0.0.1", None),
        ("1.2.3.256", None),
        ("0x7f.0.0.1", None),
        ("2130706433", None),
        ("1.2.3.4 ", None),
        ("1.2.3.4\0", None),
        ("::ffff:1.2.3.4:5", None),
        ("fe80::%", "fe80::"),
        ("1" * 5000, None),
        ("é", None),
    ],
)
def test_an_address_has_one_text(text: str, address: str | None) -> None:
    assert canonical_address(text) == address


@given(st.ip_addresses())
def test_every_address_is_read_from_its_texts(address: object) -> None:
    expected = ip_address(str(address))
    found = canonical_address(str(address))
    assert found is not None
    assert canonical_address(found) == found
    if expected.version == 4:
        assert found == str(expected)
    elif expected.ipv4_mapped is None and expected not in ip_network("64:ff9b::/96"):
        assert ip_address(found) == expected
        assert canonical_address(expected.exploded) == found


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1%25eth0]:443", "2001:db8::1"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1", None),
        ("[203.0.113.7]", None),
        ("[2001:db8::1]443", None),
        ("[2001:db8::1]:", None),
        ("203.0.113.7:", None),
        ("203.0.113.7:http", None),
        ("203.0.113.7:123456", None),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
    ],
)
def test_a_hop_may_have_brackets_and_a_port(hop: str, address: str | None) -> None:
    assert read_hop(hop) == address


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", b"203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", b"2001:db8:1:2::/64"),
        ("2001:db8:1:2::", b"2001:db8:1:2::/64"),
        ("::1", b"::/64"),
    ],
)
def test_limits_count_the_64_of_ipv6(address: str, key: bytes) -> None:
    assert limit_key(address) == key


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8:ffff:1::1", True),
        ("2001:db8:fffe::1", False),
        ("::ffff:10.1.2.3", True),
        ("unix", True),
        ("", False),
        ("nonsense", False),
    ],
)
def test_trust_is_by_network(address: str, is_trusted: bool) -> None:
    for _ in range(2):  # the second time from memory
        assert TRUSTED.trusts(address) is is_trusted


@given(
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=5),
    st.lists(st.integers(0, 32), min_size=5, max_size=5),
    st.ip_addresses(v=4),
)
def test_trust_agrees_with_the_standard_library(bases: list[object], lengths: list[int], address: object) -> None:
    networks = [ip_network(f"{base}/{length}", strict=False) for base, length in zip(bases, lengths, strict=False)]
    trusted = TrustedProxies(map(str, networks))
    for asked in (address, *bases):
        assert trusted.trusts(str(asked)) is any(ip_address(str(asked)) in network for network in networks)


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    trusted = TrustedProxies(["::ffff:10.0.0.0/104"])
    assert trusted.trusts("10.9.9.9")
    assert not trusted.trusts("11.0.0.1")


def test_nobody_is_trusted_by_default() -> None:
    trusted = TrustedProxies()
    assert not any(map(trusted.trusts, ["127.0.0.1", "::1", "unix", "10.0.0.1"]))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example.com", "", "10.0.0.*"])
def test_a_wrong_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        TrustedProxies([text])


@pytest.mark.parametrize(
    ("peername", "address", "for_backends", "for_limits"),
    [
        (("203.0.113.7", 4711), "203.0.113.7", b"203.0.113.7", b"203.0.113.7"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1", b"2001:db8::1", b"2001:db8::/64"),
        (("::ffff:203.0.113.7", 4711, 0, 0), "203.0.113.7", b"203.0.113.7", b"203.0.113.7"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::1", b"fe80::1", b"fe80::/64"),
        ("", "unix", b"unknown", b"unix"),
        ("/run/client.sock", "unix", b"unknown", b"unix"),
        (None, "unix", b"unknown", b"unix"),
    ],
)
def test_a_connection_is_a_client(peername: object, address: str, for_backends: bytes, for_limits: bytes) -> None:
    client = connection_client(peername)
    assert (client.address, client.address_bytes, client.key_address) == (address, for_backends, for_limits)
    assert (client.user, client.error, client.via) == (None, None, "")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        pytest.param("203.0.113.7", "203.0.113.7", id="one"),
        pytest.param("6.6.6.6, 203.0.113.7", "203.0.113.7", id="forged-on-the-left"),
        pytest.param("6.6.6.6, 203.0.113.7, 10.0.0.9", "203.0.113.7", id="trusted-hop-skipped"),
        pytest.param("203.0.113.7,10.0.0.9,192.0.2.7", "203.0.113.7", id="without-spaces"),
        pytest.param("10.0.0.8, 10.0.0.9", "10.0.0.8", id="all-trusted"),
        pytest.param("203.0.113.7, unknown", PROXY, id="unreadable-stops-at-once"),
        pytest.param("203.0.113.7, garbage, 10.0.0.9", "10.0.0.9", id="unreadable-stops-the-walk"),
        pytest.param("203.0.113.7, ", PROXY, id="empty-hop-stops"),
        pytest.param("", PROXY, id="empty"),
        pytest.param("2001:db8::1", "2001:db8::1", id="ipv6"),
        pytest.param("::ffff:203.0.113.7", "203.0.113.7", id="mapped"),
        pytest.param("203.0.113.7:4711", "203.0.113.7", id="with-port"),
        pytest.param('"203.0.113.7"', PROXY, id="quoted"),
        pytest.param("203.0.113.7\0", PROXY, id="nul"),
        pytest.param("6.6.6.6, " + "10.0.0.9, " * 31 + "10.0.0.9", "10.0.0.9", id="endless-chain"),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(make_request: MakeRequest, value: str, address: str) -> None:
    assert client_address(PROXY, make_request(("X-Forwarded-For", value)), TRUSTED) == address


def test_repeated_lines_are_one_list(make_request: MakeRequest) -> None:
    request = make_request(("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.7"))
    assert client_address(PROXY, request, TRUSTED) == "203.0.113.7"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        pytest.param("for=203.0.113.7", "203.0.113.7", id="plain"),
        pytest.param('For="[2001:db8::1]:4711";proto=https;by=10.0.0.1', "2001:db8::1", id="quoted-ipv6"),
        pytest.param("for=6.6.6.6, for=203.0.113.7;proto=http, for=10.0.0.9", "203.0.113.7", id="walk"),
        pytest.param('for="a,b;for=6.6.6.6", for=203.0.113.7, for=10.0.0.9', "203.0.113.7", id="comma-in-quotes"),
        pytest.param('for="203.0.113.7", proto=http', PROXY, id="element-without-for"),
        pytest.param("for=_hidden", PROXY, id="obfuscated"),
        pytest.param("for=unknown", PROXY, id="unknown"),
        pytest.param('for="203.0.113.7', PROXY, id="open-quote"),
        pytest.param("for=203.0.113.7;for=6.6.6.6", PROXY, id="said-twice"),
        pytest.param("203.0.113.7", PROXY, id="no-parameter"),
        pytest.param("", PROXY, id="empty"),
        pytest.param('for="203.0.113.7\\""', PROXY, id="escaped-quote"),
    ],
)
def test_forwarded_is_walked_from_the_right(make_request: MakeRequest, value: str, address: str) -> None:
    assert client_address(PROXY, make_request(("Forwarded", value)), TRUSTED) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [("203.0.113.7", "203.0.113.7"), ("2001:db8::1", "2001:db8::1"), ("6.6.6.6, 203.0.113.7", PROXY), ("x", PROXY)],
)
def test_cf_connecting_ip_is_one_address(make_request: MakeRequest, value: str, address: str) -> None:
    assert client_address(PROXY, make_request(("CF-Connecting-IP", value)), TRUSTED) == address


def test_one_field_decides(make_request: MakeRequest) -> None:
    forwarded_for = ("X-Forwarded-For", "203.0.113.1")
    forwarded = ("Forwarded", "for=203.0.113.2")
    connecting = ("CF-Connecting-IP", "203.0.113.3")
    assert client_address(PROXY, make_request(connecting, forwarded, forwarded_for), TRUSTED) == "203.0.113.1"
    assert client_address(PROXY, make_request(connecting, forwarded), TRUSTED) == "203.0.113.2"
    assert client_address(PROXY, make_request(connecting), TRUSTED) == "203.0.113.3"


def test_an_unreadable_first_field_does_not_hand_over_to_a_forged_one(make_request: MakeRequest) -> None:
    request = make_request(("X-Forwarded-For", "unknown"), ("CF-Connecting-IP", "6.6.6.6"))
    assert client_address(PROXY, request, TRUSTED) == PROXY


@pytest.mark.parametrize("name", ["X-Forwarded-For", "CF-Connecting-IP"])
@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::9", "192.0.2.8"])
def test_an_untrusted_peer_is_the_client_whatever_it_says(make_request: MakeRequest, name: str, peer: str) -> None:
    assert client_address(peer, make_request((name, "6.6.6.6")), TRUSTED) == peer


def test_a_unix_socket_is_trusted_only_when_it_is_named(make_request: MakeRequest) -> None:
    request = make_request(("X-Forwarded-For", "203.0.113.7"))
    assert client_address("unix", request, TRUSTED) == "203.0.113.7"
    assert client_address("unix", request, TrustedProxies(["10.0.0.0/8"])) == "unix"


@given(
    st.lists(st.sampled_from(["203.0.113.7", "10.0.0.9", "2001:db8::1", "junk", "", "::ffff:10.0.0.8"]), max_size=6),
    st.sampled_from(["6.6.6.6", "10.6.6.6", "junk", '"', "for=6.6.6.6"]),
)
def test_what_the_client_writes_on_the_left_changes_nothing(
    make_request: MakeRequest, hops: list[str], forged: str
) -> None:
    """As soon as one hop on the right is untrusted or unreadable, the rest does not count."""
    honest = [*hops, "198.51.100.1"]
    before = client_address(PROXY, make_request(("X-Forwarded-For", ", ".join(honest))), TRUSTED)
    after = client_address(PROXY, make_request(("X-Forwarded-For", ", ".join([forged, *honest]))), TRUSTED)
    assert before == after == "198.51.100.1"


def test_the_client_that_a_proxy_speaks_for_is_remembered(make_request: MakeRequest) -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    peer = connection_client((PROXY, 1))
    first = forwarded_client(peer, make_request(("X-Forwarded-For", "203.0.113.7")), trusted)
    again = forwarded_client(peer, make_request(("X-Forwarded-For", "203.0.113.7")), trusted)
    assert first is again
    assert first.key_address == b"203.0.113.7"


def test_fields_are_not_mistaken_for_one_another_in_memory(make_request: MakeRequest) -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    peer = connection_client((PROXY, 1))
    for value in ("for=203.0.113.7", "203.0.113.7"):
        for name in ("Forwarded", "X-Forwarded-For", "CF-Connecting-IP", "Forwarded"):
            request = make_request((name, value))
            assert forwarded_client(peer, request, trusted).address == client_address(PROXY, request, trusted)


def test_a_proxy_that_names_nobody_is_the_client_itself(make_request: MakeRequest) -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    peer = connection_client((PROXY, 1))
    for lines in ([], [("X-Forwarded-For", "junk")], [("X-Forwarded-For", PROXY)]):
        assert forwarded_client(peer, make_request(*lines), trusted) is peer


def test_the_memories_are_bounded(make_request: MakeRequest) -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    peer = connection_client((PROXY, 1))
    for number in range(20_000):
        address = f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        forwarded_client(peer, make_request(("X-Forwarded-For", address)), trusted)
    forwarded_client(peer, make_request(("X-Forwarded-For", "9.9.9.9, " * 100 + "203.0.113.7")), trusted)
    assert len(trusted.clients) <= 8192
    assert len(trusted._trusted) <= 8192
