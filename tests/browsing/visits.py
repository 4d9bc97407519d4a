"""What browsers ask of a shop: page views by Poisson, each with what belongs to the page.

Four fifths of the requests are for a fifth of the pages and assets. Pure: the same seed gives the same plan.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

ENCODINGS = (  # what browsers accept, and how many of a hundred do
    ("gzip, deflate, br, zstd", 70),
    ("gzip, deflate, br", 15),
    ("gzip, deflate", 10),
    ("", 5),
)
QUOTES = 3  # the live route has so many URLs
RANGE_BYTES = 100


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a plan."""

    at_s: float
    browser: int
    method: str
    target: str
    is_reload: bool = False  # with If-None-Match, where the browser has it
    is_part: bool = False  # the first RANGE_BYTES of it
    leaves: bool = False  # afterwards the browser closes its connections


def is_coded(target: str) -> bool:
    """Whether the shop compresses it: a quote is too small for that."""
    return not target.startswith("/live/")


def weights(objects: int, hot: float = 0.2, share: float = 0.8) -> list[float]:
    """Zipf weights by rank, as steep as it takes for `hot` of the objects to get `share` of the requests."""
    low, high = 0.0, 4.0
    for _ in range(40):
        alpha = (low + high) / 2
        each = [1 / rank**alpha for rank in range(1, objects + 1)]
        if sum(each[: round(objects * hot)]) < share * sum(each):
            low = alpha
        else:
            high = alpha
    return each


def plan(rate: float, seconds: float, objects: int, browsers: int, seed: int) -> list[Ask]:
    """`rate * seconds` requests in order of time; `objects` pages, and as many assets."""
    draw = random.Random(seed)
    bounds = list(accumulate(weights(objects)))
    total = int(rate * seconds)

    def target(kind: str) -> str:
        return f"/{kind}/{bisect(bounds, draw.random() * bounds[-1])}"

    asks: list[Ask] = []
    while len(asks) < total:
        at_s, browser = draw.random() * seconds, draw.randrange(browsers)
        asks += _view(draw, at_s, browser, [target("item"), *[target("asset") for _ in range(draw.randint(2, 8))]])
    return sorted(asks[:total], key=lambda ask: ask.at_s)


def _view(draw: random.Random, at_s: float, browser: int, targets: Sequence[str]) -> list[Ask]:
    """A page, what belongs to it within a fifth of a second, and now and then something else."""
    page, *assets = targets
    is_reload = draw.random() < 0.25
    asks = [Ask(at_s, browser, "GET", page, is_reload)]
    for asset in assets:
        asks.append(Ask(at_s + 0.02 + draw.random() * 0.18, browser, "GET", asset, is_reload))
    if draw.random() < 0.9:
        asks.append(Ask(at_s + 0.05, browser, "GET", f"/live/quote?of={draw.randrange(QUOTES)}"))
    if draw.random() < 0.2:
        asks.append(Ask(at_s + 0.06, browser, "GET", "/me"))
    if draw.random() < 0.2:
        asks.append(Ask(at_s + 0.07, browser, "HEAD", page))
    if draw.random() < 0.2:
        asks.append(Ask(at_s + 0.08, browser, "GET", assets[0], is_part=True))
    if draw.random() < 0.04:
        asks.append(Ask(at_s + 0.25, browser, "POST", page))
    if draw.random() < 0.2:
        asks.append(Ask(at_s + 0.3, browser, "GET", assets[-1], leaves=True))
    return asks
