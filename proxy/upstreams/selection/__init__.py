"""Which of several endpoints takes the next exchange. One file per policy, and this table.

A policy is `pick(candidates, state)`: it never fails and never allocates, because it runs for every exchange. The
candidates are already those that may be used.
"""

from __future__ import annotations

from typing import Final

from proxy.upstreams.selection import least_requests, round_robin
from proxy.upstreams.selection.policy import Candidate, Pick, Turn

__all__ = ["POLICIES", "Candidate", "Pick", "Turn"]

POLICIES: Final[dict[str, Pick]] = {
    "round_robin": round_robin.pick,
    "least_requests": least_requests.pick,
}
