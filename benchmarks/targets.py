"""What the figures are held against: Weir's processor time per request beside a peer's, in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.summary import Summary

MANY_P95_MS = 200.0


@dataclass(frozen=True, slots=True)
class Target:
    """Weir's `scenario` may cost at most `limit` times the peer's `base` scenario."""

    scenario: str
    peer: str
    base: str
    limit: float


TARGETS = (
    Target("hit", "nginx", "hit", 1.0),
    Target("hit", "varnish", "hit", 1.0),
    Target("not-modified", "nginx", "not-modified", 1.0),
    Target("not-modified", "varnish", "not-modified", 1.0),
    Target("denied", "nginx", "denied", 1.2),
    Target("get", "nginx", "get", 2.0),
    Target("get", "envoy", "get", 0.7),
    Target("redis", "weir", "get", 1.4),
    Target("download", "nginx", "download", 1.2),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`is_met` is None when one of the two figures is missing."""

    text: str
    value: str
    is_met: bool | None


def judge(summaries: Sequence[Summary]) -> list[Verdict]:
    found = {(each.scenario, each.peer): each for each in summaries}
    verdicts = []
    for target in TARGETS:
        ours, theirs = found.get((target.scenario, "weir")), found.get((target.base, target.peer))
        text = f"{target.scenario} <= {target.limit:g}x {target.peer}"
        if target.base != target.scenario:
            text += f" {target.base}"
        if ours is None or theirs is None or not theirs.cpu_us:
            verdicts.append(Verdict(text, "not measured", None))
        else:
            ratio = ours.cpu_us / theirs.cpu_us
            verdicts.append(Verdict(text, f"{ratio:.2f}x", ratio <= target.limit))
    return [*verdicts, _judge_many(found.get(("many", "weir")))]


def _judge_many(many: Summary | None) -> Verdict:
    text = f"many: no error, p95 < {MANY_P95_MS:g} ms"
    if many is None:
        return Verdict(text, "not measured", None)
    return Verdict(text, f"{many.errors} errors, {many.p95_ms:.0f} ms", not many.errors and many.p95_ms < MANY_P95_MS)
