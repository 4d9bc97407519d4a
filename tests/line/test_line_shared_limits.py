"""Limits in a shared store: exact over several Weirs, and never an error or a long wait when the store is away."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.line.backend import Backend
from tests.line.client import Answer, at_once
from tests.line.conftest import StartWeir
from tests.line.process import Weir, eventually
from tests.line.store import Store

CONFIG = """
store: {store}
limiter: {{store_timeout: 100ms}}
upstreams: {{app: {{primary: {app}}}}}
defaults: {{upstream: app}}
routes:
  - {{name: rest}}
  - {{name: shared, match: {{path: /shared}}, limits: [{{name: shared, rate: 30/h, by: global}}]}}
  - {{name: again, match: {{path: /again}}, limits: [{{name: again, rate: 30/h, by: global}}]}}
  - {{name: local, match: {{path: /local}}, limits: [{{name: local, rate: 100/h, by: ip}}]}}
  - {{name: start, match: {{path: /start}}, limits: [{{name: start, rate: 5/h, by: ip}}]}}
  - {{name: wide, match: {{path: /wide}}, limits: [{{name: wide, rate: 100000/h, by: ip}}]}}
  - {{name: open, match: {{path: /open}}, limits: [{{name: open, rate: 1/h, by: ip, on_store_error: allow}}]}}
  - {{name: shut, match: {{path: /shut}}, limits: [{{name: shut, rate: 999/h, by: ip, on_store_error: deny}}]}}
"""
DEADLINE_S = 0.1
MARGIN_S = 0.4  # for a busy machine


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="module")
def text(store: Store, app: Backend) -> str:
    return CONFIG.format(store=store.url, app=app.url)


@pytest.fixture(scope="module")
def three(start_module_weir: StartWeir, text: str, store: Store) -> list[Weir]:
    """Weirs that share a store, and that started while it was away."""
    store.kill()
    weirs = [weir.ready() for weir in [start_module_weir(text, wait=False) for _ in range(3)]]
    first = weirs[0]
    # 95 % of five, in whole requests: there may be a Weir that it has not heard of
    assert [first.get("/start").status for _ in range(6)] == [200] * 4 + [429] * 2, "it serves without its store"
    assert is_local(first)
    store.start()
    return weirs


@pytest.fixture(scope="module")
def pair(three: list[Weir]) -> list[Weir]:
    return three[:2]


def store_part(weir: Weir) -> dict[str, object]:
    parts = weir.healthz().json()["components"]
    return next(part for part in parts if part["name"] == "store")


def is_shared(weir: Weir) -> bool:
    answer = weir.healthz()
    part = store_part(weir)
    return answer.status == 200 and part["mode"] == "shared" and not part["handing_over"]


def asks_the_store(weir: Weir) -> bool:
    """At this moment; the report of /healthz may be a second old."""
    return weir.metric("weir_limit_store_degraded") == 0.0


def is_local(weir: Weir) -> bool:
    answer = weir.healthz()
    return answer.status == 503 and store_part(weir)["mode"] == "local"


def test_two_weirs_share_a_limit_exactly(pair: list[Weir]) -> None:
    eventually(lambda: all(is_shared(weir) for weir in pair), 8.0)
    answers: list[Answer] = at_once(*[lambda weir=weir: weir.get("/shared") for weir in pair * 30])
    assert sorted(answer.status for answer in answers) == [200] * 30 + [429] * 30
    left = sorted(int(answer.get("x-ratelimit-remaining") or 0) for answer in answers if answer.status == 200)
    assert left == list(range(30)), "each place was given once"


def test_a_weir_that_comes_later_finds_what_was_spent(three: list[Weir]) -> None:
    eventually(lambda: is_shared(three[2]), 8.0)
    assert three[2].get("/shared").status == 429


def test_a_store_that_stalls_costs_each_request_its_deadline_at_most(pair: list[Weir], store: Store) -> None:
    weir = pair[0]
    eventually(lambda: asks_the_store(weir), 8.0)
    store.stall()
    try:
        waits = []
        for _ in range(12):
            started = time.monotonic()
            assert weir.get("/wide").status == 200
            waits.append(time.monotonic() - started)
        assert max(waits) < DEADLINE_S + MARGIN_S
        assert waits[0] > DEADLINE_S * 0.8, "the first one did wait"
        assert min(waits[-3:]) < DEADLINE_S / 2, "and soon nobody does"
    finally:
        store.go_on()


def fleet_of(weir: Weir) -> int:
    """How many Weirs it knows to share the store, itself among them."""
    (of_store,) = [part for part in weir.healthz().json()["components"] if part["name"] == "store"]
    return int(of_store["fleet"])


def test_a_store_that_dies_in_mid_run_costs_no_error_and_no_long_wait(pair: list[Weir], store: Store) -> None:
    weir, other = pair
    eventually(lambda: asks_the_store(weir) and asks_the_store(other), 8.0)
    eventually(lambda: fleet_of(weir) == 3, 8.0)
    time.sleep(0.25)  # events are written five times a second
    lost, back = len(weir.events("store_lost")), len(weir.events("store_back"))
    seen: list[tuple[int, float]] = []

    def traffic() -> None:
        with weir.client() as client:
            for number in range(150):
                started = time.monotonic()
                status = client.ask("GET", "/wide").status
                seen.append((status, time.monotonic() - started))
                time.sleep(0.002 if number % 2 else 0.0)

    def accident() -> None:
        time.sleep(0.15)
        store.kill()

    at_once(traffic, traffic, accident)
    assert {status for status, _ in seen} == {200}
    assert len(seen) == 300
    assert max(seconds for _, seconds in seen) < DEADLINE_S + MARGIN_S

    eventually(lambda: is_local(weir))
    eventually(lambda: len(weir.events("store_lost")) == lost + 1)
    assert weir.metric("weir_limit_store_degraded") == 1.0
    assert weir.metric("weir_limit_store_requests_total", mode="degraded") > 0
    local = [weir.get("/local").status for _ in range(50)]
    share = int(100 * 0.95 / 3)
    assert local.count(200) == share, f"its share of the limit is the default; {store_part(weir)}"
    assert local == sorted(local)
    assert [weir.get("/open").status for _ in range(3)] == [200] * 3
    shut = weir.get("/shut")
    assert (shut.status, shut.reason) == (429, "rate_limited")
    assert int(shut.get("retry-after") or 0) >= 1
    started = time.monotonic()
    for _ in range(20):
        weir.get("/wide")
    assert time.monotonic() - started < 1.0, "nobody waits for a store that is known to be away"

    store.start()
    eventually(lambda: is_shared(weir) and is_shared(other), 8.0)
    eventually(lambda: len(weir.events("store_back")) == back + 1)
    assert weir.metric("weir_limit_store_degraded") == 0.0
    for _ in range(15):
        assert (weir.get("/again").status, other.get("/again").status) == (200, 200)
    assert (weir.get("/again").status, other.get("/again").status) == (429, 429)


def test_it_stops_in_time_while_its_store_is_stalled(pair: list[Weir], store: Store) -> None:
    weir = pair[1]
    eventually(lambda: asks_the_store(weir), 8.0)
    store.stall()
    try:
        started = time.monotonic()
        assert weir.get("/wide").status == 200
        assert weir.stop() == 0
        assert time.monotonic() - started < 4.0
    finally:
        store.go_on()
