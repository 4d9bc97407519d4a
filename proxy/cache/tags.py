"""Tags: the names under which an origin wants to end many stored responses at once.

They come in three fields of a response: `Surrogate-Key` (between blanks), `Cache-Tag` (between commas) and
`Cache-Groups` (RFC 9875: a list of strings). The first two are meant for the caches of the origin's own side and not
for clients; the third is for every cache on the way.
"""

from __future__ import annotations

from typing import Final

from proxy.http.directives import split_list
from proxy.http.message import Field

MAX_TAGS: Final = 256  # of one response; RFC 9875 §2.1 asks for 128
MAX_TAG_BYTES: Final = 256  # of one; RFC 9875 §2.1 asks for 128
UNKNOWN: Final = b""
"""Stands for tags that are too many or too long to be kept: every purge by tag ends what has it."""

OUR_FIELDS: Final = frozenset({b"surrogate-key", b"cache-tag"})
"""Lower-case names of the fields that are not for clients."""

Tags = tuple[bytes, ...]

_BLANKS: Final = b" \t"
_FIELDS: Final = OUR_FIELDS | {b"cache-groups"}
_NONE: Final[Tags] = ()


def tags_of(fields: list[Field]) -> Tags:
    """The tags of a response, each once; with UNKNOWN among them when there are more, or longer ones, than are kept."""
    lines = [line for line in fields if line[0] in _FIELDS]
    if not lines:
        return _NONE
    found: dict[bytes, None] = {}
    for name, read in _READERS.items():
        values = [line[2] for line in lines if line[0] == name]
        if values:
            found.update(dict.fromkeys(read(values)))
    kept = [tag for tag in found if len(tag) <= MAX_TAG_BYTES][:MAX_TAGS]
    return (*kept, UNKNOWN) if len(kept) < len(found) else tuple(kept)


def without_tags(fields: list[Field]) -> list[Field]:
    """The fields without those that are not for clients: the same list where there are none, else another one."""
    for line in fields:
        if line[0] in OUR_FIELDS:
            return [line for line in fields if line[0] not in OUR_FIELDS]
    return fields


def group_names(value: bytes) -> list[bytes]:
    """The strings of `Cache-Groups` or `Cache-Group-Invalidation` (RFC 9875 §2, §3), all lines joined with ", ".

    What is no string means nothing; one string that does not parse makes the whole field mean nothing (RFC 9651 §4.2).
    """
    names = []
    for member in split_list(value):
        if member[:1] != b'"':
            continue
        name = _string(member)
        if name is None:
            return []
        if name:
            names.append(name)
    return names


def _blank_separated(values: list[bytes]) -> list[bytes]:
    return b" ".join(values).replace(b"\t", b" ").split()


def _comma_separated(values: list[bytes]) -> list[bytes]:
    return [tag for part in b",".join(values).split(b",") if (tag := part.strip(_BLANKS))]


def _groups(values: list[bytes]) -> list[bytes]:
    return group_names(b", ".join(values))


_READERS: Final = {
    b"surrogate-key": _blank_separated,
    b"cache-tag": _comma_separated,
    b"cache-groups": _groups,
}


def _string(member: bytes) -> bytes | None:
    """The string that `member` begins with; parameters may follow it. None when it is malformed (RFC 9651 §4.2.5)."""
    text = bytearray()
    at, end = 1, len(member)
    while at < end:
        octet = member[at]
        at += 1
        if octet == 0x22:
            rest = member[at:].lstrip(b" ")
            return bytes(text) if not rest or rest[:1] == b";" else None
        if octet == 0x5C:
            if at == end or member[at] not in (0x22, 0x5C):
                return None
            octet = member[at]
            at += 1
        elif not 0x20 <= octet < 0x7F:
            return None
        text.append(octet)
    return None
