"""A flood of keys: memory and metrics stay small, who has nothing left gets nothing back, and limiting stays on."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from redis import Redis

from tests.fleet.flood import SPENT_UP, flood
from tests.fleet.load import Shot, fire
from tests.fleet.member import Member
from tests.line.client import ask
from tests.line.store import Store

pytestmark = pytest.mark.long  # processes that are started, killed and waited for

MILLION = 1_000_000
MOST_BYTES = 64 * 1024 * 1024
MOST_SERIES = 20


@pytest.mark.parametrize(
    ("algorithm", "keys"),
    [
        pytest.param("gcra", MILLION // 4, id="gcra, a quarter of it"),
        *[pytest.param(name, MILLION, id=name, marks=pytest.mark.long) for name in ("gcra", "fixed", "sliding")],
    ],
)
def test_a_million_keys_in_a_minute_fit_into_64_mib(algorithm: str, keys: int) -> None:
    found = flood(algorithm, keys)  # a quarter is enough to fill memory twice
    assert found["bytes"] <= MOST_BYTES, f"{found['bytes'] / 2**20:.1f} MiB"
    assert found["took_s"] < 60.0
    assert found["still_denied"] == SPENT_UP, "what was evicted did not come back with a full quota"
    assert found["newcomer_is_limited"]


@pytest.mark.parametrize(
    "keys", [pytest.param(30_000, id="30,000"), pytest.param(MILLION, id="a million", marks=pytest.mark.long)]
)
def test_a_shared_store_keeps_the_flood_out_of_this_process(store: Store, keys: int) -> None:
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.flushall()  # the keys of the row before are the same
    found = flood("gcra", keys, store.url)
    assert found["bytes"] <= MOST_BYTES, f"{found['bytes'] / 2**20:.1f} MiB"
    assert found["degraded"] == 0
    assert found["still_denied"] == SPENT_UP
    assert found["newcomer_is_limited"]


@pytest.mark.parametrize(
    "keys", [pytest.param(2_000, id="2,000"), pytest.param(100_000, id="100,000", marks=pytest.mark.long)]
)
def test_the_metrics_of_a_limit_do_not_grow_with_its_keys(four: list[Member], keys: int) -> None:
    weir = four[0]
    before = weir.rss_bytes()
    shots = fire(Shot(n / 1500, weir.port, "/flood", f"flood{keys}-{n}") for n in range(keys)).wait()
    assert {shot.status for shot in shots} == {200}
    # and somebody is refused, so that what counts refusals is there too
    refused = fire(Shot(0.0, weir.port, "/flood", f"flood{keys}-{n % 100}") for n in range(600)).wait()
    assert {shot.status for shot in refused} == {200, 429}
    text = ask(weir.admin, "GET", "/metrics").content.decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any(f"flood{keys}" in line for line in lines)
    series = Counter(value for line in lines for value in set(re.findall(r'="([^"]*)"', line)))
    for name in ("per-key", "per-key-fixed"):
        assert 0 < series[name] <= MOST_SERIES, [line for line in lines if f'"{name}"' in line]
    assert weir.rss_bytes() - before < MOST_BYTES
