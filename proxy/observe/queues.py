"""Metric families of those who wait for an upstream, by upstream and class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from proxy.observe import definitions as d
from proxy.observe.families import Family, Values, edges_of, histograms, numbers
from proxy.observe.views import AdaptiveView, ClassStatsView, GateView

__all__ = ["CLASSES", "WAIT_BOUNDS_S", "queues"]

CLASSES: Final = ("critical", "normal", "background")  # upstreams.queue.PRIORITIES; a test compares them
WAIT_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # of queue_stats
_EDGES: Final = edges_of(WAIT_BOUNDS_S)
_Gates = Mapping[str, GateView]


def queues(gates: _Gates, now: float) -> Iterator[Family]:
    """All of them; `now` is monotonic."""
    yield _of_upstreams(d.UPSTREAM_SLOTS, gates, lambda gate: gate.slots)
    yield _of_upstreams(d.UPSTREAM_IN_USE, gates, lambda gate: gate.in_use)
    classes = [(name, gate.lines, rank, word) for name, gate in gates.items() for rank, word in enumerate(CLASSES)]
    depths = (((name, word), lines.depth(rank)) for name, lines, rank, word in classes)
    yield numbers(d.UPSTREAM_WAITING, depths)
    yield _of_upstreams(d.UPSTREAM_WAITING_BYTES, gates, lambda gate: gate.lines.size_bytes)
    yield _of_upstreams(d.UPSTREAM_OLDEST_WAIT, gates, lambda gate: gate.lines.oldest_wait_s(now))
    modes = (((name, word), float(lines.is_newest_first(rank))) for name, lines, rank, word in classes)
    yield numbers(d.UPSTREAM_NEWEST_FIRST, modes)
    yield histograms(d.UPSTREAM_WAIT, ((v, stats.buckets, stats.wait_s) for v, stats in _of_classes(gates)), _EDGES)
    refusals = (((*v, reason), n) for v, stats in _of_classes(gates) for reason, n in stats.refused.items())
    yield numbers(d.UPSTREAM_REFUSED, refusals)
    yield numbers(d.UPSTREAM_DISPLACED, ((v, stats.displaced) for v, stats in _of_classes(gates)))
    yield numbers(d.UPSTREAM_LEFT, ((v, stats.left) for v, stats in _of_classes(gates)))
    sheds = (((name, word), float(lines.sheds(rank))) for name, lines, rank, word in classes)
    yield numbers(d.UPSTREAM_SHEDDING, sheds)
    yield from _adaptive({name: gate.adaptive for name, gate in gates.items() if gate.adaptive is not None})
    means = ((name, gate.mean_service_s) for name, gate in gates.items())
    yield numbers(d.UPSTREAM_SERVICE, (((name,), mean_s) for name, mean_s in means if mean_s is not None))
    yield _of_upstreams(d.UPSTREAM_RATE, gates, lambda gate: gate.drain_per_s)


def _adaptive(found: Mapping[str, AdaptiveView]) -> Iterator[Family]:
    limits = (((name, "enforce" if each.rules.enforces else "observe"), each.bound) for name, each in found.items())
    yield numbers(d.UPSTREAM_ADAPTIVE, limits)
    yield numbers(d.UPSTREAM_HELD_BACK, (((name,), each.held_back) for name, each in found.items()))
    cuts = (((name, reason), n) for name, each in found.items() for reason, n in each.cuts.items())
    yield numbers(d.UPSTREAM_CUTS, cuts)
    yield numbers(d.UPSTREAM_MEASURED, (((name,), each.measured) for name, each in found.items()))
    p90s = ((name, each.p90_s) for name, each in found.items())
    yield numbers(d.UPSTREAM_P90, (((name,), p90_s) for name, p90_s in p90s if p90_s is not None))
    usual = ((name, each.usual_s) for name, each in found.items())
    yield numbers(d.UPSTREAM_USUAL, (((name,), usual_s) for name, usual_s in usual if usual_s is not None))


def _of_upstreams(definition: d.Definition, gates: _Gates, read: Callable[[GateView], float]) -> Family:
    return numbers(definition, (((name,), read(gate)) for name, gate in gates.items()))


def _of_classes(gates: _Gates) -> Iterator[tuple[Values, ClassStatsView]]:
    for name, gate in gates.items():
        for word, stats in zip(CLASSES, gate.stats.classes, strict=True):
            yield (name, word), stats
