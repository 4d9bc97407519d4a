"""A store's key as people write it: `203.0.113.7`, `user alice`, `203.0.113.7 + user alice`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_KINDS: Final = {
    "i": "",
    "u": "user ",
    "t": "tenant ",
    "k": "API key ",
    "r": "route ",
    "h": "field ",
    "g": "",
}
_PREFIX: Final = re.compile(rb"weir:\d+:[^:]+:(\d+):")


def key_text(key: bytes, by: Sequence[str]) -> str:
    """What is counted under the key. A part that was too long for a key is shown as its digest."""
    match = _PREFIX.match(key)
    if match is None:
        return _plain(key)
    rest = key[match.end() + int(match[1]) + 1 :]
    if len(by) == 1:
        return _part(rest[1:-1]) or "all"
    parts: list[str] = []
    while rest:
        length, colon, rest = rest.partition(b":")
        if not colon or not length.isdigit():
            return _plain(key)
        end = int(length) if parts else int(length) + 2
        parts.append(_part(rest[:end].removeprefix(b"{").removesuffix(b"}") if not parts else rest[:end]))
        rest = rest[end:]
    return " + ".join(part or "all" for part in parts)


def _part(part: bytes) -> str:
    kind = part[:1].decode("latin-1")
    value = _plain(part[1:])
    if kind.isupper():
        return f"{_KINDS.get(kind.lower(), '')}(digest {value})"
    return _KINDS.get(kind, "") + value


def _plain(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)
