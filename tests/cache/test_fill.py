"""Content on its way to a client and into the store at once: rules 10 and 19 for bodies."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.fill import NO_ROOM, TOO_LARGE, Fill
from proxy.cache.memory_store import MemoryStore
from proxy.cache.replay import Replay
from proxy.cache.stats import CacheStats
from proxy.core.errors import ErrorKind, ProxyError

CONTENT = b"0123456789abcdefghijklmnopqrstuvwxyz"
BROKEN = ProxyError(ErrorKind.RESPONSE_TRUNCATED)


class Scene:
    """A Fill between a hand-fed body and a client, who reads from the start."""

    def __init__(self, kit: Any, *, length: int | None = None, max_bytes: int = 1000, budget: int = 100_000) -> None:
        self.body = kit.body(length)
        self.client = kit.collector()
        self.store = MemoryStore(budget, CacheStats())
        self.whole: list[bytes] = []
        self.lost: list[BaseException | bytes] = []
        self.fill = Fill(self.body, self.store, max_bytes, self.whole.append, self.lost.append)
        self.reader = self.fill.reader()

    @property
    def ended(self) -> bool:
        return len(self.whole) + len(self.lost) == 1


def test_content_is_passed_on_and_collected(kit: Any) -> None:
    scene = Scene(kit, length=4)
    assert scene.fill.length == scene.reader.length == 4
    scene.fill.start()
    scene.reader.start(scene.client)
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
    scene.fill.start()
    scene.reader.start(scene.client)
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
    scene.fill.start()
    scene.reader.start(scene.client)
    if cut:
        scene.body.feed(CONTENT[:cut])
    scene.body.finish()
    assert scene.whole == []
    assert scene.ended
    assert scene.client.error is not None


def test_a_client_that_leaves_does_not_end_the_collection(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.body.feed(b"ab")
    scene.reader.cancel()
    scene.reader.cancel()
    assert not scene.body.is_cancelled
    scene.body.feed(b"cd")
    scene.body.finish()
    assert scene.whole == [b"abcd"]
    assert scene.client.data == b"ab"


def test_content_that_nobody_reads_is_collected_all_the_same(kit: Any) -> None:
    scene = Scene(kit)
    scene.reader.cancel()
    scene.fill.start()
    scene.body.feed(b"abcd")
    scene.body.finish()
    assert scene.whole == [b"abcd"]


def test_a_slow_client_does_not_slow_the_collection(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.body.feed(b"ab")
    scene.reader.pause()
    scene.body.feed(b"cd")
    assert not scene.body.is_paused
    scene.body.finish()
    assert scene.whole == [b"abcd"]
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"ab", False)
    scene.reader.resume()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcd", True)


def test_too_much_content_is_passed_on_and_no_longer_collected(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.body.feed(b"abcd")
    assert scene.lost == []
    scene.body.feed(b"e")
    assert scene.lost == [TOO_LARGE]
    assert scene.store.used_bytes == 0
    scene.body.feed(b"f")
    scene.body.finish()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcdef", True)
    assert scene.whole == []


def test_when_it_is_no_longer_collected_the_client_sets_the_pace(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.reader.pause()
    scene.body.feed(b"abc")
    assert not scene.body.is_paused
    scene.body.feed(b"def")
    assert scene.body.is_paused
    scene.body.feed(b"g")  # it was on its way
    assert scene.client.data == b""
    scene.reader.resume()
    assert not scene.body.is_paused
    assert scene.client.data == b"abcdefg"
    scene.reader.pause()
    assert scene.body.is_paused
    scene.body.feed(b"h")
    scene.body.finish()
    assert not scene.client.is_finished
    scene.reader.resume()
    assert (bytes(scene.client.data), scene.client.is_finished) == (b"abcdefgh", True)


def test_too_much_content_that_nobody_reads_is_cancelled(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start()
    scene.reader.cancel()
    scene.body.feed(b"abcdef")
    assert scene.body.is_cancelled
    assert scene.lost == [TOO_LARGE]


def test_a_client_that_leaves_content_that_is_not_collected_cancels_it(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.body.feed(b"abcdef")
    scene.reader.cancel()
    assert scene.body.is_cancelled


@pytest.mark.parametrize(("budget", "length"), [(100, None), (1100, None), (1100, 100)])
def test_without_room_nothing_is_collected(kit: Any, budget: int, length: int | None) -> None:
    scene = Scene(kit, budget=budget, length=length)
    scene.fill.start()
    assert (scene.lost == []) is (budget > 1024 and length is None)  # a declared length has its room from the start
    scene.reader.start(scene.client)
    scene.body.feed(b"a" * 50)
    assert scene.store.used_bytes <= budget
    scene.body.feed(b"b" * 50)
    scene.body.finish()
    assert scene.lost == [NO_ROOM]
    assert scene.client.data == b"a" * 50 + b"b" * 50
    assert scene.client.is_finished
    assert scene.store.used_bytes == 0


def test_without_room_content_that_nobody_reads_is_cancelled(kit: Any) -> None:
    scene = Scene(kit, budget=100)
    scene.reader.cancel()
    scene.fill.start()
    assert scene.body.is_cancelled
    assert scene.body.sink is None


def test_a_fill_without_content_counts_too(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    assert scene.store.used_bytes > 500
    scene.body.finish()
    assert scene.whole == [b""]
    assert scene.store.used_bytes == 0


@pytest.mark.parametrize("how", ["whole", "broken", "put down"])
def test_what_is_over_goes_at_once_although_its_source_still_has_it(kit: Any, how: str) -> None:
    def fills() -> int:
        return sum(type(thing) is Fill for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # nothing waits for the garbage to be looked through
    try:
        before = fills()
        scene = Scene(kit, max_bytes=4)
        scene.fill.start()
        scene.body.feed(b"abc")
        if how == "whole":
            scene.reader.start(scene.client)
            scene.body.finish()
        elif how == "broken":
            scene.body.abort(BROKEN)
        else:
            scene.reader.cancel()
            scene.body.feed(b"defg")
            assert scene.body.is_cancelled
        assert fills() == before + 1
        del scene
        assert fills() == before
    finally:
        gc.enable()


# -- several clients --


def test_one_who_joins_late_gets_what_is_there_at_once_and_then_all_that_comes(kit: Any) -> None:
    scene = Scene(kit, length=6)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.body.feed(b"abcd")
    late = kit.collector()
    scene.fill.reader().start(late)
    assert late.data == b"abcd"
    scene.body.feed(b"ef")
    assert late.data == scene.client.data == b"abcdef"
    scene.body.finish()
    assert late.is_finished
    assert scene.client.is_finished


def test_a_slow_reader_does_not_slow_the_others(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    scene.reader.start(scene.client)
    slow, other = kit.collector(), scene.fill.reader()
    other.start(slow)
    other.pause()
    scene.body.feed(b"abcd")
    assert (bytes(scene.client.data), bytes(slow.data)) == (b"abcd", b"")
    assert not scene.body.is_paused
    scene.body.finish()
    assert scene.client.is_finished
    other.resume()
    assert (bytes(slow.data), slow.is_finished) == (b"abcd", True)


def test_a_reader_of_a_part_gets_that_and_ends(kit: Any) -> None:
    scene = Scene(kit, length=10)
    scene.fill.start()
    scene.body.feed(b"012")
    part = kit.collector()
    reader = scene.fill.reader(2, 6)
    assert reader.length == 4
    reader.start(part)
    assert part.data == b"2"
    scene.body.feed(b"3456789")
    assert (bytes(part.data), part.is_finished) == (b"2345", True)
    assert scene.whole == []
    scene.body.finish()
    assert scene.whole == [b"0123456789"]


def test_what_breaks_breaks_for_all(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    others = [kit.collector() for _ in range(3)]
    for other in others:
        scene.fill.reader().start(other)
    never_started = scene.fill.reader()
    scene.body.feed(b"abc")
    scene.body.abort(BROKEN)
    assert [other.error for other in others] == [BROKEN] * 3
    late = kit.collector()
    never_started.start(late)
    assert late.error is BROKEN
    assert not scene.fill.is_open


def test_what_is_not_collected_goes_at_the_pace_of_the_slowest_and_no_more_is_held_than_it_lacks(kit: Any) -> None:
    scene = Scene(kit, max_bytes=4)
    scene.fill.start()
    scene.reader.start(scene.client)
    slow, other = kit.collector(), scene.fill.reader()
    other.start(slow)
    other.pause()
    scene.body.feed(b"abc")
    scene.body.feed(b"def")
    assert scene.body.is_paused
    assert scene.client.data == b"abcdef"
    assert not scene.fill.is_open
    assert scene.store.used_bytes > 0
    other.resume()
    assert slow.data == b"abcdef"
    assert not scene.body.is_paused
    assert scene.store.used_bytes == 0
    other.pause()
    other.cancel()  # it leaves: the others go on
    assert not scene.body.is_paused
    scene.body.feed(b"g")
    scene.reader.cancel()
    assert scene.body.is_cancelled


def test_a_broken_end_reaches_a_slow_client_too(kit: Any) -> None:
    scene = Scene(kit)
    scene.fill.start()
    scene.reader.start(scene.client)
    scene.reader.pause()
    scene.body.feed(b"abc")
    scene.body.abort(BROKEN)
    assert scene.client.error is BROKEN
    scene.reader.resume()
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


PACES = st.tuples(st.sampled_from(["pause", "resume"]), st.integers(0, 1))
ACTS = st.lists(st.one_of(st.binary(min_size=1, max_size=9), PACES), max_size=25)


@given(ACTS, st.integers(0, 60), st.integers(0, 4), st.integers(0, 4))
def test_every_client_gets_every_byte_once_whatever_the_pace(
    acts: list[bytes | tuple[str, int]], max_bytes: int, pauses_after: int, other_pauses_after: int
) -> None:
    tap, clients = Tap(), [Client(pauses_after), Client(other_pauses_after)]
    ends: list[Any] = []
    store = MemoryStore(100_000, CacheStats())
    fill = Fill(tap, store, max_bytes, ends.append, ends.append)
    fill.start()
    for client in clients:
        client.source = fill.reader()
        client.source.start(client)
    sent = b""
    for act in acts:
        if isinstance(act, bytes):
            sent += act
            tap.sink.feed(act)
            if fill.is_open:
                late = Client(other_pauses_after)
                late.source = fill.reader()
                late.source.start(late)
                clients.append(late)
        else:
            getattr(clients[act[1]].source, act[0])()
        assert all(sent.startswith(client.data) for client in clients)
    tap.sink.finish()
    for client in clients:
        for _ in range(len(sent) + 1):
            client.source.resume()
        assert client.data == sent
        assert client.ends == 1
    assert ends == [sent if len(sent) <= max_bytes else TOO_LARGE]
    assert store.used_bytes == 0


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
