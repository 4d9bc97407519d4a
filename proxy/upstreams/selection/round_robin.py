"""In turn: every endpoint gets the same number of exchanges."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.upstreams.selection.policy import CandidateT, Turn


def pick(candidates: Sequence[CandidateT], state: Turn) -> CandidateT:
    turn = state.turn + 1
    if turn >= len(candidates):
        turn = 0
    state.turn = turn
    return candidates[turn]
