"""A user of the store who may do what the page about limits says, and no more, is all that Weir needs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from proxy.cache.cache import Cache
from proxy.cache.purges.purge import Purge
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.settings import CacheSettings
from proxy.core.clock import monotonic, wall
from proxy.limits.controls import Ban, Controls
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.controls_store import ControlsStore
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import SHARED

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
LIMITS: list[dict[str, Any]] = [
    *[{"rate": "2/h", "algorithm": algorithm} for algorithm in ("gcra", "fixed", "sliding", "log")],
    {"rate": "2/h", "algorithm": "fixed", "time_zone": "UTC"},
    {"limit": 2, "algorithm": "inflight"},
]


async def _answer(of: Any) -> Any:
    return await of if asyncio.isfuture(of) or asyncio.iscoroutine(of) else of


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_the_documented_rule_suffices_for_limits_and_controls(server: Any) -> None:
    found = re.search(r"ACL SETUSER weir on >PASSWORD (.+)", PAGE.read_text())
    assert found is not None
    server.admin.execute_command("ACL", "SETUSER", "weir", "on", ">secret", *found[1].split())
    url = server.url.replace("unix://", "unix://weir:secret@")
    lost: list[Any] = []
    store = RedisStore(url, LimiterSettings(store_timeout=2.0), lost.append)
    await store.start()
    for number, settings in enumerate(LIMITS):
        policy = compile_limit(f"limit-{number}", LimitSettings.model_validate(settings), "test.yaml:1")
        key = policy.prefix + b"{ix}"
        members = [b"%d" % i if policy.is_held else b"" for i in range(3)]
        verdicts = [await _answer(store.decide((policy,), [key], monotonic(), member)) for member in members]
        assert [(verdict.denied, verdict.mode) for verdict in verdicts] == [
            (False, SHARED),
            (False, SHARED),
            (True, SHARED),
        ], settings
        if policy.is_held:
            store.renew(policy, key, members[0])
            store.release(policy, key, members[0])
        else:
            store.adjust(policy, key, -1, monotonic())
        assert (await _answer(store.peek(policy, key, monotonic()))).remaining == 1
        await _answer(store.reset(policy, key))
    controls = Controls(wall)
    sharing = ControlsStore(controls, url)
    await sharing.start()
    now = wall()
    for number in range(70):  # so many that what is over is swept out, too
        key = b"%d" % number
        controls.decide(Ban(limit="a", key=key, since_wall=now, until_wall=now + 60, reason="why", who="alice"))
    assert await sharing.is_shared()
    assert sharing.status()["error"] is None
    purges = SharedPurges(Cache(CacheSettings()), url, lost.append)
    await purges.start()
    await purges._cache.purge(Purge("all"))
    assert await purges.is_shared()
    await eventually(lambda: purges.stats.lags == 1)
    assert purges._reader is not None
    assert await purges._reader.has(purges._position or b"")
    await purges.aclose()
    assert (lost, store.status()["error"]) == ([], None)
    await sharing.aclose()
    await store.aclose()
