"""What is said in Cache-Status is what is counted."""

from __future__ import annotations

import pytest

from proxy.cache.stats import MAX_OUTCOMES, MAX_ROUTES, OTHER, CacheStats, RouteCacheStats, outcome_of


@pytest.mark.parametrize(
    ("said", "outcome", "not_stored"),
    [
        (b"hit; ttl=30", ("hit", "-"), ""),
        (b"hit; ttl=0", ("hit", "-"), ""),
        (b"hit; ttl=-3", ("stale", "revalidating"), ""),
        (b"hit; ttl=0; detail=stale-while-revalidate", ("stale", "revalidating"), ""),
        (b"hit; ttl=5; detail=over-limit", ("hit", "over-limit"), ""),
        (b"fwd=uri-miss; stored", ("miss", "uri-miss"), ""),
        (b"fwd=uri-miss; detail=private", ("miss", "uri-miss"), "private"),
        (b"fwd=vary-miss; stored", ("miss", "vary-miss"), ""),
        (b"fwd=stale; fwd-status=304", ("miss", "stale"), ""),
        (b"fwd=stale; fwd-status=503; detail=stale-if-error", ("stale", "error"), ""),
        (b"fwd=stale; detail=stale-if-error", ("stale", "error"), ""),
        (b"fwd=uri-miss; collapsed", ("collapsed", "uri-miss"), ""),
        (b"fwd=bypass; detail=no-store", ("bypass", "no-store"), ""),
        (b"fwd=method", ("bypass", "method"), ""),
        (b"fwd=request", ("miss", "request"), ""),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else None,
)
def test_every_word_has_its_counter(said: bytes, outcome: tuple[str, str], not_stored: str) -> None:
    assert outcome_of(said) == (outcome, not_stored)
    stats = CacheStats()
    stats.note("search", said)
    stats.note("search", said)
    assert stats.of("search").results() == {outcome: 2}
    assert stats.of("search").not_stored == ({not_stored: 2} if not_stored else {})


def test_words_and_routes_are_bounded() -> None:
    route = RouteCacheStats()
    for number in range(2 * MAX_OUTCOMES):
        route.note(b"fwd=bypass; detail=%d" % number)
        route.note(b"fwd=uri-miss; detail=%d" % number)
    assert len(route.outcomes) <= MAX_OUTCOMES + 1
    assert len(route.not_stored) <= MAX_OUTCOMES + 1
    assert sum(route.results().values()) == 4 * MAX_OUTCOMES
    stats = CacheStats()
    for number in range(MAX_ROUTES + 10):
        stats.note(f"route {number}", b"hit; ttl=1")
    assert len(stats.routes) == MAX_ROUTES + 1
    assert stats.of(OTHER).hits == 10
