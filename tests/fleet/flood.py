"""A million keys in a minute of virtual time, on a store of limits in a process of its own: what memory does it take?

`python -m tests.fleet.flood ALGORITHM KEYS [STORE_URL]` prints one JSON object. Without a URL the counts are in memory.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxy.core.clock import monotonic
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import Verdict
from tests.line.process import ROOT

VIRTUAL_S = 60.0
QUOTA = 5
SPENT_UP = 100  # keys that have nothing left before the flood begins
AT_ONCE = 64


def flood(algorithm: str, keys: int, url: str = "") -> dict[str, Any]:
    """Run it as a process."""
    command = [sys.executable, "-m", "tests.fleet.flood", algorithm, str(keys), *([url] if url else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rss_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def key(policy: LimitPolicy, name: str) -> bytes:
    return policy.prefix + b"i" + name.encode()


class Asker:
    """`decide` of either store. In memory the clock is virtual; a shared store goes by its own."""

    def __init__(self, store: MemoryStore | RedisStore, policy: LimitPolicy) -> None:
        self.store = store
        self.policies = (policy,)
        self.policy = policy
        self.is_virtual = isinstance(store, MemoryStore)
        self.began_at = monotonic()

    async def ask(self, name: str, at_s: float) -> Verdict:
        now = self.began_at + at_s if self.is_virtual else monotonic()
        verdict = self.store.decide(self.policies, (key(self.policy, name),), now)
        return verdict if isinstance(verdict, Verdict) else await verdict


async def _flood(asker: Asker, keys: int) -> None:
    if asker.is_virtual:
        for n in range(keys):
            await asker.ask(f"{n:x}:2001:db8", VIRTUAL_S * n / keys)
        return

    async def ask_each(first: int) -> None:
        for n in range(first, keys, AT_ONCE):
            await asker.ask(f"{n:x}:2001:db8", 0.0)

    await asyncio.gather(*[ask_each(first) for first in range(AT_ONCE)])


async def _main(algorithm: str, keys: int, url: str) -> None:
    limits = LimitSettings.model_validate({"rate": f"{QUOTA}/h", "by": "ip", "algorithm": algorithm})
    policy = compile_limit("per-ip", limits, "flood")
    settings = LimiterSettings(store_timeout=5.0)
    store = RedisStore(url, settings, lambda lost: None) if url else MemoryStore(settings.max_keys)
    await store.start()
    asker = Asker(store, policy)
    for n in range(SPENT_UP):
        for _ in range(QUOTA):
            assert not (await asker.ask(f"spent{n}", 0.0)).denied
    before = rss_bytes()
    began_at = monotonic()
    await _flood(asker, keys)
    took_s = monotonic() - began_at
    after = rss_bytes()
    still = [(await asker.ask(f"spent{n}", VIRTUAL_S)).denied for n in range(SPENT_UP)]
    newcomer = [(await asker.ask("newcomer", VIRTUAL_S)).denied for _ in range(QUOTA + 1)]
    found = {
        "bytes": after - before,
        "took_s": took_s,
        "still_denied": sum(still),
        "newcomer_is_limited": newcomer[-1],
        "degraded": store.stats.degraded,
    }
    await store.aclose()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
