"""XFetch: who fetches anew before the end, and how often."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache import taking
from proxy.cache.early import lead_s, refreshes_early


@pytest.mark.parametrize(
    ("age", "fetch", "eagerness", "draw", "early"),
    [
        pytest.param(0.0, 1.0, 1.0, 0.5, False, id="new"),
        pytest.param(59.0, 1.0, 1.0, 0.5, False, id="near, an ordinary draw"),
        pytest.param(59.0, 1.0, 1.0, 0.3, True, id="near, a small draw"),
        pytest.param(59.0, 1.0, 2.0, 0.5, True, id="near, eager"),
        pytest.param(59.0, 3.0, 1.0, 0.5, True, id="near, a slow origin"),
        pytest.param(59.0, 0.0, 1.0, 1e-9, False, id="an origin that takes no time"),
        pytest.param(60.0, 1.0, 1.0, 0.999, True, id="at the end"),
        pytest.param(40.0, 1.0, 1.0, 0.0, False, id="far, the smallest draw"),
    ],
)
def test_the_lot(age: float, fetch: float, eagerness: float, draw: float, early: bool) -> None:
    assert refreshes_early(age, 60.0, fetch, eagerness, draw) is early


@given(st.floats(0, 100), st.floats(0, 5), st.floats(0.1, 10), st.floats(0, 1, exclude_max=True))
def test_before_the_lead_nobody_does_whatever_is_drawn(age: float, fetch: float, eagerness: float, draw: float) -> None:
    if age < 60.0 - lead_s(fetch, eagerness) - 1e-9:
        assert not refreshes_early(age, 60.0, fetch, eagerness, draw)


@given(st.floats(0, 59), st.floats(0.01, 5), st.floats(0, 1), st.floats(0, 0.999))
def test_it_becomes_likelier_with_age_and_with_a_smaller_draw(
    age: float, more: float, part: float, draw: float
) -> None:
    if refreshes_early(age, 60.0, 1.0, 1.0, draw):
        assert refreshes_early(age + more, 60.0, 1.0, 1.0, draw)
        assert refreshes_early(age, 60.0, 1.0, 1.0, draw * part)


def test_a_popular_response_is_fetched_anew_before_its_end_almost_always() -> None:
    lots = Random(7)
    early = 0
    for _ in range(200):  # lives of an entry with 10 requests a second and an origin that takes 0.5 s
        early += any(refreshes_early(age / 10, 60.0, 0.5, 1.0, lots.random()) for age in range(600))
    assert early >= 199


def test_the_hot_path_only_stops_at_what_may_be_drawn(kit: Any) -> None:
    entry = kit.entry({"Cache-Control": "max-age=60"})
    assert entry.calm_s == entry.fresh_s == 60.0
    entry.refresh_early(1.0, 0.5)
    assert entry.calm_s == 60.0 - lead_s(0.5, 1.0)
    entry.fresh_s = 30.0
    assert entry.calm_s == 30.0 - lead_s(0.5, 1.0)


async def test_one_request_fetches_anew_and_nobody_waits(
    new_line: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = new_line({"ttl": 60.0, "early_refresh": 1.0})
    line.origin.answers(kit.reply(content=b"old"), kit.reply(content=b"new"))
    await line.ask()
    (entry,) = line.entries()
    entry.refresh_early(1.0, 0.5)
    monkeypatch.setattr(taking, "random", lambda: 0.99)
    line.passes(58)
    assert (await line.ask()).content == b"old"
    assert len(line.origin.asked) == 1
    monkeypatch.setattr(taking, "random", lambda: 0.0)
    replies = [await line.ask() for _ in range(5)]
    assert [(reply.content, reply.cache[:5]) for reply in replies] == [(b"old", "hit; ")] * 5
    await asyncio.sleep(0)
    assert len(line.origin.asked) == 2
    assert (await line.ask()).content == b"new"
