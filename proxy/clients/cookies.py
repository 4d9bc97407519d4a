"""Cookies: finding one in a request, and the form of a signed one.

A signed cookie is `user.expires.signature`:
  user       the name, with every octet outside A-Z a-z 0-9 - _ ~ percent-encoded (dots too, as %2E)
  expires    seconds since 1970, in decimal
  signature  base64url without padding of HMAC-SHA256(secret, "name=user.expires"), where name is the cookie's own

The cookie's name is signed too, so that no other cookie with the same secret can be passed off as this one.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hmac import compare_digest, digest
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from proxy.clients.client import Finding
from proxy.clients.names import user_name
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

_LONGEST: Final = 1024
_BAD = ErrorKind.UNAUTHENTICATED
_FORGED: Final = Finding("cookie", error=_BAD, fault="signature")
_MALFORMED: Final = Finding("cookie", error=_BAD, fault="malformed")
_EXPIRED: Final = Finding("cookie", error=_BAD, fault="expired")


def cookie_values(request: Request, name: bytes) -> list[bytes]:
    """The different values that a request has for a cookie. More than one means that nobody can say which is meant."""
    value = request.index.get(b"cookie")
    if value is None or name not in value:
        return []
    lines = [value] if b"," not in value else [line for lower, _, line in request.fields if lower == b"cookie"]
    values: list[bytes] = []
    for line in lines:
        for pair in line.split(b";"):
            key, _, text = pair.strip(b" \t").partition(b"=")
            if key == name:
                if text[:1] == b'"' == text[-1:] and len(text) > 1:
                    text = text[1:-1]
                if text and text not in values:  # an empty value is how a cookie is taken back
                    values.append(text)
    return values


def sign_cookie(name: str, user: str, expires: int, secret: str) -> str:
    """The value of a signed cookie, as a backend makes it. `expires` is in seconds since 1970."""
    signed = f"{quote(user, safe='').replace('.', '%2E')}.{expires}"
    return f"{signed}.{_signature(secret.encode(), f'{name}={signed}'.encode()).decode()}"


class CookieSource:
    """Knows users by a signed cookie."""

    __slots__ = ("_name", "_secret", "field")

    via = "cookie"

    def __init__(self, name: str, secret: str) -> None:
        self.field = b"cookie"
        self._name = name.encode("ascii")
        self._secret = secret.encode()

    def find(self, request: Request, now_wall: float) -> Finding | None:
        """Whom the cookie names; None when there is no such cookie."""
        values = cookie_values(request, self._name)
        if not values:
            return None
        value = values[0]
        if len(values) > 1 or len(value) > _LONGEST:
            return _MALFORMED
        signed, _, signature = value.rpartition(b".")
        if not compare_digest(_signature(self._secret, b"%b=%b" % (self._name, signed)), signature):
            return _FORGED
        name, _, expires = signed.rpartition(b".")
        if not expires.isdigit() or len(expires) > 12:
            return _MALFORMED
        if now_wall >= int(expires):
            return _EXPIRED
        user = user_name(unquote_to_bytes(name))
        return _MALFORMED if user is None else Finding("cookie", user, until_wall=int(expires))


def _signature(secret: bytes, message: bytes) -> bytes:
    return urlsafe_b64encode(digest(secret, message, "sha256")).rstrip(b"=")
