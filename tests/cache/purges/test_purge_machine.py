"""Purges, writes, variants, revalidations and slow fetches in any order: nobody gets what was purged, or another's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proxy.cache.purges.purge import Purge
from proxy.core.tasks import spawn

ORIGIN = b"http://example.com"
PATHS = ("/a", "/a/b", "/c")
LANGUAGES = ("en", "de")
TAGS = {"/a": "one both", "/a/b": "two both", "/c": "three"}
KINDS = [
    *(Purge("url", ORIGIN + path.encode()) for path in PATHS),
    Purge("prefix", ORIGIN + b"/a"),
    *(Purge("tag", tag) for tag in (b"one", b"both", b"three")),
    Purge("all"),
]


class Fetch:
    """A request at the origin that nobody has answered yet."""

    def __init__(self, exchange: Any, asked: int) -> None:
        self.exchange = exchange
        self.asked = asked
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.body: Any = None
        self.text = b""


class Client:
    """A request that is under way."""

    def __init__(self, path: str, language: str, began: int) -> None:
        self.path = path
        self.language = language
        self.began = began
        self.task: Any = None


class Machine(RuleBasedStateMachine):
    """Times are counted in steps. Every response of the origin is unlike every other."""

    def __init__(self, new_line: Callable[..., Any], kit: Any, told: Counter[str], folder: Path | None = None) -> None:
        super().__init__()
        self.told = told
        self.folder = folder  # all content that comes in pieces goes to files there
        self.kit = kit
        self.loop = asyncio.new_event_loop()
        self.new_line = new_line
        self.step = 0
        self.fetches: list[Fetch] = []
        self.bodies: list[Fetch] = []
        self.clients: list[Client] = []
        self.asked: dict[bytes, int] = {}  # content -> when the request that brought it set out
        self.confirmed: dict[bytes, int] = {}  # content -> when the last request set out that found it still good
        self.hard: dict[str, int] = dict.fromkeys(PATHS, 0)
        self.soft: dict[str, int] = dict.fromkeys(PATHS, 0)
        self.versions: dict[str, int] = dict.fromkeys(PATHS, 0)
        self.serial = 0
        self.served = 0

    @initialize()
    def start(self) -> None:
        async def make() -> None:
            if self.folder is None:
                self.line = self.new_line()
            else:
                disk = {"path": str(self.folder), "size": 1024**2, "threads": 2}
                self.line = self.new_line(max_entry=256 * 1024, disk=disk)
                await self.line.cache.start()
                self.line.cache.max_entry_bytes = 0  # as if even this little were too large for memory
            self.line.origin.fetch = self.fetch
            self.line.cache.refresh = self.fetch

        self.loop.run_until_complete(make())

    def teardown(self) -> None:
        for client in self.clients:
            client.task.cancel()
        for fetch in self.fetches:
            fetch.answer.cancel()
        self.settle()
        if hasattr(self, "line"):
            self.told["stored"] += self.line.cache.stats.stored
            self.told["fetched"] += self.serial
            self.line.cache.stop()
        self.loop.close()

    def settle(self) -> None:
        async def turns() -> None:
            disk = self.line.cache.disk if hasattr(self, "line") else None
            for _ in range(8):
                await asyncio.sleep(0)
            while disk is not None and len(disk.threads):
                await asyncio.sleep(0.0002)
                if not len(disk.threads):
                    for _ in range(8):
                        await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    # the origin

    async def fetch(self, exchange: Any) -> Any:
        fetch = Fetch(exchange, self.step)
        self.fetches.append(fetch)
        await fetch.answer
        request = exchange.request
        path, language = request.target.decode(), request.index[b"accept-language"].decode()
        etag = f'"{path}-{language}-{self.versions[path]}"'
        fields = {"Cache-Control": "max-age=60", "Vary": "Accept-Language", "ETag": etag, "Surrogate-Key": TAGS[path]}
        known = {name: value for _, name, value in exchange.conditions or ()}.get(b"If-None-Match")
        if known == etag.encode():
            self.confirm(known, fetch.asked)
            return self.kit.reply(304, fields)
        self.serial += 1
        fetch.text = f"{path}|{language}|{self.versions[path]}|{self.serial}".encode()
        self.asked[fetch.text] = self.confirmed[fetch.text] = fetch.asked
        if self.serial % 2 and self.folder is None:
            return self.kit.reply(200, fields, fetch.text)
        fetch.body = self.kit.body(len(fetch.text))
        self.bodies.append(fetch)
        return self.kit.reply(200, fields, fetch.body)

    def confirm(self, etag: bytes, asked: int) -> None:
        start = b"|".join(etag.strip(b'"').rsplit(b"-", 2)) + b"|"
        for text in self.confirmed:
            if text.startswith(start):
                self.confirmed[text] = max(self.confirmed[text], asked)

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def the_origin_answers(self, data: st.DataObject) -> None:
        fetch = self.fetches.pop(data.draw(st.integers(0, len(self.fetches) - 1)))
        if not fetch.answer.done():
            fetch.answer.set_result(None)
        self.settle()

    @precondition(lambda self: self.bodies)
    @rule(data=st.data())
    def content_comes(self, data: st.DataObject) -> None:
        fetch = self.bodies.pop(data.draw(st.integers(0, len(self.bodies) - 1)))
        if fetch.body.sink is not None:
            fetch.body.feed(fetch.text)
            fetch.body.finish()
        self.settle()

    @rule(path=st.sampled_from(PATHS))
    def the_origin_changes(self, path: str) -> None:
        self.versions[path] += 1

    # clients

    @rule(path=st.sampled_from(PATHS), language=st.sampled_from(LANGUAGES))
    def a_client_asks(self, path: str, language: str) -> None:
        self.step += 1
        client = Client(path, language, self.step)

        async def ask() -> None:
            client.task = spawn(self.line.ask(path, {"Accept-Language": language}), name="client")

        self.loop.run_until_complete(ask())
        self.clients.append(client)
        self.settle()

    @rule(path=st.sampled_from(PATHS), language=st.sampled_from(LANGUAGES))
    def a_client_asks_and_the_origin_is_quick(self, path: str, language: str) -> None:
        """The rules are drawn apart: without this one little would ever be stored."""
        self.a_client_asks(path, language)
        for _ in range(2):
            fetches, self.fetches = self.fetches, []
            for fetch in fetches:
                if not fetch.answer.done():
                    fetch.answer.set_result(None)
            self.settle()
            bodies, self.bodies = self.bodies, []
            for fetch in bodies:
                if fetch.body.sink is not None:
                    fetch.body.feed(fetch.text)
                    fetch.body.finish()
            self.settle()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        client = self.clients.pop(data.draw(st.integers(0, len(self.clients) - 1)))
        client.task.cancel()
        self.settle()

    @rule(path=st.sampled_from(PATHS))
    def a_write_succeeds(self, path: str) -> None:
        self.step += 1
        self.versions[path] += 1
        self.line.cache.invalidate(ORIGIN + path.encode())
        self.hard[path] = self.step

    @rule(kind=st.sampled_from(KINDS), is_soft=st.booleans())
    def somebody_purges(self, kind: Purge, is_soft: bool) -> None:
        self.step += 1
        purge = Purge(kind.kind, kind.value, is_soft)

        async def apply() -> None:
            await self.line.cache.purge(purge)

        self.loop.run_until_complete(apply())
        for path in PATHS:
            if purge.covers(ORIGIN + path.encode(), tuple(TAGS[path].encode().split())):
                (self.soft if is_soft else self.hard)[path] = self.step

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_passes(self, seconds: int) -> None:
        self.line.passes(seconds)

    # what must hold

    @invariant()
    def everybody_got_what_they_may_get(self) -> None:
        for client in self.clients[:]:
            if not client.task.done():
                continue
            self.clients.remove(client)
            reply = client.task.result()
            self.served += 1
            self.told[reply.cache.partition(";")[0]] += 1
            path, language, _, _ = reply.content.decode().split("|")
            assert (path, language) == (client.path, client.language)
            # purges that were over before this client asked
            assert self.asked[reply.content] >= self.purged(self.hard, client), reply.cache
            assert self.confirmed[reply.content] >= self.purged(self.soft, client), reply.cache

    def purged(self, when: dict[str, int], client: Client) -> int:
        return when[client.path] if when[client.path] < client.began else 0

    @invariant()
    def the_books_balance(self) -> None:
        if hasattr(self, "line"):
            store = self.line.cache.store
            assert store.used_bytes <= store.budget_bytes
            if (disk := self.line.cache.disk) is not None:
                assert disk.used_bytes <= disk.size_bytes
                assert disk.is_ready
                stored = {entry for shelf in store.shelves.values() for entry in shelf}
                assert {file.entry for file in disk._files if file.entry is not None} == stored
            entries = [entry for shelf in store.shelves.values() for entry in shelf]
            tagged = {entry for entry in entries if store.tags_of(entry)}
            assert tagged == {entry for entries in store._tagged.values() for entry in entries}


@pytest.mark.parametrize("is_on_disk", [False, True], ids=["memory", "disk"])
def test_nobody_gets_what_was_purged_or_what_is_for_another(
    new_line: Callable[..., Any], kit: Any, tmp_path: Path, is_on_disk: bool
) -> None:
    told: Counter[str] = Counter()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Machine(new_line, kit, told, tmp_path if is_on_disk else None),
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert told["hit"] > 50  # or nothing was shown
