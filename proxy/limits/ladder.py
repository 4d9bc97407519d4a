"""`on_limit`: what is tried for a request over its limit, in order, before the 429."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, unique
from typing import Final

from proxy.core.units import DURATION_PATTERN, parse_duration

PATTERN: Final = rf"^(stale|replica|reject|delay\({DURATION_PATTERN[1:-1]}\))$"
MOST_DELAY_S: Final = 30.0
_DELAY: Final = re.compile(r"delay\((?P<budget>[^()]*)\)")
_FORM: Final = "write stale, replica, delay(200ms) or reject"


@unique
class Step(Enum):
    """One thing to try. `REJECT` is always the last, written or not, and is left out of a compiled ladder."""

    STALE = "stale"  # what the cache holds, fresh or stale
    REPLICA = "replica"  # reads only: a second budget of the same size, for replicas alone
    DELAY = "delay"  # let it pass when its turn comes, if that is soon enough
    REJECT = "reject"


Ladder = tuple[Step, ...]
NOTHING: Final[Ladder] = ()


def parse_ladder(words: str | Sequence[str]) -> tuple[Ladder, float]:
    """The steps before the 429, and the delay's budget in seconds (0.0 without one). Raises ValueError."""
    steps: list[Step] = []
    delay_s = 0.0
    for word in [words] if isinstance(words, str) else words:
        if (match := _DELAY.fullmatch(word)) is not None:
            step, delay_s = Step.DELAY, _budget(match["budget"])
        elif word in ("stale", "replica", "reject"):
            step = Step(word)
        elif word == "delay":
            raise ValueError("`delay` says nothing of how long; write delay(200ms)")
        else:
            raise ValueError(f"`{word[:40]}` is nothing to do on a limit; {_FORM}")
        if Step.REJECT in steps:
            raise ValueError(f"nothing can come after `reject`; put `{word}` before it")
        if step in steps:
            raise ValueError(f"`on_limit` has `{step.value}` twice")
        steps.append(step)
    if not steps:
        raise ValueError(f"`on_limit` is empty; {_FORM}")
    return tuple(step for step in steps if step is not Step.REJECT), delay_s


def common(ladders: Sequence[Ladder]) -> Ladder:
    """The steps that are right by all of several limits: those of the first that every other one has too."""
    first, *others = ladders
    return tuple([step for step in first if all(step in other for other in others)])


def _budget(text: str) -> float:
    seconds = parse_duration(text)
    if not 0.0 < seconds <= MOST_DELAY_S:
        raise ValueError(f"`delay({text})` is out of bounds; a request waits more than 0s and at most 30s")
    return seconds
