"""A shop behind Weir, and browsers in front of it: what the cache is for, measured as a visitor would."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browsing.browsers import Outcome, browse
from tests.browsing.shop import Shop
from tests.browsing.visits import Ask, plan, weights
from tests.line.process import Weir

CONFIG = """
access_log: {{path: access.log, sample: 1%, slow: 10s}}
upstreams: {{shop: {{primary: {shop}, pool: {{max_in_flight: 64, max_idle: 64, queue: 4096}}}}}}
defaults: {{upstream: shop}}
routes:
  - {{name: live, match: {{path: /live/**}}, cache: {{ttl: 1s}}}}
  - {{name: shop, match: {{path: /**}}, cache: {{}}}}
"""


@dataclass(frozen=True, slots=True)
class Mix:
    rate: float
    seconds: float
    objects: int
    browsers: int
    p95_ms: float
    late_p95_ms: float  # beyond it the load was the bottleneck, and nothing was measured


# Beside other tests on a busy machine, and cold from beginning to end: fewer objects, and time bounds that only say
# that nothing hangs.
SHORT = Mix(rate=400, seconds=6, objects=120, browsers=40, p95_ms=500, late_p95_ms=200)
LONG = Mix(rate=1160, seconds=60, objects=2000, browsers=300, p95_ms=50, late_p95_ms=10)


@pytest.fixture
def weir(tmp_path: Path, shop: Shop) -> Iterator[Weir]:
    made = Weir(tmp_path, CONFIG.format(shop=shop.url))
    try:
        made.launch()
        yield made.ready()
        assert made.stop() == 0, made.stderr
        assert made.defects() == [], made.stderr
    finally:
        made.kill()


@pytest.mark.alone
@pytest.mark.parametrize(
    "mix", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
)
def test_browsers_are_served_from_the_cache_quickly_and_rightly(weir: Weir, shop: Shop, mix: Mix) -> None:
    asks = plan(mix.rate, mix.seconds, mix.objects, mix.browsers, seed=7)
    outcomes = browse(asks, int(weir.url.rpartition(":")[2]))
    arrivals = shop.book()
    said = report(asks, outcomes, arrivals)
    print(said)
    faults = Counter(outcome.fault or "no answer" for outcome in outcomes if outcome.fault or outcome.took_s < 0)
    assert not faults, faults.most_common(10)
    assert said.late_p95_ms < mix.late_p95_ms, f"the load was too slow to measure anything: {said}"
    assert said.hits >= 0.7, said
    assert said.p95_ms < mix.p95_ms, said
    assert said.live_saved >= 0.9, said
    assert len(arrivals) <= 0.4 * len(asks), said  # and what is no hit is mostly shared or conditional
    assert {200, 206, 304} == set(said.statuses), said
    assert min(said.statuses.values()) > 0.01 * len(asks), said


def test_four_fifths_of_what_is_asked_for_are_a_fifth_of_the_shop() -> None:
    for objects in (120, 2000):
        each = weights(objects)
        assert sum(each[: objects // 5]) / sum(each) == pytest.approx(0.8, abs=0.001)
    asks = plan(1000, 20, 500, 10, seed=1)
    counts = Counter(each.target for each in asks if each.target.startswith("/asset/"))
    hot = sum(count for target, count in counts.items() if int(target.rpartition("/")[2]) < 100)
    assert hot / counts.total() == pytest.approx(0.8, abs=0.02)


def test_a_plan_is_the_same_for_the_same_seed_has_its_rate_and_holds_every_kind() -> None:
    asks = plan(1160, 10, 2000, 300, seed=3)
    assert asks == plan(1160, 10, 2000, 300, seed=3)
    assert asks != plan(1160, 10, 2000, 300, seed=4)
    assert len(asks) == 11_600
    kinds = Counter(ask.method for ask in asks)
    assert min(kinds["GET"], kinds["HEAD"], kinds["POST"]) > 50
    assert sum(ask.is_reload for ask in asks) > 1000
    assert sum(ask.is_part for ask in asks) > 100
    each_second = Counter(int(ask.at_s) for ask in asks)
    assert max(each_second.values()) < 1.5 * 1160


@pytest.mark.parametrize(
    ("defect", "fault"),
    [("", ""), ("forgets", "was written"), ("confuses", "it is b'\"/asset/0 "), ("mixes up", "with the content")],
    ids=["nothing", "a write that is not seen", "a foreign response", "foreign content"],
)
def test_a_wrong_answer_does_not_go_unseen(defect: str, fault: str) -> None:
    """The same browsers straight at the shop, which knows no ranges and stores nothing."""
    shop = Shop(defect)
    try:
        asks = plan(400, 1, 10, 5, seed=5)
        outcomes = browse(asks, int(shop.url.rpartition(":")[2]))
        said = report(asks, outcomes, shop.book())
    finally:
        shop.close()
    assert all(outcome.took_s >= 0 and outcome.late_s >= 0 for outcome in outcomes)
    assert (said.hits, said.live_saved, said.arrivals) == (0, 0, len(asks))
    assert {each.fault for ask, each in zip(asks, outcomes, strict=True) if ask.is_part} >= {"status 200"}
    others = [each.fault for ask, each in zip(asks, outcomes, strict=True) if each.fault and not ask.is_part]
    assert any(fault in each for each in others) if fault else others == []


def test_a_server_that_is_not_there_is_an_error_of_every_request() -> None:
    with socket.socket() as listener:  # bound, and not listening: nobody else can have the port meanwhile
        listener.bind(("127.0.0.1", 0))
        outcomes = browse(plan(100, 1, 10, 5, seed=5), listener.getsockname()[1])
    assert {outcome.status for outcome in outcomes} == {-1}
    assert all("no connection" in outcome.fault for outcome in outcomes)


@dataclass(frozen=True, slots=True)
class Report:
    requests: int
    hits: float  # share of all requests
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_p95_ms: float
    late_worst_ms: float
    arrivals: int  # at the backend
    live: int  # requests for the microcached route
    live_saved: float  # share of them that the backend never saw
    statuses: dict[int, int]


def report(asks: list[Ask], outcomes: list[Outcome], arrivals: list[tuple[str, str]]) -> Report:
    took = sorted(outcome.took_s * 1000 for outcome in outcomes)
    late = sorted(outcome.late_s * 1000 for outcome in outcomes)
    live = sum(ask.target.startswith("/live/") for ask in asks)
    arrived = sum(target.startswith("/live/") for _, target in arrivals)
    return Report(
        requests=len(asks),
        hits=round(sum(outcome.is_hit for outcome in outcomes) / len(asks), 3),
        p50_ms=round(took[len(took) // 2], 2),
        p95_ms=round(took[int(len(took) * 0.95)], 2),
        p99_ms=round(took[int(len(took) * 0.99)], 2),
        late_p95_ms=round(late[int(len(late) * 0.95)], 2),
        late_worst_ms=round(late[-1], 2),
        arrivals=len(arrivals),
        live=live,
        live_saved=round(1 - arrived / live, 3),
        statuses=dict(Counter(outcome.status for outcome in outcomes)),
    )
