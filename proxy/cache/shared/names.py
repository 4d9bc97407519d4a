"""Names of keys in the store: hashes, so that no URL, user or field of a client stands in one.

    NAMESPACE:1:cache:{HASH}:n            names of the fields that select a variant; none where nothing does
    NAMESPACE:1:cache:{HASH}:z            the variants that there are, by when they were written
    NAMESPACE:1:cache:{HASH}:v:VARIANT    a response (form.py)
    NAMESPACE:1:cache:{HASH}:l:VARIANT    who fetches it (lua/)

HASH is of the key as routes make it. In braces: all that is known of one URL is in one slot of a cluster.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from proxy.cache.key import uri_of
from proxy.cache.selecting import Selection

_HASH_BYTES: Final = 16
_VARIANT_BYTES: Final = 12
SINGLE: Final = b"-"  # the variant where nothing selects


def plain_key(key: bytes) -> bytes:
    """The key as all Weirs have it: without the generation, which each counts for itself (key.with_parts).

    What a write ends is not looked for under it any more nonetheless: responses are judged one by one (orders.py).
    """
    uri = uri_of(key)
    if len(uri) == len(key):
        return key
    return uri + key[key.find(b" ", len(uri) + 1) :]


class Names:
    """The names of everything that is kept of one key."""

    __slots__ = ("base", "names", "prefix", "variants")

    def __init__(self, namespace: bytes, key: bytes) -> None:
        found = blake2b(plain_key(key), digest_size=_HASH_BYTES).hexdigest().encode()
        self.base = b"%b:1:cache:{%b}:" % (namespace, found)
        self.names = self.base + b"n"
        self.variants = self.base + b"z"
        self.prefix = self.base + b"v:"

    def variant(self, word: bytes) -> bytes:
        return self.prefix + word

    def lock(self, word: bytes) -> bytes:
        return self.base + b"l:" + word


def channel_of(namespace: bytes) -> bytes:
    """Where it is told that somebody is done."""
    return namespace + b":1:cache:done"


def variant_word(names: tuple[bytes, ...], selection: Selection) -> bytes:
    """The variant with these values of these fields. Parts say how long they are: no two are written alike."""
    if not names:
        return SINGLE
    found = blake2b(digest_size=_VARIANT_BYTES)
    for name, value in zip(names, selection, strict=True):
        found.update(b"%d:%b" % (len(name), name))
        found.update(b"-" if value is None else b"%d:%b" % (len(value), value))
    return found.hexdigest().encode()


def pack_names(names: tuple[bytes, ...]) -> bytes:
    return b",".join(names)


def unpack_names(text: bytes) -> tuple[bytes, ...]:
    return tuple(text.split(b",")) if text else ()
