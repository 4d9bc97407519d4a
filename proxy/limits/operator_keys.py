"""Keys as an operator writes and reads them: `203.0.113.7`, `alice`, `203.0.113.7|alice`.

One part for each word of the limit's `by`, with `|` between. An address of IPv6 stands for its /64, as in the limiter.
A part may say what it is: `user=alice`; it has to where it would mean something else. `ip=203.0.113.7` in the place of
a user is the address that stands in for one (`missing: ip`), `#` and 32 digits is a value too long to be kept, of which
only the hash is known, and `*` stands for `global`. What cannot be typed is percent-encoded, `|` and `%` among it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from proxy.http.message import Request
from proxy.limits.key import KeyBuilder

GLOBAL: Final = "*"
_DIGEST: Final = re.compile("#([0-9a-f]{32})")
_KINDS: Final = {"ip": b"i", "user": b"u", "tenant": b"t", "api_key": b"k", "route": b"r", "global": b"g"}
_FIELD: Final = b"h"

AddressKey = Callable[[str], "bytes | None"]
"""What limits count for an address (clients.ip_text), or None when it is none."""


class Counted(Protocol):
    """What is needed of a limit."""

    @property
    def name(self) -> str: ...
    @property
    def by(self) -> Sequence[str]: ...
    @property
    def prefix(self) -> bytes: ...
    @property
    def key(self) -> KeyBuilder: ...


class _Caller:
    """The client that a key is made from."""

    def __init__(self) -> None:
        self.key_address = b""
        self.user: str | None = None
        self.tenant: str | None = None
        self.api_key: str | None = None
        self.name = ""  # of the route
        self.is_vouched_for = True  # the operator may name a field


def store_key(limit: Counted, text: str, address_key: AddressKey) -> bytes:
    """The key in the store for what an operator wrote. Raises ValueError with one sentence."""
    texts = text.split("|") if len(limit.by) > 1 else [text]
    if len(texts) != len(limit.by):
        raise ValueError(f"limit `{limit.name}` counts by {_words(limit)}; write one part for each, with `|` between")
    caller, fields, hashed = _Caller(), dict[bytes, bytes](), list[int]()
    for at, (word, part) in enumerate(zip(limit.by, texts, strict=True)):
        if _place(limit, word, part, caller, fields, address_key):
            hashed.append(at)
    request = Request(b"GET", b"/", 1, [], fields)
    key = limit.key(caller, request, caller)
    if key is None:
        raise ValueError(f"limit `{limit.name}` counts by {_words(limit)}; one of them is empty")
    return _with_digests(limit, key, hashed) if hashed else key


def shown(limit: Counted, key: bytes) -> str:
    """A key of the store as an operator reads it. `store_key` gives the key back, except for one that is no key."""
    parts = _parts(limit, key)
    if parts is None or len(parts) != len(limit.by):
        return _quoted(key, False)
    is_composite = len(parts) > 1
    return "|".join(_shown_part(word, part, is_composite) for word, part in zip(limit.by, parts, strict=True))


def _place(
    limit: Counted, word: str, text: str, caller: _Caller, fields: dict[bytes, bytes], address_key: AddressKey
) -> bool:
    """Put one part where the key's builder will look for it. True when it is the digest of the value."""
    stands_in = word != "ip" and text.startswith("ip=")
    is_plain = not text.startswith(f"{word}=")
    value = text if is_plain and not stands_in else text.partition("=")[2]
    if word == "ip" or stands_in:
        address = address_key(value)
        if address is None:
            raise ValueError(f"`{value[:60]}` is not an address; write one such as 203.0.113.7 or 2001:db8::1")
        if caller.key_address and caller.key_address != address:
            raise ValueError("a key has one address; it cannot stand in with another one")
        caller.key_address = address
        return False
    digest = _DIGEST.fullmatch(value) if is_plain else None
    data = digest[1].encode() if digest is not None else _unquoted(value)
    if word == "global":
        if value not in ("", GLOBAL):
            raise ValueError(f"limit `{limit.name}` has one count for all; write `{GLOBAL}` for it")
    elif word.startswith("header:"):
        fields[word.removeprefix("header:").lower().encode("ascii")] = data
    else:
        setattr(caller, "name" if word == "route" else word, data.decode("utf-8", "surrogatepass"))
    return digest is not None


def _unquoted(text: str) -> bytes:
    data = unquote_to_bytes(text)
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError("the percent-encoded part of the key is not UTF-8") from None
    return data


def _with_digests(limit: Counted, key: bytes, hashed: Sequence[int]) -> bytes:
    """The key as it is when those parts stand for longer values: a capital letter says so, and nothing else."""
    parts = _parts(limit, key)
    assert parts is not None
    for at in hashed:
        parts[at] = parts[at][:1].upper() + parts[at][1:]
    if len(parts) == 1:
        return limit.prefix + b"{%b}" % parts[0]
    rest = [b"%d:%b" % (len(part), part) for part in parts[1:]]
    return limit.prefix + b"%d:{%b}" % (len(parts[0]), parts[0]) + b"".join(rest)


def _parts(limit: Counted, key: bytes) -> list[bytes] | None:
    """What `key.py` put together, each part with the letter of its kind in front. None: it is not such a key."""
    if not key.startswith(limit.prefix):
        return None
    rest = key[len(limit.prefix) :]
    if len(limit.by) == 1:
        return [rest[1:-1] if rest.startswith(b"{") and rest.endswith(b"}") else b"g"]
    parts: list[bytes] = []
    while rest:
        text, colon, rest = rest.partition(b":")
        length = int(text) if colon and text.isdigit() else len(rest) + 1
        if not parts and rest[:1] == b"{" and rest[length + 1 : length + 2] == b"}":
            rest = rest[1 : length + 1] + rest[length + 2 :]
        if length > len(rest):
            return None
        parts.append(rest[:length])
        rest = rest[length:]
    return parts


def _shown_part(word: str, part: bytes, is_composite: bool) -> str:
    kind, value = part[:1], part[1:]
    if kind == b"g":
        return GLOBAL
    own = _KINDS.get(word, _FIELD)
    if kind == own.upper():
        return "#" + value.decode("ascii", "backslashreplace")
    text = _quoted(value, is_composite)
    if kind != own:  # the address stands in
        return f"ip={text}"
    return f"{word}={text}" if word != "ip" and text.startswith(("ip=", f"{word}=", "#")) else text


def _quoted(value: bytes, is_composite: bool) -> str:
    text = value.decode("utf-8", "surrogateescape")
    return "".join(
        letter if letter.isprintable() and letter != "%" and not (letter == "|" and is_composite) else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))


def _words(limit: Counted) -> str:
    return " and ".join(limit.by)
