"""Key sets over the network: a real server on loopback, refreshed in the background."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.clients.identity import Identity, compile_identity
from proxy.clients.jwks import Jwks
from proxy.clients.settings import IdentitySettings
from proxy.http.message import Request

MakeRequest = Callable[..., Request]


class Provider:
    """An identity provider whose answer and delay can be changed."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.status = 200
        self.body: bytes | None = None
        self.fetches = 0
        self.at_once = 0
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fetched = asyncio.Condition()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        self.fetches += 1
        async with self.fetched:
            self.fetched.notify_all()
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        location = {"Location": self.url} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, body=body, headers=location)

    async def until(self, fetches: int) -> None:
        async with asyncio.timeout(5), self.fetched:
            await self.fetched.wait_for(lambda: self.fetches >= fetches)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_get("/jwks.json", provider.answer)
    server = TestServer(app)
    await server.start_server()
    provider.url = str(server.make_url("/jwks.json"))
    yield provider
    await server.close()


def _identity(provider: Provider, previous: Identity | None = None) -> Identity:
    settings = IdentitySettings.model_validate({"user": {"jwt": {"keys": provider.url}}})
    return compile_identity(settings, previous)


Start = Callable[..., Awaitable[Jwks]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[Jwks] = []

    async def run(identity: Identity, **options: float) -> Jwks:
        jwks = Jwks(**options)
        started.append(jwks)
        await jwks.start(identity)
        return jwks

    yield run
    for jwks in started:
        await jwks.stop()


def _user(identity: Identity, request: Request, now: float) -> str | None:
    from proxy.clients.addresses import connection_client

    return identity.client_of(connection_client(("203.0.113.7", 1)), request, False, now).user


@pytest.fixture
def bearer(make_request: MakeRequest) -> Callable[[str], Request]:
    return lambda token: make_request(("Authorization", f"Bearer {token}"))


async def test_keys_are_there_when_start_returns(
    provider: Provider, start: Start, signers: Any, now: float, bearer: Any
) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    identity = _identity(provider)
    assert identity.needs_jwks
    await start(identity)
    assert provider.fetches == 1
    assert _user(identity, bearer(signers["ES256"].token({"kid": "one"})), now) == "alice"
    assert identity.status()["key_sets"][0]["keys"] == 1


async def test_an_unknown_key_is_fetched_in_the_background(
    provider: Provider, start: Start, signers: Any, now: float, bearer: Any
) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    identity = _identity(provider)
    await start(identity, min_interval_s=0.05)
    provider.keys = [signers["EdDSA"].jwk(kid="two")]
    request = bearer(signers["EdDSA"].token({"kid": "two"}))
    assert _user(identity, request, now) is None
    await provider.until(2)
    await _until(lambda: _user(identity, request, now) == "alice")
    assert _user(identity, bearer(signers["ES256"].token({"kid": "one"})), now) is None


async def test_a_flood_of_unknown_keys_is_one_fetch_in_an_interval(
    provider: Provider, start: Start, signers: Any, now: float, bearer: Any
) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    identity = _identity(provider)
    await start(identity, min_interval_s=0.4)
    for number in range(200):
        assert _user(identity, bearer(signers["ES256"].token({"kid": f"made-up-{number}"})), now) is None
        await asyncio.sleep(0)
    assert provider.fetches == 1
    await provider.until(2)
    await asyncio.sleep(0.05)
    assert provider.fetches == 2
    assert provider.most_at_once == 1


async def test_keys_are_fetched_again_while_all_is_well(provider: Provider, start: Start, signers: Any) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    identity = _identity(provider)
    await start(identity, refresh_s=0.02, min_interval_s=0.01)
    generation = identity.key_sets[0].generation
    await provider.until(4)
    assert identity.key_sets[0].generation == generation  # the same keys are no news: nothing is forgotten


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        pytest.param(500, None, "the answer is 500", id="error"),
        pytest.param(404, None, "the answer is 404", id="not-found"),
        pytest.param(302, None, "the answer is 302", id="redirect"),
        pytest.param(200, b"<html>", "not a JSON object", id="not-json"),
        pytest.param(200, b'{"keys": []}', "no usable key", id="no-keys"),
        pytest.param(200, b'{"keys": [' + b" " * 70_000 + b"]}", "larger than 65536 bytes", id="too-large"),
    ],
)
async def test_a_bad_answer_changes_nothing_but_the_report(
    provider: Provider,
    start: Start,
    signers: Any,
    now: float,
    bearer: Any,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes | None,
    problem: str,
) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    identity = _identity(provider)
    await start(identity, refresh_s=0.02, min_interval_s=0.02)
    provider.status, provider.body = status, body
    with caplog.at_level(logging.WARNING, "weir.clients"):
        await _until(lambda: bool(identity.status()["key_sets"][0]["problem"]))
    assert problem in identity.status()["key_sets"][0]["problem"]
    assert "1 earlier ones stay" in caplog.text
    assert _user(identity, bearer(signers["ES256"].token({"kid": "one"})), now) == "alice"
    provider.status, provider.body = 200, None
    await _until(lambda: identity.status()["key_sets"][0]["problem"] is None)


