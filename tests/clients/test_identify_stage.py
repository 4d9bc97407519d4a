"""The identify stage: the client of an exchange, and the 401."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.clients.addresses import TrustedProxies, connection_client
from proxy.clients.identity import Identity, compile_identity
from proxy.clients.settings import IdentitySettings
from proxy.clients.stage import identify
from proxy.core.clock import wall
from proxy.core.errors import ErrorKind
from proxy.exchange import Exchange
from proxy.http.message import Request
from proxy.routing.route import Route
from tests.snapshots import a_snapshot

MakeRequest = Callable[..., Request]
SECRET = "a secret of more than thirty-two bytes, and of sixty-four as well, for HS512"
TRUSTED = TrustedProxies(["10.0.0.0/8"])


def _exchange(
    request: Request, identity: Identity, *, requires_user: bool = False, peer: str = "203.0.113.7"
) -> Exchange:
    snapshot = a_snapshot(identity=identity, trusted_proxies=TRUSTED)
    client = connection_client((peer, 1))
    exchange = Exchange(request, snapshot, None, client, TRUSTED.trusts(peer), b"0" * 36, 0.0)
    exchange.route = Route("r", 0, "", (), frozenset(), "/**", None, requires_user=requires_user)
    return exchange


@pytest.fixture(scope="module")
def identity() -> Identity:
    source = {"jwt": {"keys": [{"alg": "HS256", "secret": SECRET}]}}
    return compile_identity(IdentitySettings.model_validate({"user": [source, {"header": "X-User"}]}))


def test_without_identity_the_peer_is_the_client(make_request: MakeRequest) -> None:
    exchange = _exchange(make_request(("X-Forwarded-For", "6.6.6.6")), Identity())
    assert identify(exchange) is None
    assert exchange.client is exchange.peer


def test_a_trusted_peer_speaks_for_its_client(make_request: MakeRequest) -> None:
    exchange = _exchange(make_request(("X-Forwarded-For", "198.51.100.1")), Identity(), peer="10.0.0.1")
    assert identify(exchange) is None
    assert exchange.client.address == "198.51.100.1"
    assert exchange.peer.address == "10.0.0.1"


def test_address_and_user_come_together(make_request: MakeRequest, identity: Identity) -> None:
    request = make_request(("X-Forwarded-For", "198.51.100.1"), ("X-User", "alice"))
    exchange = _exchange(request, identity, peer="10.0.0.1", requires_user=True)
    assert identify(exchange) is None
    assert (exchange.client.address, exchange.client.user, exchange.client.via) == ("198.51.100.1", "alice", "header")


@pytest.mark.parametrize(
    ("lines", "challenge"),
    [
        pytest.param([], b"Bearer", id="nothing"),
        pytest.param([("X-User", "alice")], b"Bearer", id="header-of-an-untrusted-peer"),
        pytest.param([("Authorization", "Basic YTpi")], b"Bearer", id="another-scheme"),
        pytest.param([("Authorization", "Bearer x")], b'Bearer error="invalid_token"', id="forged"),
    ],
)
def test_a_route_that_requires_a_user_answers_401(
    make_request: MakeRequest, identity: Identity, lines: list[tuple[str, str]], challenge: bytes
) -> None:
    exchange = _exchange(make_request(*lines), identity, requires_user=True)
    response = identify(exchange)
    assert response is not None
    assert response.status == 401
    assert response.get(b"www-authenticate") == challenge
    assert response.error is ErrorKind.UNAUTHENTICATED
    assert exchange.error is ErrorKind.UNAUTHENTICATED
    assert isinstance(response.content, bytes)
    assert json.loads(response.content)["reason"] == "unauthenticated"
    assert identify(_exchange(make_request(*lines), identity)) is None


def test_an_expired_token_is_told_so(make_request: MakeRequest, identity: Identity, signers: Any) -> None:
    token = signers["HS256"].token(exp=wall() - 100, iat=None)
    exchange = _exchange(make_request(("Authorization", f"Bearer {token}")), identity, requires_user=True)
    response = identify(exchange)
    assert response is not None
    assert (
        response.get(b"www-authenticate") == b'Bearer error="invalid_token", error_description="The token has expired"'
    )
    assert exchange.client.fault == "expired"


def test_wrong_credentials_are_no_user_where_none_is_required(make_request: MakeRequest, identity: Identity) -> None:
    exchange = _exchange(make_request(("Authorization", "Bearer x")), identity)
    assert identify(exchange) is None
    assert (exchange.client.user, exchange.client.error) == (None, ErrorKind.UNAUTHENTICATED)
    assert exchange.error is None


def test_a_good_token_opens_the_route(make_request: MakeRequest, identity: Identity, signers: Any) -> None:
    token = signers["HS256"].token(exp=wall() + 100, iat=None)
    exchange = _exchange(make_request(("Authorization", f"Bearer {token}")), identity, requires_user=True)
    assert identify(exchange) is None
    assert exchange.client.user == "alice"
