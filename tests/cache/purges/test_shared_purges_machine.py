"""Purges and writes at several caches, with a store that loses its log and its connections, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from redis import Redis

from proxy.cache.cache import Cache
from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.policy import CachePolicy
from proxy.cache.purges.link import LOG
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.settings import CacheSettings
from proxy.core.clock import monotonic, wall
from proxy.http.message import field
from tests.line.store import Store

ORIGIN = b"http://a"
PATHS = {"/a": "one both", "/a/b": "two both", "/c": "three"}
PURGES = [
    *(Purge("url", ORIGIN + path.encode()) for path in PATHS),
    Purge("prefix", ORIGIN + b"/a"),
    *(Purge("tag", tag) for tag in (b"one", b"both", b"three")),
    Purge("tag", b"both", origin=ORIGIN),
    Purge("all"),
]
WEIRS = st.integers(0, 2)


def key_of(path: str) -> bytes:
    return ORIGIN + path.encode()


def tags_of(path: str) -> tuple[bytes, ...]:
    return tuple(PATHS[path].encode().split())


class Machine(RuleBasedStateMachine):
    """Steps are counted; what must hold is looked at when all have had time to hear of everything."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.url = store.url
        self.admin = Redis(unix_socket_path=store.url.removeprefix("unix://"))
        self.admin.delete(LOG)
        self.step = 0
        self.weirs: list[SharedPurges] = []
        self.asked: list[dict[str, int]] = []  # of each Weir: path -> when what it has stored was asked for
        self.history: list[tuple[Purge, int]] = []
        self.stamps: list[tuple[int, int, bool]] = []  # number, step, whether all had heard of everything
        self.lost_at = 0  # the step until which numbers may have been lost
        self.is_settled = True

    @initialize()
    def begin(self) -> None:
        for _ in range(3):
            self.weirs.append(self.new())
            self.asked.append({})

    def new(self) -> SharedPurges:
        async def make() -> SharedPurges:
            made = SharedPurges(Cache(CacheSettings()), self.url)
            await made.start()
            return made

        return self.loop.run_until_complete(make())

    def teardown(self) -> None:
        try:
            if self.weirs:
                self.everybody_hears()
        finally:
            for weir in self.weirs:
                self.loop.run_until_complete(weir.aclose())
            self.admin.close()
            self.loop.close()

    @rule(at=WEIRS, path=st.sampled_from(sorted(PATHS)))
    def a_response_comes(self, at: int, path: str) -> None:
        self.step += 1
        cache = self.weirs[at]._cache
        fields = [field("Cache-Control", "max-age=600"), field("Surrogate-Key", PATHS[path])]
        made = draft(key_of(path), CachePolicy(), Receipt({}, monotonic() - 1, wall(), 0.0), 200, b"OK", fields)
        assert isinstance(made, Entry)
        assert cache.keep(made.filled(b"x"), {}, cache.invalidations.now)
        self.asked[at][path] = self.step

    @rule(at=WEIRS, purge=st.sampled_from(PURGES), is_soft=st.booleans())
    def somebody_purges(self, at: int, purge: Purge, is_soft: bool) -> None:
        self.step += 1
        purge = Purge(purge.kind, purge.value, is_soft, purge.origin)
        self.history.append((purge, self.step))
        self.loop.run_until_complete(self.weirs[at]._cache.purge(purge))
        self.is_settled = False

    @rule(at=WEIRS, path=st.sampled_from(sorted(PATHS)))
    def somebody_writes(self, at: int, path: str) -> None:
        self.step += 1
        self.history.append((Purge("url", key_of(path)), self.step))
        self.weirs[at]._cache.invalidate(key_of(path))
        self.is_settled = False

    @rule(at=WEIRS)
    def somebody_notes_the_number(self, at: int) -> None:
        self.step += 1
        if self.weirs[at].is_current:
            self.stamps.append((self.weirs[at].seq, self.step, self.is_settled))

    @rule()
    def a_moment_passes(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0.005))

    @rule()
    def all_connections_break(self) -> None:
        self.admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    @rule(left=st.sampled_from([0, 0, 1, 3]))
    def the_log_is_lost(self, left: int) -> None:
        self.step += 1
        if left:
            self.admin.xtrim(LOG, maxlen=left, approximate=False)
        else:
            self.admin.delete(LOG)
        self.lost_at = self.step
        self.is_settled = False

    @rule(at=WEIRS)
    def a_weir_is_replaced(self, at: int) -> None:
        self.loop.run_until_complete(self.weirs[at].aclose())
        self.weirs[at] = self.new()
        self.asked[at] = {}

    @precondition(lambda self: self.weirs and not self.is_settled)
    @rule()
    def everybody_hears(self) -> None:
        self.loop.run_until_complete(self.settle())
        self.step += 1
        if not self.is_settled:
            self.lost_at = self.step if self.lost_at else 0
        self.is_settled = True
        for at, weir in enumerate(self.weirs):
            self.nothing_purged_is_fresh(at, weir)
            self.every_fate_is_right(weir)

    async def settle(self) -> None:
        async with asyncio.timeout(20):
            while not self.all_have_all():
                await asyncio.sleep(0.005)

    def all_have_all(self) -> bool:
        found: Any = self.admin.xrevrange(LOG, count=1)
        last = found[0][0] if found else b""
        return all(
            weir._position == last and weir.is_current and not weir.pending and not weir._is_reading_back
            for weir in self.weirs
        )

    def nothing_purged_is_fresh(self, at: int, weir: SharedPurges) -> None:
        now = monotonic()
        for path, asked in self.asked[at].items():
            for entry in weir._cache.store.shelves.get(key_of(path), ()):
                if entry.fresh_s > now - entry.born_at:
                    later = [purge for purge, step in self.history if step > asked]
                    assert not [purge for purge in later if purge.covers(key_of(path), tags_of(path))], path

    def every_fate_is_right(self, weir: SharedPurges) -> None:
        for number, step, was_settled in self.stamps:
            later = [purge for purge, when in self.history if when > step]
            for path in PATHS:
                fate = weir.fate_since(key_of(path), tags_of(path), number)
                covering = [purge for purge in later if purge.covers(key_of(path), tags_of(path))]
                if any(not purge.is_soft for purge in covering):
                    assert fate is Fate.DROP, (path, step)
                elif covering:
                    assert fate is not Fate.KEEP, (path, step)
                elif was_settled and step > self.lost_at:
                    assert fate is Fate.KEEP, (path, step)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


def test_what_was_purged_somewhere_is_fresh_nowhere(store: Store) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Machine(store),
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
