"""The algorithms by the names that policies use.

Each is a module with `numbers` (a rate becomes the tuple that the step wants), `step` (one request, decided), `adjust`
(what was admitted turns out to have cost more or less) and `full_at` (when the state is no different from none). A
module here has a twin in `lua/` that gives the same answers. `inflight` also has `acquire`, `renew` and `release`.

What a trailing window of W seconds can hold at the most: `gcra` burst + rate * W, `fixed` and `calendar` twice the
quota, `sliding` and `log` the quota. `inflight` holds its limit at any one time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from proxy.limits.algorithms import fixed, gcra, inflight, log, sliding

Outcome = tuple[bool, Any, int, float, float]
"""(allowed, state to store if it was, remaining units, reset_s, wait_s).

`reset_s`: seconds until the whole quota is there again; while nothing remains, until one unit is. `wait_s` of a
refusal: seconds until the same cost would pass, infinite if it never can. Of an admission: seconds that it must wait
before it goes on, nearly always 0.0. A refusal's state is the old one.
"""


class Algorithm(NamedTuple):
    """What a policy needs of an algorithm. States and numbers are the algorithm's own business."""

    numbers: Callable[..., Any]
    """(count, period_s, burst); `gcra` also takes a delay budget, `inflight` the limit and the lease."""

    step: Callable[[Any, float, Any, int], Outcome]
    """(state or None, now, numbers, cost)."""

    full_at: Callable[[Any, Any], float]
    """(state, numbers)."""

    adjust: Callable[[Any, float, Any, int, float], Any]
    """(state or None, now, numbers, units, age_s) -> state or None. Units above zero are charged without asking, but
    never beyond the quota; below zero they are given back, but never more than is spent, and nothing of a window that
    is over."""


ALGORITHMS: Final[dict[str, Algorithm]] = {
    "gcra": Algorithm(gcra.numbers, gcra.step, gcra.full_at, gcra.adjust),
    "fixed": Algorithm(fixed.numbers, fixed.step, fixed.full_at, fixed.adjust),
    "calendar": Algorithm(fixed.numbers, fixed.calendar_step, fixed.full_at, fixed.calendar_adjust),
    "sliding": Algorithm(sliding.numbers, sliding.step, sliding.full_at, sliding.adjust),
    "log": Algorithm(log.numbers, log.step, log.full_at, log.adjust),
    "inflight": Algorithm(inflight.numbers, inflight.step, inflight.full_at, inflight.adjust),
}
