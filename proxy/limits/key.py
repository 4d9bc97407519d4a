"""Who is counted: a request becomes the key of its count.

A key is `weir:1:<algorithm>:<length>:<policy>:` and then one part for each word of `by`. The 1 is the version of what
is stored under it; the policy's numbers are not in it, so changing them keeps what was spent. Every part starts with a
letter for its kind, so that a user who is called 203.0.113.7 is not that address, and in composite keys every part
carries its length, so that no choice of values can imitate another pair. The first part stands in braces: a Cluster
puts keys whose text in braces is the same on one node, so that all limits of a client are decided there in one call.

A field counts only when a trusted proxy sent the request: whoever may choose the key of a limit has no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from proxy.http.message import Request

STORAGE_VERSION: Final = 1
_LONGEST: Final = 64  # bytes; a longer part is hashed, so that no client can fill the store with large keys


class Caller(Protocol):
    """What a key needs of the client (clients.client.Client)."""

    @property
    def key_address(self) -> bytes: ...
    @property
    def user(self) -> str | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def api_key(self) -> str | None: ...
    @property
    def is_vouched_for(self) -> bool: ...


class Named(Protocol):
    """What a key needs of the route."""

    @property
    def name(self) -> str: ...


KeyBuilder = Callable[[Caller, Request, Named], "bytes | None"]
"""The key in the store, or None when the request lacks a part and `missing` is not `ip`."""


def key_prefix(policy: str, algorithm: str) -> bytes:
    """What all keys of a policy start with. The length keeps the policy `a` apart from one that is called `a:b`."""
    name = policy.encode()
    return b"weir:%d:%b:%d:%b:" % (STORAGE_VERSION, algorithm.encode(), len(name), name)


def key_builder(by: Sequence[str], prefix: bytes, missing: str) -> KeyBuilder:
    """Compile the words of `by` into one function. What is constant is joined now."""
    if len(by) == 1:
        return _single(by[0], prefix, falls_back=missing == "ip")
    return _composite([_part(word) for word in by], prefix, falls_back=missing == "ip")


def _single(word: str, prefix: bytes, falls_back: bool) -> KeyBuilder:
    if word == "global":
        return lambda client, request, route: prefix
    before = prefix + b"{"
    by_address = before + b"i"
    if word == "ip":
        return lambda client, request, route: by_address + client.key_address + b"}"
    part = _part(word)

    def build(client: Caller, request: Request, route: Named) -> bytes | None:
        value = part(client, request, route)
        if value is not None:
            return before + value + b"}"
        return by_address + client.key_address + b"}" if falls_back else None

    return build


def _composite(parts: list[KeyBuilder], prefix: bytes, falls_back: bool) -> KeyBuilder:
    first = parts[0]

    def build(client: Caller, request: Request, route: Named) -> bytes | None:
        key = prefix
        for part in parts:
            value = part(client, request, route)
            if value is None:
                if not falls_back:
                    return None
                value = b"i" + client.key_address
            key = (b"%b%d:%b" if part is not first else b"%b%d:{%b}") % (key, len(value), value)
        return key

    return build


def _part(word: str) -> KeyBuilder:
    """One part of a key: a letter for its kind, then the value. An empty value counts as none."""
    if word.startswith("header:"):
        field_name = word[len("header:") :].lower().encode("ascii")
        return lambda client, request, route: (
            _short(b"h", request.index.get(field_name)) if client.is_vouched_for else None
        )
    return _PARTS[word]


def _short(kind: bytes, value: bytes | None) -> bytes | None:
    if not value:
        return None
    if len(value) <= _LONGEST:
        return kind + value
    # the capital letter: a short value that spells the digest is still another key
    return kind.upper() + blake2b(value, digest_size=16).hexdigest().encode()


def _text(kind: bytes, value: str | None) -> bytes | None:
    # surrogatepass: a token's JSON may hold half of a surrogate pair, and that must not be an error
    return _short(kind, value.encode("utf-8", "surrogatepass")) if value else None


_PARTS: Final[dict[str, KeyBuilder]] = {
    "ip": lambda client, request, route: b"i" + client.key_address,
    "user": lambda client, request, route: _text(b"u", client.user),
    "tenant": lambda client, request, route: _text(b"t", client.tenant),
    "api_key": lambda client, request, route: _text(b"k", client.api_key),
    "route": lambda client, request, route: _text(b"r", route.name),
    "global": lambda client, request, route: b"g",
}
