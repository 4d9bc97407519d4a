"""What the pipeline calls: the verdict on the exchange, and the 429."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.clients.client import Client
from proxy.core.errors import ErrorKind
from proxy.exchange import Exchange
from proxy.http.message import Request, Response
from proxy.limits.describe import describe
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.stage import Limiter, admit
from proxy.limits.verdict import DENY, LOCAL
from tests.snapshots import a_route, a_snapshot

IDENTIFIER = b"0192f0c1-2b3a-7000-9b1c-4dd7f0a1b2c3"


def policy(name: str = "per-ip", **settings: Any) -> Limit:
    return Limit(name, LimitSettings.model_validate({"rate": "2/h", "by": "ip", **settings}), "test.yaml:1")


def caller(user: str | None) -> Client:
    return Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7", user, is_vouched_for=True)


def exchange(*limits: Limit, user: str | None = None) -> Exchange:
    request = Request(b"GET", b"/api/search", 1, [], {})
    made = Exchange(request, a_snapshot(), None, caller(user), False, IDENTIFIER, 0.0)
    made.route = a_route(limits=limits)
    return made


class SlowStore:
    """Memory that answers later, as a shared store does. Not its heir: it may be compiled."""

    def __init__(self, max_keys: int) -> None:
        self._counts = MemoryStore(max_keys)

    def __len__(self) -> int:
        return len(self._counts)

    def decide(self, *asked: Any) -> Any:
        verdict = self._counts.decide(*asked)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, verdict)
        return future


@pytest.fixture(params=["now", "waiting"])
def admitting(request: pytest.FixtureRequest) -> Any:
    """Each way to admit: without waiting, and with."""
    store: Any = SlowStore(1000) if request.param == "waiting" else MemoryStore(1000)
    limiter = Limiter(LimiterSettings(), store)

    async def run(made: Exchange) -> Response | None:
        refused = admit(made, limiter)
        if refused is None or isinstance(refused, Response):
            return refused  # there was nothing to ask
        assert request.param == "waiting"
        return await refused

    run.store = store  # type: ignore[attr-defined]
    return run


async def test_an_admitted_request_goes_on_and_carries_its_verdict(admitting: Any) -> None:
    made = exchange(policy())
    assert await admitting(made) is None
    assert (made.decision.denied, made.decision.remaining, made.decision.mode) == (False, 1, LOCAL)
    assert made.decision.key == b"weir:1:gcra:6:per-ip:{i203.0.113.7}"
    assert b"X-RateLimit-Remaining: 1\r\n" in made.decision.lines(1e9)
    assert made.error is None


async def test_a_denied_request_gets_a_complete_429(admitting: Any) -> None:
    limit = policy()
    for _ in range(2):
        assert await admitting(exchange(limit)) is None
    made = exchange(limit)
    response = await admitting(made)
    assert (response.status, response.reason) == (429, b"Too Many Requests")
    assert response.block == (
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
    )
    assert json.loads(response.content) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded.",
        "status": 429,
        "reason": "rate_limited",
        "violated-policies": ["per-ip"],
        "instance": f"urn:uuid:{IDENTIFIER.decode()}",
    }
    assert response.error is made.error is ErrorKind.RATE_LIMITED
    assert made.decision.denied
    assert b"Retry-After: 1800\r\n" in made.decision.lines(1e9)


async def test_all_violated_policies_are_named(admitting: Any) -> None:
    first, second, free = policy("first"), policy("second"), policy("free", rate="99/h")
    for _ in range(2):
        await admitting(exchange(first, second))
    response = await admitting(exchange(first, free, second))
    assert json.loads(response.content)["violated-policies"] == ["first", "second"]


async def test_a_route_without_limits_has_no_verdict(admitting: Any) -> None:
    made = exchange()
    assert await admitting(made) is None
    assert made.decision is None


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another limit"])
async def test_a_request_without_the_key_is_counted_by_address_by_default(admitting: Any, beside: bool) -> None:
    limits = (policy("per-user", by="user"), *([policy("wide", rate="99/h")] if beside else []))
    outcomes = [await admitting(exchange(*limits)) for _ in range(3)]
    assert [outcome is None for outcome in outcomes] == [True, True, False]
    assert await admitting(exchange(*limits, user="ana")) is None


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another limit"])
async def test_a_limit_that_is_skipped_counts_nothing_and_announces_nothing(admitting: Any, beside: bool) -> None:
    skipping, wide = policy("per-user", by="user", missing="skip"), policy("wide", rate="99/h")
    limits = (skipping, wide) if beside else (skipping,)
    for _ in range(5):
        made = exchange(*limits)
        assert await admitting(made) is None
    if beside:
        assert made.decision.policies == (wide.live,)
        assert b"per-user" not in made.decision.lines(1e9)
    else:
        assert made.decision is None
    assert (skipping.stats.allowed, skipping.stats.denied) == (0, 0)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another limit"])
async def test_a_limit_may_deny_who_lacks_its_key_and_then_charges_nobody(admitting: Any, beside: bool) -> None:
    strict, wide = policy("per-user", by="user", missing="deny"), policy("wide", rate="99/h")
    limits = (wide, strict) if beside else (strict,)
    made = exchange(*limits)
    response = await admitting(made)
    assert response.status == 429
    assert made.decision.mode == DENY
    assert b"Retry-After" not in made.decision.lines(1e9)  # waiting does not bring a user
    assert len(admitting.store) == 0
    assert await admitting(exchange(*limits, user="ana")) is None


async def test_every_policy_counts_what_it_allowed_and_what_it_denied(admitting: Any) -> None:
    narrow, wide = policy("narrow"), policy("wide", rate="99/h")
    for _ in range(5):
        await admitting(exchange(narrow, wide))
    assert (narrow.stats.allowed, narrow.stats.denied) == (2, 3)
    assert (wide.stats.allowed, wide.stats.denied) == (2, 0)


def test_the_documents_of_refusals_do_not_grow_without_bound() -> None:
    limiter = Limiter(LimiterSettings(), MemoryStore(1000))
    for i in range(5000):
        assert f'"p{i}","q{i}"'.encode() in limiter.document_head((policy(f"p{i}").live, policy(f"q{i}").live))
    assert len(limiter._documents) <= 4096


@pytest.mark.parametrize(
    ("settings", "user", "applies", "denies", "reason"),
    [
        ({}, None, True, False, "Counted by ip."),
        ({"by": ["user", "route"]}, "ana", True, False, "Counted by user + route."),
        ({"by": "user"}, None, True, False, "The request has no user: counted by address instead (missing: ip)."),
        (
            *({"by": "user", "missing": "skip"}, None, False, False),
            "The request has no user: not limited by this policy (missing: skip).",
        ),
        ({"by": "user", "missing": "deny"}, None, False, True, "The request has no user: denied (missing: deny)."),
        (
            *({"by": ["tenant", "header:X-Device"], "missing": "deny"}, None, False, True),
            "The request has no tenant and header:X-Device: denied (missing: deny).",
        ),
    ],
    ids=["ip", "composite", "falls back", "skip", "deny", "two missing"],
)
def test_explain_says_why_a_limit_applies_or_not(
    settings: dict[str, Any], user: str | None, applies: bool, denies: bool, reason: str
) -> None:
    made = exchange()
    said = describe(policy(**settings), caller(user), made.request, a_route())
    assert (said.applies, said.denies, said.reason) == (applies, denies, reason)
    assert (said.key is not None) == applies


@pytest.mark.parametrize(
    ("settings", "burst", "most"),
    [
        ({"rate": "60/min"}, 60, 120),
        ({"rate": "60/min", "burst": 20}, 20, 80),
        ({"rate": "60/min", "algorithm": "fixed"}, None, 120),
        ({"rate": "60/min", "algorithm": "sliding"}, None, 60),
    ],
    ids=["gcra", "burst", "fixed", "sliding"],
)
def test_explain_says_the_most_that_can_pass_in_one_period(
    settings: dict[str, Any], burst: int | None, most: int
) -> None:
    said = describe(policy(**settings), caller(None), exchange().request, a_route())
    assert (said.burst, said.most_in_a_window, said.rate) == (burst, most, "60/min")
    assert said.key == f"weir:1:{said.algorithm}:6:per-ip:{{i203.0.113.7}}"


async def test_a_clients_keys_are_remembered_for_its_route_alone(admitting: Any) -> None:
    by_route = policy(by="route")
    first, second = exchange(by_route), exchange(by_route)
    second.client = first.client
    second.route = a_route("other", limits=(by_route,))
    await admitting(first)
    assert first.client.limit_keys is not None
    await admitting(second)
    assert first.decision.key != second.decision.key


async def test_clients_with_the_same_limits_share_one_tuple_of_them(admitting: Any) -> None:
    """What is remembered for a set of limits is found by its identity, whichever connection asks."""
    limit = policy()
    first, second = exchange(limit), exchange(limit)
    assert first.client is not second.client
    for made in (first, second):
        await admitting(made)
    assert first.decision.policies is second.decision.policies


async def test_a_key_that_reads_a_field_is_never_remembered(admitting: Any) -> None:
    by_field = policy(by="header:X-Shop")
    made = []
    for shop in (b"a", b"b"):
        one = exchange(by_field)
        one.request.index[b"x-shop"] = shop
        if made:
            one.client = made[0].client
        await admitting(one)
        made.append(one)
    assert made[0].decision.key != made[1].decision.key
