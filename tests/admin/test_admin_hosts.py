from __future__ import annotations

import pytest

from proxy.admin.hosts import configured_hosts, is_allowed_host


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(None, id="no Host, as HTTP/1.0 probes"),
        pytest.param("localhost", id="localhost"),
        pytest.param("LOCALHOST:9901", id="in capitals, with a port"),
        pytest.param("weir.localhost:9901", id="under localhost"),
        pytest.param("127.0.0.1:9901", id="loopback"),
        pytest.param("[::1]:9901", id="IPv6 loopback"),
        pytest.param("[::1]", id="IPv6 without a port"),
        pytest.param("10.4.7.1:9901", id="a pod's address"),
        pytest.param("weir:9901", id="a container's service name"),
        pytest.param("ops.example:9901", id="the configured name"),
        pytest.param("Ops.Example.", id="the configured name with a final dot"),
    ],
)
def test_who_may_ask_is_answered(host: str | None) -> None:
    assert is_allowed_host(host, configured_hosts("ops.example:9901"))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example:9901", id="a name that somebody can own"),
        pytest.param("127.0.0.1.evil.example", id="an address as a label"),
        pytest.param("localhost.evil.example", id="localhost as a label"),
        pytest.param("notlocalhost.example", id="another end"),
        pytest.param("", id="empty"),
        pytest.param(":9901", id="a port alone"),
        pytest.param("a b", id="a space"),
        pytest.param("localhost:port", id="a port that is none"),
        pytest.param("localhost:80:80", id="two ports"),
        pytest.param("[::1", id="an open bracket"),
        pytest.param("[::1]x", id="something after the bracket"),
        pytest.param("user@localhost", id="user information"),
        pytest.param("127.0.0.1, evil.example", id="a list"),
    ],
)
def test_a_name_that_could_be_rebound_is_refused(host: str) -> None:
    assert not is_allowed_host(host, configured_hosts("127.0.0.1:9901"))


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        pytest.param("127.0.0.1:9901", {"127.0.0.1"}, id="address"),
        pytest.param("[::1]:9901", {"::1"}, id="IPv6"),
        pytest.param("Ops.Example:9901", {"ops.example"}, id="name"),
        pytest.param("unix:/run/weir.sock", set(), id="unix socket"),
    ],
)
def test_the_configured_address_adds_its_own_name(address: str, hosts: set[str]) -> None:
    assert configured_hosts(address) == hosts
