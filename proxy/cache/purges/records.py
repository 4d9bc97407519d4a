"""The log of purges as it stands in the store: positions, and what one record says.

A position is `<number>-<lot>`. Numbers grow: each is the store's time in microseconds, or one more than the last where
that is not enough; so a purge has a larger number than every purge before it, also before a fail-over or a loss of the
log. The lot is drawn, so that no two records ever made have the same position. Each record names the one before it:
who reads a record whose predecessor is not what he read last has missed something.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from proxy.cache.purges.purge import Kind, Purge
from proxy.cache.purges.queue import DOUBT

BEGINNING: Final = b""  # the position before the first record


class Record(NamedTuple):
    """Purges that were announced together."""

    position: bytes
    before: bytes  # the position of the record before this one
    purges: list[Purge]

    @property
    def number(self) -> int:
        return number_of(self.position)

    @property
    def lot(self) -> int:
        return int(self.position.partition(b"-")[2])


def number_of(position: bytes) -> int:
    """0 for the beginning."""
    return int(position.partition(b"-")[0] or 0)


def is_after(position: bytes, other: bytes) -> bool:
    """As the store orders them."""
    return _pair(position) > _pair(other)


def encode_purges(purges: list[Purge]) -> bytes:
    return msgspec.msgpack.encode([(_word(purge), purge.value, purge.origin) for purge in purges])


def decode_purges(data: bytes) -> list[Purge]:
    """What is not understood may be anything: a newer Weir may know other kinds."""
    try:
        return [_purge(*item) for item in _decode(data)]
    except (msgspec.DecodeError, KeyError):
        return [DOUBT]


_KINDS: Final[dict[str, Kind]] = {"a": "all", "p": "prefix", "t": "tag", "u": "url"}
_WORDS: Final = {kind: letter for letter, kind in _KINDS.items()}
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes, bytes]]).decode


def _word(purge: Purge) -> str:
    """One letter for the kind, then how hard: nothing, `s`(oft) or `v`(alidate)."""
    return _WORDS[purge.kind] + ("v" if purge.must_validate else "s" if purge.is_soft else "")


def _purge(word: str, value: bytes, origin: bytes) -> Purge:
    hardness = word[1:]
    if hardness not in ("", "s", "v"):
        raise KeyError(word)
    return Purge(_KINDS[word[:1]], value, bool(hardness), origin, hardness == "v")


def _pair(position: bytes) -> tuple[int, int]:
    number, _, lot = position.partition(b"-")
    return int(number or 0), int(lot or 0)
