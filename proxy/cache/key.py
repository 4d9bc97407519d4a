"""The key of a stored response: scheme, authority, path and query (RFC 9111 §2), as one byte string.

Rule 17: the query is taken byte for byte: other queries are other responses, also when only the order differs. The port
belongs to the authority, for backends print it into links and redirects: without it one client could choose where
others are sent. What a route adds to the key (`Keying`) stands behind a blank, which no target has in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

NOBODY: Final = b"nobody"  # why there is no key: each user or tenant has responses of its own, and none is known
_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443"}
_REMEMBERED: Final = 1024  # targets of one route
_REMEMBERED_BYTES: Final = 256  # longer ones are read anew, so that the memory of them stays small
_NOTHING: Final[frozenset[bytes]] = frozenset()
_TO_UNDERSCORE: Final = bytes.maketrans(b" .+", b"___")


class Keying:
    """How one route makes its keys: which parameters count, and what counts beside the URI.

    A parameter is left out only where no reader of queries could see one that counts: a client that could have what it
    asks for stored under what others ask for would choose what they get.
    """

    __slots__ = ("_ignored", "_kept", "_remembered", "by", "cookies", "fields", "has_parts", "kept", "sorts")

    def __init__(
        self,
        *,
        ignored: frozenset[bytes] = _NOTHING,
        kept: frozenset[bytes] | None = None,
        sorts: bool = False,
        fields: tuple[bytes, ...] = (),
        cookies: tuple[bytes, ...] = (),
        by: Literal["user", "tenant"] | None = None,
    ) -> None:
        self._ignored = ignored
        self._kept = None if kept is None else frozenset(map(_plain_name, kept))
        self.kept = kept
        self.sorts = sorts
        self.fields = fields  # lower case
        self.cookies = cookies
        self.by = by
        self.has_parts = bool(fields or cookies or by)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._target)  # most targets come again

    def target(self, target: bytes) -> bytes:
        """The origin-form of all targets that mean the same here."""
        return self._remembered(target) if len(target) <= _REMEMBERED_BYTES else self._target(target)

    def _target(self, target: bytes) -> bytes:
        path, mark, query = target.partition(b"?")
        if not mark:
            return target
        parameters = query.split(b"&")
        if self._ignored:
            parameters = _without(parameters, self._ignored)
        if self._kept is not None:
            # a blank name or a `;` may be more than one parameter to some readers: such a one stays
            parameters = [one for one in parameters if b";" in one or _plain_name(_name(one)) in self._kept]
        if self.sorts and b";" not in query:
            # by what a reader takes the name for, and stable: the order of two values of one name means something
            parameters = sorted(parameters, key=_sort_name)
        return path + b"?" + b"&".join(parameters) if parameters else path

    def parts(self, index: Mapping[bytes, bytes], client: Any) -> bytes | None:
        """What stands in the key behind the URI; None when nobody is known whose variant it could be.

        Each part says how long it is, so no two lists of parts are written alike.
        """
        parts = []
        if self.by is not None:
            tenant = client.tenant
            if self.by == "tenant":
                if tenant is None:
                    return None
            else:
                user = client.user
                if user is None:
                    return None
                parts.append(_part(user.encode("utf-8", "surrogatepass")))
            # a name means a user only within a tenant
            parts.append(_part(None if tenant is None else tenant.encode("utf-8", "surrogatepass")))
        for name in self.fields:
            parts.append(_part(index.get(name)))
        if self.cookies:
            cookie = index.get(b"cookie", b"")
            for name in self.cookies:
                parts.append(_part(_cookie(cookie, name)))
        return b"".join(parts)


def cache_key(scheme: str, authority: bytes, target: bytes, ignored: frozenset[bytes] = _NOTHING) -> bytes:
    """`target` is the origin-form as received; `ignored` are names of query parameters that do not count."""
    if ignored:
        target = Keying(ignored=ignored).target(target)
    return origin_of(scheme, authority) + target


def with_parts(uri: bytes, generation: int, parts: bytes) -> bytes:
    """The key of one variant of `uri`. A write moves the generation on, so all variants end although none is known."""
    return b"%b %d%b" % (uri, generation, parts)


def uri_of(key: bytes) -> bytes:
    """The URI in a key, for people and for purges."""
    path = key.find(b"/", key.find(b"://") + 3)  # no authority has a `/`, and no target a blank
    blank = key.find(b" ", path)
    return key if blank < 0 else key[:blank]


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


def _without(parameters: list[bytes], ignored: frozenset[bytes]) -> list[bytes]:
    return [one for one in parameters if b";" in one or one.partition(b"=")[0] not in ignored]


def _name(parameter: bytes) -> bytes:
    return parameter.partition(b"=")[0]


def _sort_name(parameter: bytes) -> bytes:
    return _plain_name(_name(parameter))


def _plain_name(name: bytes) -> bytes:
    """One form for all names that some backend takes for the same: unescaped, any case, `a[]`, `a.b` and `a_b`.

    Two names that are wrongly taken for the same only cost a hit.
    """
    plain = unquote_to_bytes(name).partition(b"\0")[0].lstrip(b" +").translate(_TO_UNDERSCORE).lower()
    bracket = plain.find(b"[", 1)
    return plain if bracket < 0 else plain[:bracket]


def _part(value: bytes | None) -> bytes:
    return b" -" if value is None else b" %d:%b" % (len(value), value)


def _cookie(cookies: bytes, name: bytes) -> bytes | None:
    """The cookie as it came, each time that it came, for readers differ in which they take; None when it is not there.

    In a field with a comma or a quote readers differ in where a cookie ends: all of it counts then.
    """
    if b"," in cookies or b'"' in cookies:
        return cookies
    wanted = _plain_name(name)
    pairs = [pair.strip(b" \t") for pair in cookies.split(b";")]
    found = [pair for pair in pairs if _plain_name(_name(pair).strip(b" \t")) == wanted]
    return b";".join(found) if found else None
