"""What the cache adds to a miss: which answers count, and what the figures are differences of."""

from __future__ import annotations

import pytest

from benchmarks.cache import COLD, PLAIN, STRAIGHT, fault, figures

MISS = b"HTTP/1.1 200 OK\r\nCache-Status: weir; fwd=uri-miss; stored\r\nVia: 1.1 weir"
HIT = b"HTTP/1.1 200 OK\r\nCache-Status: weir; hit; ttl=3599\r\nVia: 1.1 weir"
BARE = b"HTTP/1.1 200 OK\r\nServer: nginx"


@pytest.mark.parametrize(
    ("kind", "head", "wrong"),
    [
        (COLD, MISS, ""),
        (COLD, HIT, "it is no miss that was stored"),
        (COLD, MISS.replace(b"; stored", b""), "it is no miss that was stored"),
        (PLAIN, HIT, ""),
        (PLAIN, BARE, "it did not come through Weir"),
        (STRAIGHT, BARE, ""),
        (STRAIGHT, b"HTTP/1.1 404 Not Found", "it is no 200"),
    ],
    ids=["miss", "a hit", "not stored", "through Weir", "not through Weir", "straight", "not found"],
)
def test_only_the_answer_that_is_meant_is_timed(kind: int, head: bytes, wrong: str) -> None:
    assert fault(kind, head) == wrong


def test_the_cache_is_held_against_the_same_route_without_one() -> None:
    found = {each.name: each for each in figures([[900, 700, 750], [500, 400, 600], [100, 200, 300]], 0.5)}

    added = found["first byte of a miss, cache on, p50"]
    assert added.value == pytest.approx(0.25)
    assert added.is_met
    assert found["first byte through Weir, miss, p50"].value == pytest.approx(0.55)
    assert found["first byte through Weir, no cache, p50"].value == pytest.approx(0.3)
    assert found["  Weir's core, busy"].value == pytest.approx(50.0)


def test_a_tenth_of_a_millisecond_too_much_is_a_miss() -> None:
    added = figures([[900], [500], [100]], 0.5)[0]

    assert added.value == pytest.approx(0.4)
    assert added.is_met is False
