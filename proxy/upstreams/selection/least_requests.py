"""The least busy: a slow endpoint gets fewer exchanges by itself.

All are looked at; an upstream has a handful of endpoints. The look begins at a place that moves, so that endpoints
with the same load take turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.upstreams.selection.policy import CandidateT, Turn


def pick(candidates: Sequence[CandidateT], state: Turn) -> CandidateT:
    turn = state.turn + 1
    if turn >= len(candidates):
        turn = 0
    state.turn = turn
    best = candidates[turn]
    least = best.load
    if least:
        for candidate in candidates:
            load = candidate.load
            if load < least:
                best, least = candidate, load
    return best
