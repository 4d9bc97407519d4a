"""Clients that read slowly: the endpoint is free all the same, and they get every byte."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.response_body import ResponseBody
from proxy.wire.spool import MARGIN_BYTES, Spool, SpoolRoom, open_nameless

_MIB = 1024 * 1024
_LARGE = random.Random(7).randbytes(12 * _MIB)  # more than two kernels take by themselves on loopback


def _reply(content: bytes = _LARGE) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


async def _slow_client(connect: Any) -> Any:
    client = await connect()
    client.writer.transport.pause_reading()
    await client.says(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


@pytest.mark.parametrize(
    ("memory_bytes", "files"), [(256 * _MIB, 0), (0, 1), (16 * _MIB, 1)], ids=["in memory", "in a file", "in both"]
)
async def test_the_connection_is_free_long_before_a_slow_client_has_read(
    proxy: Any, backend: Any, connect: Any, until: Any, memory_bytes: int, files: int
) -> None:
    proxy.room = SpoolRoom(64 * _MIB, 64 * _MIB, memory_bytes)
    proxy.answer = proxy.forward
    backend.replies(_reply())
    client = await _slow_client(connect)
    await until(lambda: proxy.released == [True])
    assert proxy.room.files == files
    assert proxy.room.used_bytes > _MIB
    client.writer.transport.resume_reading()
    status, _, content = await client.response()
    assert (status, content == _LARGE) == (200, True)
    await until(lambda: proxy.outcomes == ["done"])
    assert _is_empty(proxy.room)


async def test_a_client_that_goes_on_reading_needs_no_file(proxy: Any, backend: Any, connect: Any, until: Any) -> None:
    opened = []

    class Room(SpoolRoom):
        def open(self) -> Spool | None:
            opened.append(1)
            return super().open()

    proxy.room = Room(64 * _MIB, 64 * _MIB, 0)
    proxy.answer = proxy.forward
    backend.replies(_reply(_LARGE[: 2 * _MIB]))
    client = await connect()
    await client.says(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    status, _, content = await client.response()
    assert (status, len(content)) == (200, 2 * _MIB)
    assert opened == []


async def test_a_slow_client_that_leaves_gives_everything_back(
    proxy: Any, backend: Any, connect: Any, until: Any
) -> None:
    proxy.room = SpoolRoom(64 * _MIB, 64 * _MIB, 0)
    proxy.answer = proxy.forward
    backend.replies(_reply())
    client = await _slow_client(connect)
    await until(lambda: proxy.released == [True])
    client.writer.transport.abort()
    await until(lambda: proxy.outcomes != [])
    assert _is_empty(proxy.room)


async def test_beyond_its_share_a_response_waits_for_its_client_again(
    proxy: Any, backend: Any, connect: Any, until: Any
) -> None:
    proxy.room = SpoolRoom(_MIB, 64 * _MIB, 0)
    proxy.answer = proxy.forward
    backend.replies(_reply())
    client = await _slow_client(connect)
    await until(lambda: proxy.room.used_bytes > 0)
    with pytest.raises(TimeoutError):
        await until(lambda: proxy.released != [], timeout_s=0.4)
    assert proxy.room.used_bytes <= _MIB
    client.writer.transport.resume_reading()
    _, _, content = await client.response()
    assert content == _LARGE


async def test_a_response_that_breaks_in_the_spool_is_cut_for_the_client(
    proxy: Any, backend: Any, connect: Any, until: Any
) -> None:
    proxy.room = SpoolRoom(64 * _MIB, 64 * _MIB, _MIB)
    proxy.answer = proxy.forward
    backend.replies(_reply()[: 10 * _MIB], close=True)
    client = await _slow_client(connect)
    await until(lambda: proxy.outcomes != [])
    assert proxy.outcomes == ["cut response_truncated"]
    assert _is_empty(proxy.room)
    client.writer.transport.resume_reading()
    try:
        got = await client.rest()
    except ConnectionError:
        got = b""
    assert len(got) < 10 * _MIB


# -- the spool itself --


def _is_empty(room: SpoolRoom) -> bool:
    return (room.files, room.used_bytes, room.in_memory_bytes) == (0, 0, 0)


def _spool(each: int = 64 * _MIB, total: int = 64 * _MIB, memory: int = 0) -> tuple[SpoolRoom, Spool]:
    room = SpoolRoom(each, total, memory)
    spool = room.open()
    assert spool is not None
    return room, spool


@given(
    st.lists(st.one_of(st.binary(max_size=3_000), st.integers(0, 3)), max_size=20),
    st.sampled_from([0, 4_000, 1_000_000]),
)
def test_what_goes_in_comes_out_in_order(steps: list[bytes | int], memory: int) -> None:
    room, spool = _spool(memory=memory)
    written = read = b""
    for step in steps:
        if isinstance(step, bytes):
            assert spool.write(step)
            written += step
        else:
            for _ in range(step):
                read += spool.read()
        assert spool.held_bytes == room.used_bytes == len(written) - len(read)
        assert room.in_memory_bytes <= memory
    while piece := spool.read():
        read += piece
    assert read == written
    assert room.used_bytes == 0
    spool.close()
    spool.close()
    assert _is_empty(room)


def test_no_file_is_opened_without_room_for_a_read() -> None:
    assert SpoolRoom(_MIB, MARGIN_BYTES - 1, 0).open() is None
    assert SpoolRoom(_MIB, 0, 0).open() is None


def test_one_response_gets_a_share_of_the_memory() -> None:
    room, spool = _spool(memory=16 * _MIB)
    spool.write(bytes(_MIB))
    assert (room.in_memory_bytes, room.files) == (_MIB, 0)
    spool.write(b"a")
    assert (room.in_memory_bytes, room.files) == (_MIB, 1)
    spool.close()


def test_room_is_shared_by_all_responses() -> None:
    room, first = _spool(each=4 * _MIB, total=2 * _MIB)
    second = room.open()
    assert second is not None
    first.write(bytes(2 * _MIB - MARGIN_BYTES + 1))
    assert (first.has_room, second.has_room, room.open()) == (False, False, None)
    first.close()
    assert second.has_room
    second.close()


def test_nobody_else_can_open_the_file() -> None:
    fd = open_nameless()
    details = os.fstat(fd)
    os.close(fd)
    assert (details.st_nlink, details.st_mode & 0o077) == (0, 0)


class _Connection:
    is_reading = True

    def pause_reading(self) -> None:
        self.is_reading = False

    hold = pause_reading

    def resume_reading(self) -> None:
        self.is_reading = True


class _Sink:
    def __init__(self) -> None:
        self.got = b""
        self.is_finished = False

    def feed(self, data: bytes) -> None:
        self.got += data

    def finish(self) -> None:
        self.is_finished = True

    def abort(self, error: BaseException) -> None:
        raise error


def test_a_full_disk_stops_the_endpoint_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.wire.spool.open_nameless", lambda: os.open("/dev/full", os.O_RDWR))
    _, spool = _spool()
    connection: Any = _Connection()
    body = ResponseBody(connection, None, [])
    sink = _Sink()
    body.start(sink)
    body.pause()
    assert not connection.is_reading
    body.spool(spool)
    assert connection.is_reading
    body.feed(b"one ")
    assert not connection.is_reading
    body.feed(b"two ")  # it was under way
    body.resume()
    assert (sink.got, connection.is_reading) == (b"one two ", True)
    body.feed(b"three")
    body.complete()
    assert (sink.got, sink.is_finished) == (b"one two three", True)
