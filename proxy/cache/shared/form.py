"""The form in which a response is kept in the store: six bytes that say what follows, then msgpack.

    "W"  version  CRC-32 of the rest (4 bytes, little-endian)  an array of the fields of `Stored`

What has another version, or another sum, or does not fit its types, is as good as nothing: a store is shared with Weirs
of other ages, and with people. Instants are microseconds by the clock of the store (lua/look.lua).
"""

from __future__ import annotations

import math
import zlib
from typing import Final

import msgspec

from proxy.cache.entry import Entry, show
from proxy.cache.policy import CachePolicy
from proxy.http.dates import parse_date
from proxy.http.message import Field, index_fields

VERSION: Final = 1
HEAD_BYTES: Final = 6  # as many as tell one value from the next
_MARK: Final = b"W%c" % VERSION
_NOT_IN_NAMES: Final = frozenset(b"\r\n\0: \t")
_NOT_IN_VALUES: Final = frozenset(b"\r\n\0")
_NEVER_THERE: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})  # framing is ours to write
_LONGEST_S: Final = 2.0**31  # as delta-seconds saturate (RFC 9111 §1.2.2)
_LEAST_BYTES: Final = 512  # below it nothing is won
_SAMPLE_BYTES: Final = 4096
_WORTH_IT: Final = 0.9  # of the size before


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """A response with all that is known of it, but for what a reader's own route decides."""

    key: bytes  # names.plain_key: the name in the store is only a hash of it
    seq: int  # orders.Orders.seq of when it was asked for
    asked_us: int
    born_us: int  # its age was zero
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    names: tuple[bytes, ...]  # Entry.vary
    selection: tuple[bytes | None, ...]
    date_s: int
    fresh_s: float
    fetch_s: float
    revalidate_s: float
    error_s: float
    unreachable_s: float
    max_stale_s: float
    is_shared: bool
    is_immutable: bool
    size_bytes: int  # of the content
    is_compressed: bool
    body: bytes

    @property
    def lifetimes(self) -> tuple[float, ...]:
        return (self.fresh_s, self.fetch_s, self.revalidate_s, self.error_s, self.unreachable_s, self.max_stale_s)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Stored).decode


def stored_of(entry: Entry, key: bytes, seq: int, asked_us: int, born_us: int, squeezed: bytes | None) -> Stored:
    """`squeezed` is the content as `squeeze` made it, if it did. Not for what is in a file."""
    body = entry.body
    assert isinstance(body, bytes)
    return Stored(
        key=key,
        seq=seq,
        asked_us=asked_us,
        born_us=born_us,
        status=entry.status,
        reason=entry.reason,
        fields=[(name, value) for _, name, value in entry.fields],
        names=entry.vary,
        selection=entry.selection,
        date_s=entry.date_s,
        fresh_s=entry.fresh_s,
        fetch_s=entry.fetch_s,
        revalidate_s=entry.revalidate_s,
        error_s=entry.error_s,
        unreachable_s=entry.unreachable_s,
        max_stale_s=entry.max_stale_s,
        is_shared=entry.is_shared,
        is_immutable=entry.is_immutable,
        size_bytes=len(body),
        is_compressed=squeezed is not None,
        body=body if squeezed is None else squeezed,
    )


def pack(stored: Stored) -> bytes:
    data = _encode(stored)
    return b"%b%b%b" % (_MARK, zlib.crc32(data).to_bytes(4, "little"), data)


def unpack(value: bytes, most_bytes: int) -> Stored | None:
    """None for what this Weir does not understand, and for content of more than `most_bytes`. Never raises."""
    if value[:2] != _MARK or int.from_bytes(value[2:HEAD_BYTES], "little") != zlib.crc32(value[HEAD_BYTES:]):
        return None
    try:
        stored = _decode(value[HEAD_BYTES:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return stored if _is_sound(stored, most_bytes) else None


def content_of(stored: Stored) -> bytes | None:
    """As it was; None when it is broken. Takes some milliseconds for a megabyte that is compressed."""
    if not stored.is_compressed:
        return stored.body if len(stored.body) == stored.size_bytes else None
    unpacker = zlib.decompressobj()
    try:  # one byte more than it may have: what is larger than it says is broken, and never made
        content = unpacker.decompress(stored.body, stored.size_bytes + 1)
    except zlib.error:
        return None
    return content if len(content) == stored.size_bytes and unpacker.eof else None


def entry_of(stored: Stored, content: bytes, key: bytes, policy: CachePolicy, born_at: float) -> Entry:
    """As `policy`'s route stores it under `key`, its own. `born_at` is monotonic."""
    fields: list[Field] = [(name.lower(), name, value) for name, value in stored.fields]
    entry = Entry(key, stored.status, stored.reason, fields)
    index = index_fields(fields)
    entry.vary, entry.selection = stored.names, stored.selection
    entry.date_s, entry.born_at = stored.date_s, born_at
    entry.fresh_s = stored.fresh_s
    entry.revalidate_s, entry.error_s = stored.revalidate_s, stored.error_s
    entry.unreachable_s, entry.max_stale_s = stored.unreachable_s, stored.max_stale_s
    entry.etag = index.get(b"etag")
    entry.last_modified = index.get(b"last-modified")
    if entry.last_modified is not None:
        entry.last_modified_s = parse_date(entry.last_modified, float(stored.date_s))
    entry.is_shared, entry.is_immutable = stored.is_shared, stored.is_immutable
    entry.fetch_s = stored.fetch_s
    if policy.eagerness and stored.fresh_s > 0.0:
        entry.refresh_early(policy.eagerness, stored.fetch_s)
    show(entry, policy)
    return entry.filled(content)


def squeeze(content: bytes, fields: list[Field], level: int) -> bytes | None:
    """The content compressed, or None where that is of no use: it is small, coded already, or hardly gets smaller.

    A sample is tried first, so that pictures and archives cost little. Milliseconds for a megabyte: not for the loop.
    """
    if len(content) < _LEAST_BYTES or any(lower == b"content-encoding" for lower, _, _ in fields):
        return None
    sample = content[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > _WORTH_IT * len(sample):
        return None
    squeezed = zlib.compress(content, level)
    return squeezed if len(squeezed) <= _WORTH_IT * len(content) else None


def _is_sound(stored: Stored, most_bytes: int) -> bool:
    """What comes from the store is written into heads, and compared with clocks."""
    if not 200 <= stored.status <= 599 or not _NOT_IN_VALUES.isdisjoint(stored.reason):
        return False
    if len(stored.names) != len(stored.selection) or not 0 <= stored.size_bytes <= most_bytes:
        return False
    if not all([math.isfinite(seconds) and 0.0 <= seconds <= _LONGEST_S for seconds in stored.lifetimes]):
        return False
    return all([_is_sound_field(name, value) for name, value in stored.fields])


def _is_sound_field(name: bytes, value: bytes) -> bool:
    if not name or name.lower() in _NEVER_THERE:
        return False
    return _NOT_IN_NAMES.isdisjoint(name) and _NOT_IN_VALUES.isdisjoint(value)
