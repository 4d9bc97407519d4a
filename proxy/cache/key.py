"""The key of a stored response: scheme, authority, path and query (RFC 9111 §2), as one byte string.

The query is taken byte for byte: other queries are other responses, also when only the order differs. The port belongs
to the authority, for backends print it into links and redirects: without it one client could choose where others are
sent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443"}
_NOTHING: Final[frozenset[bytes]] = frozenset()


def cache_key(scheme: str, authority: bytes, target: bytes, ignored: frozenset[bytes] = _NOTHING) -> bytes:
    """`target` is the origin-form as received; `ignored` are names of query parameters that do not count."""
    if ignored:
        target = _without(target, ignored)
    return origin_of(scheme, authority) + target


@lru_cache(maxsize=1024)
def origin_of(scheme: str, authority: bytes) -> bytes:
    """`http://example.com`: lower case, without a final dot and without the scheme's own port (RFC 9110 §4.2.3)."""
    lower_scheme = scheme.lower().encode("latin-1")
    host, port = authority.lower(), b""
    colon = host.rfind(b":")
    if colon > host.rfind(b"]"):
        host, port = host[:colon], host[colon + 1 :]
    host = host.removesuffix(b".")
    if port and port != _DEFAULT_PORTS.get(lower_scheme):
        host += b":" + port
    # both may come from a trusted proxy's X-Forwarded-*, unchecked: neither may reach into the path
    return lower_scheme.replace(b"/", b"%2F") + b"://" + host.replace(b"/", b"%2F")


def _without(target: bytes, ignored: frozenset[bytes]) -> bytes:
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    kept = [parameter for parameter in query.split(b"&") if parameter.partition(b"=")[0] not in ignored]
    return path + b"?" + b"&".join(kept) if kept else path
