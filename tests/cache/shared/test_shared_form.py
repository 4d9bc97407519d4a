"""The byte form: what goes in comes out, and what is not understood is as good as nothing."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.entry import Entry
from proxy.cache.policy import CachePolicy
from proxy.cache.shared.form import (
    HEAD_BYTES,
    Stored,
    content_of,
    entry_of,
    pack,
    squeeze,
    stored_of,
    unpack,
)

MOST = 10_000
NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC-_.!#$%&'*+^`|~0123456789", min_size=1, max_size=20).map(str.encode)
VALUES = st.binary(max_size=60).map(lambda value: value.translate(None, b"\r\n\0"))
SECONDS = st.floats(0.0, 2.0**31)
INSTANTS = st.integers(0, 2**52)


@st.composite
def responses(draw: st.DrawFn) -> Stored:
    selecting = draw(st.lists(st.tuples(NAMES, st.none() | VALUES), max_size=4))
    body = draw(st.binary(max_size=2000))
    squeezed = zlib.compress(body) if draw(st.booleans()) else None
    return Stored(
        key=draw(st.binary(max_size=100)),
        seq=draw(st.integers(0, 2**62)),
        asked_us=draw(INSTANTS),
        born_us=draw(INSTANTS),
        status=draw(st.integers(200, 599)),
        reason=draw(VALUES),
        fields=draw(st.lists(st.tuples(NAMES, VALUES), max_size=10)),
        names=tuple(name for name, _ in selecting),
        selection=tuple(value for _, value in selecting),
        date_s=draw(st.integers(0, 2**40)),
        fresh_s=draw(SECONDS),
        fetch_s=draw(SECONDS),
        revalidate_s=draw(SECONDS),
        error_s=draw(SECONDS),
        unreachable_s=draw(SECONDS),
        max_stale_s=draw(SECONDS),
        is_shared=draw(st.booleans()),
        is_immutable=draw(st.booleans()),
        size_bytes=len(body),
        is_compressed=squeezed is not None,
        body=body if squeezed is None else squeezed,
    )


@given(responses())
def test_what_goes_in_comes_out(stored: Stored) -> None:
    found = unpack(pack(stored), MOST)
    assert found == stored
    content = content_of(found)
    assert content is not None
    assert len(content) == stored.size_bytes


@given(responses())
def test_an_entry_survives_the_way(stored: Stored) -> None:
    content = content_of(stored)
    assert content is not None
    entry = entry_of(stored, content, b"http://a/b", CachePolicy(), 5.0)
    again = stored_of(entry, stored.key, stored.seq, stored.asked_us, stored.born_us, None)
    assert content_of(again) == content
    assert msgspec.structs.replace(again, body=stored.body, is_compressed=stored.is_compressed) == stored
    assert entry.born_at == 5.0


@given(responses(), st.data())
def test_a_broken_value_is_nothing(stored: Stored, data: st.DataObject) -> None:
    value = bytearray(pack(stored))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    assert unpack(bytes(value), MOST) is None
    assert unpack(bytes(value[:at]), MOST) is None


@given(st.binary(max_size=200))
def test_anything_else_is_nothing(value: bytes) -> None:
    assert unpack(value, MOST) is None
    framed = b"W\x01" + zlib.crc32(value).to_bytes(4, "little") + value
    assert unpack(framed, MOST) is None


def a_response(**changes: Any) -> Stored:
    made = Stored(
        *(b"k", 1, 2, 3, 200, b"OK", [(b"A", b"b")], (b"x",), (b"1",), 4, 5.0, 0.1, 6.0, 7.0, 8.0, 9.0),
        *(False, False, 4, False, b"body"),
    )
    return msgspec.structs.replace(made, **changes)


UNSOUND = {
    "no final status": {"status": 101},
    "a status that is none": {"status": 1000},
    "a line break in a value": {"fields": [(b"A", b"b\r\nSet-Cookie: c=d")]},
    "a line break in a name": {"fields": [(b"A\r\nB", b"b")]},
    "a colon in a name": {"fields": [(b"A: b", b"b")]},
    "a field without a name": {"fields": [(b"", b"b")]},
    "framing": {"fields": [(b"Content-Length", b"5")]},
    "a line break in the reason": {"reason": b"OK\r\nA: b"},
    "more names than values": {"names": (b"x", b"y")},
    "a lifetime that is no number": {"fresh_s": float("nan")},
    "a lifetime without end": {"unreachable_s": float("inf")},
    "a lifetime below zero": {"revalidate_s": -1.0},
    "more content than is stored here": {"size_bytes": MOST + 1},
    "another type": {"status": "200"},
}


@pytest.mark.parametrize("changes", UNSOUND.values(), ids=UNSOUND.keys())
def test_what_would_do_harm_is_nothing(changes: dict[str, Any]) -> None:
    assert unpack(pack(a_response()), MOST) == a_response()
    assert unpack(pack(a_response(**changes)), MOST) is None


def test_another_version_is_nothing() -> None:
    value = pack(a_response())
    assert unpack(value[:1] + bytes([value[1] + 1]) + value[2:], MOST) is None
    assert len(value) > HEAD_BYTES


@pytest.mark.parametrize(
    ("body", "size_bytes", "is_compressed"),
    [
        (b"body", 5, False),
        (zlib.compress(b"body"), 3, True),
        (zlib.compress(b"body"), 5, True),
        (zlib.compress(b"body")[:-1], 4, True),
        (b"body", 4, True),
        (zlib.compress(bytes(1_000_000)), 100, True),
    ],
    ids=["short", "larger", "smaller", "cut", "not compressed", "a bomb"],
)
def test_content_that_is_not_what_it_says_is_nothing(body: bytes, size_bytes: int, is_compressed: bool) -> None:
    assert content_of(a_response(body=body, size_bytes=size_bytes, is_compressed=is_compressed)) is None


@pytest.mark.parametrize(
    ("content", "fields", "helps"),
    [
        (b"again " * 1000, [], True),
        (b"again " * 10, [], False),
        (Random(1).randbytes(9000), [], False),
        (b"again " * 1000, [(b"content-encoding", b"Content-Encoding", b"br")], False),
    ],
    ids=["text", "small", "noise", "coded already"],
)
def test_only_what_gets_smaller_is_compressed(content: bytes, fields: list[Any], helps: bool) -> None:
    squeezed = squeeze(content, fields, 6)
    assert (squeezed is not None) == helps
    if squeezed is not None:
        assert zlib.decompress(squeezed) == content


def test_what_clients_see_is_the_readers_word(kit: Any) -> None:
    tagged = [(b"surrogate-key", b"Surrogate-Key", b"a"), (b"x", b"X", b"1")]
    entry = Entry(b"http://a/b", 200, b"OK", tagged).filled(b"")
    stored = stored_of(entry, b"http://a/b", 0, 0, 0, None)
    hiding = entry_of(stored, b"", b"http://a/b", CachePolicy(), 0.0)
    assert [line[0] for line in hiding.shown] == [b"x"]
    assert hiding.fields == tagged
    open_handed = entry_of(stored, b"", b"http://a/b", CachePolicy(hidden=frozenset()), 0.0)
    assert open_handed.shown == tagged
