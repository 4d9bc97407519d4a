"""Probabilistic early refresh: some request fetches anew before a popular response goes stale.

The rule is XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015):
with every request the lot is drawn, the likelier the nearer the end is and the longer a fetch takes. So nobody waits,
and of many Weirs with the same entry not all ask in the same moment.
"""

from __future__ import annotations

from math import log
from typing import Final

_LEAST_DRAW: Final = 1e-6  # draws are not smaller: so the lot is not drawn at all while much time is left
_FARTHEST: Final = -log(_LEAST_DRAW)


def refreshes_early(age_s: float, fresh_s: float, fetch_s: float, eagerness: float, draw: float) -> bool:
    """This request shall have the response fetched anew. `draw` is uniform in [0, 1)."""
    return age_s - fetch_s * eagerness * log(max(draw, _LEAST_DRAW)) >= fresh_s


def lead_s(fetch_s: float, eagerness: float) -> float:
    """How long before its end a response is refreshed at the earliest, whatever is drawn."""
    return fetch_s * eagerness * _FARTHEST
