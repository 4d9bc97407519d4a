"""The algorithms by the names that the configuration uses.

Each is a module with `numbers` (a rate becomes the tuple that the step wants), `step` (one request, decided) and
`full_at` (when the state is no different from none). A module here has a twin in `lua/` that gives the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from proxy.limits.algorithms import fixed, gcra, sliding

Outcome = tuple[bool, Any, int, float, float]
"""(allowed, state to store if it was, remaining units, reset_s, retry_after_s).

`reset_s`: seconds until the whole quota is there again; while nothing remains, until one unit is. `retry_after_s`:
seconds until the same cost would pass, 0.0 if it passed, infinite if it never can. A refusal's state is the old one.
"""


class Algorithm(NamedTuple):
    """What a policy needs of an algorithm. States and numbers are the algorithm's own business."""

    numbers: Callable[[int, float, int], Any]
    step: Callable[[Any, float, Any, int], Outcome]
    full_at: Callable[[Any, Any], float]


ALGORITHMS: Final[dict[str, Algorithm]] = {
    "gcra": Algorithm(gcra.numbers, gcra.step, gcra.full_at),
    "fixed": Algorithm(fixed.numbers, fixed.step, fixed.full_at),
    "sliding": Algorithm(sliding.numbers, sliding.step, sliding.full_at),
}
