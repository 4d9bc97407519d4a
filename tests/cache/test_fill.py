"""Content on its way to a client and into the store at once: rules 10 and 19 for bodies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.fill import Fill
from proxy.cache.memory_store import MemoryStore
from proxy.cache.replay import Replay
from proxy.cache.stats import CacheStats
from proxy.core.errors import ErrorKind, ProxyError

CONTENT = b"0123456789abcdefghijklmnopqrstuvwxyz"
BROKEN = ProxyError(ErrorKind.RESPONSE_TRUNCATED)


class Scene:
    """A Fill between a hand-fed body and a client."""

    def __init__(self, kit: Any, *, length: int | None = None, max_bytes: int = 1000, budget: int = 100_000) -> None:
        self.body = kit.body(length)
        self.client = kit.collector()
        self.store = MemoryStore(budget, CacheStats())
        self.whole: list[bytes] = []
        self.lost: list[BaseException | None] = []
        self.fill = Fill(self.body, self.store, max_bytes, self.whole.append, self.lost.append)

    @property
    def ended(self) -> bool:
        return len(self.whole) + len(self.lost) == 1


def test_content_is_passed_on_and_collected(kit: Any) -> None:
    scene = Scene(kit, length=4)
    assert scene.fill.length == 4
    scene.fill.start(scene.client)
    scene.body.feed(b"ab")
    assert scene.client.data == b"ab"
    assert scene.whole == []
    scene.body.feed(b"cd")
    scene.body.finish()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcd", True)
    assert scene.whole == [b"abcd"]
    assert scene.store.used_bytes == 0


@pytest.mark.parametrize("cut", range(len(CONTENT) + 1))
def test_content_that_is_cut_short_is_never_stored(kit: Any, cut: int) -> None:
    scene = Scene(kit, length=len(CONTENT))
    scene.fill.start(scene.client)
    for octet in CONTENT[:cut]:
        scene.body.feed(bytes((octet,)))
    scene.body.abort(BROKEN)
    assert scene.whole == []
    assert scene.lost == [BROKEN]
    assert scene.client.error is BROKEN
    assert bytes(scene.client.data) == CONTENT[:cut]
    assert scene.store.used_bytes == 0


@pytest.mark.parametrize("cut", range(len(CONTENT)))
def test_less_content_than_declared_is_never_stored(kit: Any, cut: int) -> None:
    scene = Scene(kit, length=len(CONTENT))
    scene.fill.start(scene.client)
    if cut:
        scene.body.feed(CONTENT[:cut])
    scene.body.finish()
    assert scene.whole == []
    assert scene.ended
    assert scene.client.error is not None


def test_a_client_that_leaves_does_not_end_the_collection(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start(scene.client)
    scene.body.feed(b"ab")
    scene.fill.cancel()
    scene.fill.cancel()
    assert not scene.body.is_cancelled
    scene.body.feed(b"cd")
    scene.body.finish()
    assert scene.whole == [b"abcd"]
    assert scene.client.data == b"ab"


def test_content_that_nobody_reads_is_collected_all_the_same(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.cancel()
    scene.body.feed(b"abcd")
    scene.body.finish()
    assert scene.whole == [b"abcd"]


def test_a_slow_client_does_not_slow_the_collection(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start(scene.client)
    scene.body.feed(b"ab")
    scene.fill.pause()
    scene.body.feed(b"cd")
    assert not scene.body.is_paused
    scene.body.finish()
    assert scene.whole == [b"abcd"]
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"ab", False)
    scene.fill.resume()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcd", True)


def test_too_much_content_is_passed_on_and_no_longer_collected(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start(scene.client)
    scene.body.feed(b"abcd")
    assert scene.lost == []
    scene.body.feed(b"e")
    assert scene.lost == [None]
    assert scene.store.used_bytes == 0
    scene.body.feed(b"f")
    scene.body.finish()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcdef", True)
    assert scene.whole == []


def test_when_it_is_no_longer_collected_the_client_sets_the_pace(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start(scene.client)
    scene.fill.pause()
    scene.body.feed(b"abc")
    assert not scene.body.is_paused
    scene.body.feed(b"def")
    assert scene.body.is_paused
    scene.body.feed(b"g")  # it was on its way
    assert scene.client.data == b""
    scene.fill.resume()
    assert not scene.body.is_paused
    assert scene.client.data == b"abcdefg"
    scene.fill.pause()
    assert scene.body.is_paused
    scene.body.feed(b"h")
    scene.body.finish()
    assert not scene.client.is_finished
    scene.fill.resume()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcdefgh", True)


def test_too_much_content_that_nobody_reads_is_cancelled(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.cancel()
    scene.body.feed(b"abcdef")
    assert scene.body.is_cancelled
    assert scene.lost == [None]


def test_a_client_that_leaves_content_that_is_not_collected_cancels_it(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start(scene.client)
    scene.body.feed(b"abcdef")
    scene.fill.cancel()
    assert scene.body.is_cancelled


def test_without_room_nothing_is_collected(kit: Any) -> None:
    scene = Scene(kit, budget=100)
    scene.fill.start(scene.client)
    scene.body.feed(b"a" * 50)
    scene.body.feed(b"b" * 50)
    scene.body.finish()
    assert scene.lost == [None]
    assert scene.client.data == b"a" * 50 + b"b" * 50
    assert scene.store.used_bytes == 0


def test_tiny_pieces_count_with_what_they_cost(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start(scene.client)
    for _ in range(100):
        scene.body.feed(b"x")
    assert scene.store.used_bytes > 5000


def test_a_broken_end_reaches_a_slow_client_too(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start(scene.client)
    scene.fill.pause()
    scene.body.feed(b"abc")
    scene.body.abort(BROKEN)
    assert scene.client.error is BROKEN
    scene.fill.resume()
    assert scene.client.data == b""


class Tap:
    """A Source that only holds its sink."""

    length: int | None = None

    def __init__(self) -> None:
        self.sink: Any = None

    def start(self, sink: Any) -> None:
        self.sink = sink

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self) -> None: ...


class Client:
    """A Sink that may ask for a pause from within `feed`."""

    def __init__(self, pauses_after: int) -> None:
        self.data = bytearray()
        self.ends = 0
        self.pauses_after = pauses_after
        self.source: Any = None

    def feed(self, data: bytes) -> None:
        assert data
        assert not self.ends
        self.data += data
        if self.pauses_after and len(self.data) % self.pauses_after == 0:
            self.source.pause()

    def finish(self) -> None:
        self.ends += 1

    def abort(self, error: BaseException) -> None:
        raise AssertionError("nothing broke")


ACTS = st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(["pause", "resume"])), max_size=25)


@given(ACTS, st.integers(0, 60), st.integers(0, 4))
def test_the_client_gets_every_byte_once_whatever_the_pace(
    acts: list[bytes | str], max_bytes: int, pauses_after: int
) -> None:
    tap, client = Tap(), Client(pauses_after)
    ends: list[Any] = []
    fill = Fill(tap, MemoryStore(100_000, CacheStats()), max_bytes, ends.append, ends.append)
    client.source = fill
    fill.start(client)
    sent = b""
    for act in acts:
        if isinstance(act, bytes):
            sent += act
            tap.sink.feed(act)
        elif act == "pause":
            fill.pause()
        else:
            fill.resume()
        assert sent.startswith(client.data)
    tap.sink.finish()
    for _ in range(len(sent) + 1):
        fill.resume()
    assert client.data == sent
    assert client.ends == 1
    assert ends == [sent if len(sent) <= max_bytes else None]


@given(st.binary(max_size=60), st.integers(0, 20), st.integers(0, 60), st.integers(0, 4))
def test_a_replay_gives_exactly_its_part(body: bytes, start: int, end: int, pauses_after: int) -> None:
    start, end = min(start, len(body)), max(min(start, len(body)), min(end, len(body)))
    client = Client(pauses_after)
    client.source = replay = Replay(body, start, end)
    assert replay.length == end - start
    replay.start(client)
    for _ in range(len(body) + 1):
        replay.resume()
    assert client.data == body[start:end]
    assert client.ends == 1


def test_a_replay_comes_in_pieces_and_can_be_cancelled() -> None:
    body = bytes(300_000)
    client = Client(pauses_after=65536)
    client.source = replay = Replay(body)
    replay.start(client)
    assert len(client.data) == 65536
    replay.resume()
    assert len(client.data) == 131072
    replay.cancel()
    replay.resume()
    assert (len(client.data), client.ends) == (131072, 0)
