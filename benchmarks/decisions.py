"""What a decision in memory takes, in the process that runs this: `[nanoseconds for 1 limit, for 5]` as JSON.

A script and not a part of `benchmarks.limits`: the Weir that is measured may be that of another Python.
"""

from __future__ import annotations

import json
import time

from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimitSettings

COUNTS = (1, 5)


def decision_ns(count: int) -> float:
    """The least of 30 repeats, one key after the other out of a thousand."""
    settings = LimitSettings.model_validate({"rate": "1000000/s", "by": "ip"})
    policies = tuple(compile_limit(f"limit{n}", settings, "bench") for n in range(count))
    asked = [[policy.prefix + b"i%d" % n for policy in policies] for n in range(1000)]
    store = MemoryStore(100_000)
    best_ns = 1e9
    for _ in range(30):
        began_ns = time.perf_counter_ns()
        for keys in asked:
            store.decide(policies, keys, 1.0)
        best_ns = min(best_ns, (time.perf_counter_ns() - began_ns) / len(asked))
    return best_ns


if __name__ == "__main__":
    print(json.dumps([decision_ns(count) for count in COUNTS]))
