"""The penalty box: who is denied again and again is blocked for a while, each time for longer.

Denials are counted by this process alone; the block itself is a ban among the operator's controls, which all Weirs on
one store share. What grows is forgotten when a key has kept out of trouble for as long as its last block lasted, and
at least for `within_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_KEYS: Final = 10_000  # of one limit; the one whose last denial is longest ago is forgotten


@dataclass(frozen=True, slots=True)
class Penalty:
    """The rule: `after` denials within `within_s` block for `block_s`, and `growth` times longer each time."""

    after: int
    within_s: float
    block_s: float
    growth: float
    most_s: float

    def length_s(self, blocks: int) -> float:
        """How long the next block lasts, after `blocks` of them."""
        # beyond 64 doublings any block is the longest one; the power of a large number would overflow
        return min(self.block_s * self.growth ** min(blocks, 64), self.most_s)


class PenaltyBox:
    """The denials of one limit's keys, bounded."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        # key -> (start of the count, denials in it, blocks so far, instant at which the blocks are forgotten);
        # in the order of the last denial
        self._records: dict[bytes, tuple[float, int, int, float]] = {}

    def denied(self, rule: Penalty, key: bytes, now: float) -> float:
        """Count a denial. The seconds to block the key for from now on, or 0.0 for not yet."""
        records = self._records
        record = records.pop(key, None)
        if record is None:
            if len(records) >= MOST_KEYS:
                del records[next(iter(records))]
            start, count, blocks, forgiven_at = now, 0, 0, now
        else:
            start, count, blocks, forgiven_at = record
            if now - start > rule.within_s:
                start, count = now, 0
            if blocks and now >= forgiven_at:
                blocks = 0
        count += 1
        if count < rule.after:
            records[key] = start, count, blocks, forgiven_at
            return 0.0
        block_s = rule.length_s(blocks)
        records[key] = now, 0, blocks + 1, now + block_s + max(block_s, rule.within_s)
        return block_s

    def forget(self, key: bytes) -> None:
        """The operator let the key go: it begins anew."""
        self._records.pop(key, None)

    def __len__(self) -> int:
        return len(self._records)
