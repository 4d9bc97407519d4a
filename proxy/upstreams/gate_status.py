"""What the operator sees of a gate: who waits, in which order, and what became of those who did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.upstreams.queue import PRIORITIES

if TYPE_CHECKING:
    from proxy.upstreams.gate import Gate

__all__ = ["gate_status"]


def gate_status(gate: Gate[Any], now: float) -> dict[str, Any]:
    """JSON values only. Durations are seconds; counters are since the start."""
    mean_s = gate.mean_service_s
    return {
        "slots": gate.slots,
        "most_waiting": gate.numbers.queue,
        "waiting_bytes": gate.lines.size_bytes,
        "oldest_wait_s": round(gate.lines.oldest_wait_s(now), 3),
        "mean_service_s": None if mean_s is None else round(mean_s, 6),
        "served_per_s": round(gate.drain_per_s, 3),
        "adaptive": None if gate.adaptive is None else gate.adaptive.status(),
        "classes": {word: _of_class(gate, rank) for rank, word in enumerate(PRIORITIES)},
    }


def _of_class(gate: Gate[Any], rank: int) -> dict[str, Any]:
    stats = gate.stats.classes[rank]
    return {
        "waiting": gate.lines.depth(rank),
        "newest_first": gate.lines.is_newest_first(rank),
        "shed": gate.lines.sheds(rank),
        "served_after_wait": stats.served,
        "wait_s": round(stats.wait_s, 3),
        "refused": dict(stats.refused),
        "left": stats.left,
    }