async def test_a_provider_that_comes_later_is_found(provider: Provider, start: Start, signers: Any) -> None:
    provider.status = 503
    identity = _identity(provider)
    await start(identity, min_interval_s=0.02)
    assert len(identity.key_sets[0]) == 0
    provider.status, provider.keys = 200, [signers["ES256"].jwk(kid="one")]
    await _until(lambda: len(identity.key_sets[0]) == 1)


async def test_a_refused_connection_is_a_report(start: Start, unused_tcp_port: int) -> None:
    settings = IdentitySettings.model_validate({"user": {"jwt": {"keys": f"http://127.0.0.1:{unused_tcp_port}/"}}})
    identity = compile_identity(settings)
    await start(identity)
    assert "Cannot connect" in identity.status()["key_sets"][0]["problem"]


async def test_a_slow_provider_holds_up_nobody_for_long(
    provider: Provider, start: Start, signers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.clients.jwks.TIMEOUT_S", 0.1)
    provider.gate.clear()
    identity = _identity(provider)
    async with asyncio.timeout(3):
        await start(identity)
    assert "no whole answer" in identity.status()["key_sets"][0]["problem"]
    provider.gate.set()


async def test_a_reload_keeps_the_keys_of_the_same_url(
    provider: Provider, start: Start, signers: Any, now: float, bearer: Any
) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    before = _identity(provider)
    jwks = await start(before)
    after = _identity(provider, before)
    jwks.use(after)
    assert _user(after, bearer(signers["ES256"].token({"kid": "one"})), now) == "alice"
    await asyncio.sleep(0.02)
    assert provider.fetches == 1


async def test_a_reload_without_the_url_ends_its_fetches(provider: Provider, start: Start, signers: Any) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    jwks = await start(_identity(provider), refresh_s=0.01, min_interval_s=0.01)
    jwks.use(Identity())
    await asyncio.sleep(0.02)
    fetches = provider.fetches
    await asyncio.sleep(0.05)
    assert provider.fetches == fetches


async def test_stop_ends_everything_and_may_come_twice(provider: Provider, signers: Any) -> None:
    provider.keys = [signers["ES256"].jwk(kid="one")]
    jwks = Jwks(refresh_s=0.01, min_interval_s=0.01)
    await jwks.start(_identity(provider))
    await jwks.stop()
    fetches = provider.fetches
    await asyncio.sleep(0.05)
    assert provider.fetches == fetches
    await jwks.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("keys ")]


async def test_stop_in_the_middle_of_a_fetch_leaves_nothing(provider: Provider) -> None:
    provider.gate.clear()
    jwks = Jwks()
    starting = asyncio.ensure_future(jwks.start(_identity(provider)))
    await _until(lambda: provider.at_once == 1)
    await jwks.stop()
    async with asyncio.timeout(1):
        await starting
    provider.gate.set()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("keys ")]
