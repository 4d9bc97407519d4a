"""The address of a store: what it says, and what it may not say."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest
from pydantic import TypeAdapter

from proxy.config.values import StoreUrl
from proxy.limits.shared.cluster import ClusterLink
from proxy.limits.shared.link import link_to
from proxy.limits.shared.sentinel import SentinelLink
from proxy.limits.shared.single import SingleLink
from proxy.store.url import parse_store_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0, "password": None, "username": None, "tls": None}),
        ("redis://h:7000/3", {"host": "h", "port": 7000, "db": 3}),
        ("redis://h?db=5", {"db": 5}),
        ("redis://:p%40ss@h", {"username": None, "password": "p@ss"}),
        ("redis://me:pass@h", {"username": "me", "password": "pass"}),
        ("redis://me:p@ss@h", {"username": "me", "password": "p@ss", "host": "h"}),
        ("redis://[2001:db8::1]:7000", {"host": "2001:db8::1", "port": 7000}),
        ("unix:///run/valkey.sock?db=2", {"path": "/run/valkey.sock", "db": 2}),
        ("unix://me:pass@/run/valkey.sock", {"path": "/run/valkey.sock", "username": "me", "password": "pass"}),
        ("redis://h?client_name=edge&max_connections=5&socket_timeout=1", {"client_name": "edge"}),
    ],
)
def test_what_the_address_of_one_server_says(url: str, expected: dict[str, Any]) -> None:
    (endpoint,) = parse_store_url(url).endpoints
    assert {name: getattr(endpoint, name) for name in expected} == expected
    assert isinstance(link_to(url), SingleLink)


def test_what_the_address_of_sentinels_says() -> None:
    url = "redis+sentinel://me:pass@a,b:7000,[::1]:7001/counts/2?sentinel_username=eye&sentinel_password=watch"
    address = parse_store_url(url)
    assert [(each.host, each.port) for each in address.endpoints] == [("a", 26379), ("b", 7000), ("::1", 7001)]
    assert {(each.username, each.password, each.db) for each in address.endpoints} == {("eye", "watch", 0)}
    assert (address.service, address.master.username, address.master.password, address.master.db) == (
        *("counts", "me", "pass", 2),
    )
    assert isinstance(link_to(url), SentinelLink)


def test_what_the_address_of_a_cluster_says() -> None:
    address = parse_store_url("rediss+cluster://:pass@a,b:7000?ssl_cert_reqs=none")
    assert [(each.host, each.port, each.password) for each in address.endpoints] == [
        ("a", 6379, "pass"),
        ("b", 7000, "pass"),
    ]
    assert all(each.tls is not None and each.tls.cert_reqs == "none" for each in address.endpoints)
    assert isinstance(link_to("redis+cluster://a,b"), ClusterLink)


def test_certificates_are_verified_unless_it_says_otherwise() -> None:
    tls = parse_store_url("rediss://h").endpoints[0].tls
    assert tls is not None
    context = tls.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    open_tls = parse_store_url("rediss://h?ssl_cert_reqs=none&ssl_min_version=772").endpoints[0].tls
    assert open_tls is not None
    assert open_tls.context().verify_mode is ssl.CERT_NONE
    assert open_tls.context().minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "scheme"),
        ("http://h", "scheme"),
        ("redis+sentinels://h", "scheme"),
        ("redis://", "host"),
        ("redis://a,b", "one too many"),
        ("redis+cluster://a,,b", "host"),
        ("unix://", "path"),
        ("unix:///", "path"),
        ("redis://h/x", "database"),
        ("redis+cluster://h/1", "0 in a cluster"),
        ("redis+sentinel://h", "SERVICE"),
        ("redis+sentinel://h/counts/x", "database"),
        ("redis://h:port", "malformed"),
        ("redis://h?db=x", "malformed"),
        ("redis://:swordfish#1@h", "malformed"),
        ("redis://:swordfish/1@h", "database"),
        ("rediss://h?ssl_ca_cert=x", "ssl_ca_cert"),
        ("redis://h?ssl_ca_certs=x", "rediss"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("rediss://h?ssl_keyfile=x", "ssl_certfile"),
        ("rediss://h?ssl_min_version=769", "ssl_min_version"),
    ],
)
def test_what_the_address_may_not_say(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_store_url(url)
    assert "swordfish" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_password_is_shown_by_accident() -> None:
    for url in (
        "rediss://me:swordfish@h?ssl_password=swordfish",
        "redis+sentinel://:swordfish@h/s?sentinel_password=swordfish",
        "redis+cluster://:swordfish@h",
    ):
        address = parse_store_url(url)
        assert "swordfish" not in repr(address)
        assert "swordfish" not in str(address.endpoints[0])
        assert "swordfish" not in repr(link_to(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://h/1",
        "unix:///s",
        "redis+sentinel://a,b/s",
        "rediss+sentinel://a/s/2",
        "rediss+cluster://a,b",
    ],
)
def test_the_configuration_takes_every_kind_of_address(url: str) -> None:
    store = TypeAdapter(StoreUrl)
    assert store.validate_python(url) == url
    assert re.match(store.json_schema()["pattern"], url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h/x", "write redis://, rediss://"),
        ("redis+sentinel://h", "write .../SERVICE"),
        ("redis+x://h", "scheme"),
    ],
)
def test_the_configuration_says_what_to_write_instead(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        TypeAdapter(StoreUrl).validate_python(url)
    assert not re.match(TypeAdapter(StoreUrl).json_schema()["pattern"], "redis+x://h")
