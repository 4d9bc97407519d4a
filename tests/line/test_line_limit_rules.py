"""Limits beyond counting requests, through the whole line: settled afterwards, held, delayed, softened, by plan."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from tests.line.backend import Backend, Call, Hub, Out
from tests.line.client import Answer, at_once
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually

KEY = hashlib.sha256(b"key-of-ci").hexdigest()
CONFIG = """
trusted_proxies: [127.0.0.2/32]
upstreams:
  app: {{primary: {app}}}
  shop: {{primary: {app}, replicas: [{replica}]}}
  alone:
    primary: {app}
    replicas: ["http://127.0.0.1:9"]
    health: {{path: /, interval: 100ms, timeout: 100ms, fall: 1}}
identity:
  user: {{api_key: {{keys: {{ci: {{hash: "sha256:{key}", plan: pro}}}}}}}}
  plan: {{header: X-Plan}}
include: [policies/*.yaml]
"""
POLICY = """
limits:
  r-login: {rate: 3/h, algorithm: sliding, count_if: "status in (401, 403)"}
  r-cost: {rate: 10/h, cost: {response_field: X-Cost}}
  r-kept: {rate: 100/h, cost: {response_field: X-Cost}}
  r-bytes: {rate: 10/h, algorithm: fixed, cost: {response_bytes: 1KiB}}
  r-busy: {algorithm: inflight, limit: 2, lease: 1s}
  r-tunnels: {algorithm: inflight, limit: 1, lease: 1h}
  r-delay: {rate: 10/s, burst: 1, on_limit: delay(350ms)}
  r-stale: {rate: 1/h, algorithm: fixed, on_limit: [stale, reject]}
  r-replica: {rate: 2/h, algorithm: fixed, on_limit: replica}
  r-alone: {rate: 2/h, algorithm: fixed, on_limit: replica}
  r-plan: {rate: 2/h, plans: {pro: 4/h, gold: 9/h}}
  r-shadow: {rate: 1/h, mode: shadow}
  r-listed: {rate: 1/h, allow: ["api_key:ci"], deny: [127.0.0.3]}
routes:
  - {name: rest, upstream: app}
  - {name: r-login, upstream: app, match: {path: /login}, announce_limits: false, limits: [r-login]}
  - {name: r-cost, upstream: app, match: {path: /cost}, limits: [r-cost]}
  - {name: r-kept, upstream: app, match: {path: /kept}, cache: {ttl: 60s}, limits: [r-kept]}
  - {name: r-bytes, upstream: app, match: {path: /bytes}, limits: [r-bytes]}
  - {name: r-busy, upstream: app, match: {path: /busy}, limits: [r-busy]}
  - {name: r-tunnels, upstream: app, match: {path: /tunnels}, limits: [r-tunnels]}
  - {name: r-delay, upstream: app, match: {path: /delay}, limits: [r-delay]}
  - {name: r-stale, upstream: app, match: {path: /stale}, cache: {ttl: 300ms, stale_if_error: 60s}, limits: [r-stale]}
  - {name: r-replica, upstream: shop, match: {path: /replica}, limits: [r-replica]}
  - {name: r-alone, upstream: alone, match: {path: /alone}, limits: [r-alone]}
  - {name: r-plan, upstream: app, match: {path: /plan}, limits: [r-plan]}
  - {name: r-shadow, upstream: app, match: {path: /shadow}, limits: [r-shadow]}
  - {name: r-listed, upstream: app, match: {path: /listed}, limits: [r-listed]}
"""


@pytest.fixture(scope="module")
def replica(hub: Hub) -> Backend:
    return Backend(hub, "replica")


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend, replica: Backend) -> Weir:
    config = CONFIG.format(app=app.url, replica=replica.url, key=KEY)
    return configure_module(config, {"policies/limits.yaml": POLICY})


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def left(answer: Answer) -> int:
    return int(answer.get("x-ratelimit-remaining") or -1)


def test_only_failed_logins_count_and_nothing_is_announced(weir: Weir) -> None:
    good = [weir.get("/login?status=200") for _ in range(6)]
    assert statuses(good) == [200] * 6
    assert not [name for name, _ in good[0].fields if "ratelimit" in name.lower()]
    answers = [weir.get("/login?status=401") for _ in range(4)]
    assert statuses(answers) == [401, 401, 401, 429]
    assert int(answers[-1].get("retry-after") or 0) > 3000
    assert answers[-1].get("ratelimit") is None
    assert weir.get("/login?status=200").status == 429


def test_a_client_that_leaves_in_mid_login_is_counted(weir: Weir, app: Backend) -> None:
    for _ in range(3):
        with weir.client(source="127.0.0.5") as client:
            before = len(app.asked("/login"))
            client.raw(b"GET /login?status=401&wait=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda seen=before: len(app.asked("/login")) > seen or None)
    assert weir.get("/login?status=200", source="127.0.0.5").status == 429


def test_the_backend_says_the_cost_and_the_client_does_not_see_it(weir: Weir, app: Backend) -> None:
    async def answer(call: Call, out: Out) -> None:
        await out.send(200, b"", {"X-Cost": call.query.get("cost", "1"), "X-Other": "a"})

    app.on("/cost", answer)
    first = weir.get("/cost?cost=6", {"X-Cost": "0"})
    assert (first.status, first.get("x-cost"), first.get("x-other")) == (200, None, "a")
    assert left(weir.get("/cost")) == 3
    assert weir.get("/cost?cost=3").status == 200
    assert weir.get("/cost").status == 429


def test_a_stored_response_does_not_tell_the_cost_either(weir: Weir, app: Backend) -> None:
    async def answer(call: Call, out: Out) -> None:
        await out.send(200, b"content", {"X-Cost": "50"})

    app.on("/kept", answer)
    answers = [weir.get("/kept") for _ in range(3)]
    assert "hit" in (answers[2].get("cache-status") or "")
    assert [answer.get("x-cost") for answer in answers] == [None] * 3
    assert [left(answer) for answer in answers] == [99, 49, 48], "a hit costs the reserve"


def test_content_costs_by_its_size(weir: Weir) -> None:
    assert weir.get("/bytes?size=5000").status == 200
    again = weir.get("/bytes?size=1")
    assert left(again) == 4
    assert '"r-bytes";q=10240;qu="content-bytes"' in (again.get("ratelimit-policy") or "")


def test_what_is_under_way_is_bounded_and_comes_back(weir: Weir) -> None:
    answers = at_once(*[lambda: weir.get("/busy?wait=1.6")] * 3)
    assert sorted(statuses(answers)) == [200, 200, 429]
    denied = next(answer for answer in answers if answer.status == 429)
    assert 'qu="concurrent-requests"' in (denied.get("ratelimit-policy") or "")
    assert weir.get("/busy").status == 200


def test_clients_that_leave_hold_nothing(weir: Weir, app: Backend) -> None:
    for _ in range(4):
        with weir.client() as client:
            before = len(app.asked("/busy"))
            client.raw(b"GET /busy?wait=5 HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda seen=before: len(app.asked("/busy")) > seen or None)
        time.sleep(0.05)
    assert statuses(at_once(*[lambda: weir.get("/busy")] * 2)) == [200, 200]


def test_a_tunnel_is_under_way_until_it_ends(weir: Weir, app: Backend) -> None:
    async def upgrade(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        await asyncio.sleep(0.5)
        out.close()

    app.on("/tunnels", upgrade)
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with weir.client() as client:
        client.send("GET", "/tunnels", wanted | {"Sec-WebSocket-Version": "13"})
        assert client.head().status == 101
        assert client.read(5) == b"hello"
        assert weir.get("/tunnels").status == 429
        with pytest.raises(EOFError):
            client.read(1000)

    async def answer(call: Call, out: Out) -> None:
        await out.send(200)

    app.on("/tunnels", answer)
    eventually(lambda: weir.get("/tunnels").status == 200 or None, timeout_s=0.9)


def test_requests_that_come_too_early_wait_for_their_turn(weir: Weir) -> None:
    began = time.monotonic()
    answers = at_once(*[lambda: weir.get("/delay")] * 8)
    found = sorted(statuses(answers))
    assert found[:3] == [200, 200, 200]
    assert found[-1] == 429
    assert 3 <= found.count(200) <= 5
    assert time.monotonic() - began >= 0.18


def test_over_the_limit_a_stale_response_is_better_than_none(weir: Weir, app: Backend) -> None:
    first = weir.get("/stale?a=1")
    assert first.status == 200
    time.sleep(0.4)
    second = weir.get("/stale?a=1")
    assert (second.status, second.content) == (200, first.content)
    status = second.get("cache-status") or ""
    assert "hit" in status
    assert "over-limit" in status
    assert second.get("retry-after") is None
    assert weir.get("/stale?a=2").status == 429
    assert len(app.asked("/stale")) == 1


def test_over_the_limit_reads_go_to_replicas_as_many_again(weir: Weir, app: Backend, replica: Backend) -> None:
    answers = [weir.get("/replica") for _ in range(5)]
    assert statuses(answers) == [200, 200, 200, 200, 429]
    assert {answer.backend for answer in answers[2:4]} == {"replica"}
    assert weir.ask("POST", "/replica").status == 429


def test_without_a_replica_that_is_up_there_is_a_429(weir: Weir, app: Backend) -> None:
    def is_out() -> bool | None:
        part = next(part for part in weir.healthz().json()["components"] if part["name"] == "upstream alone")
        return not part["healthy"] or None

    eventually(is_out)
    assert statuses([weir.get("/alone") for _ in range(5)]) == [200, 200, 429, 429, 429]
    assert len(app.asked("/alone")) == 2, "the primary is not asked instead"


def test_the_plan_of_a_key_holds_and_a_field_of_anybody_does_not(weir: Weir) -> None:
    def passes(fields: dict[str, str], source: str) -> int:
        return statuses([weir.get("/plan", fields, source=source) for _ in range(12)]).count(200)

    assert passes({"X-Plan": "gold"}, "127.0.0.6") == 2
    assert passes({"X-Plan": "gold", "X-API-Key": "key-of-ci"}, "127.0.0.7") == 4
    assert passes({"X-Plan": "gold", "X-API-Key": "wrong"}, "127.0.0.8") == 2
    assert passes({"X-Plan": "gold", "X-Forwarded-For": "203.0.113.9"}, "127.0.0.2") == 9


def test_the_backend_never_sees_a_plan_that_nobody_vouched_for(weir: Weir, app: Backend) -> None:
    weir.get("/seen", {"X-Plan": "gold"})
    assert app.last("/seen").get("x-plan") is None


def test_a_limit_in_shadow_refuses_nobody(weir: Weir) -> None:
    answers = [weir.get("/shadow") for _ in range(4)]
    assert statuses(answers) == [200] * 4
    assert answers[-1].get("ratelimit") is None


def test_lists_let_pass_and_refuse(weir: Weir, app: Backend) -> None:
    assert statuses([weir.get("/listed", {"X-API-Key": "key-of-ci"}) for _ in range(4)]) == [200] * 4
    refused = weir.get("/listed", source="127.0.0.3")
    assert (refused.status, refused.reason) == (403, "forbidden")
    assert refused.json()["violated-policies"] == ["r-listed"]
    assert len(app.asked("/listed")) == 4
