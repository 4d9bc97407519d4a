"""A token in compact form (RFC 7515 §7.1), read strictly: one reading, or none.

Nothing here is verified yet. What is refused is what libraries differ on: padding and stray bits in base64, members
that stand twice, numbers that are none, a header that brings its own key.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import Enum, unique
from typing import Any, Final

MAX_TOKEN_BYTES: Final = 8 * 1024
MAX_KID: Final = 64  # characters
# RFC 7515 §4.1: a header that brings a key (jwk), says where to fetch one (jku, x5u), or changes the rules (crit;
# b64 of RFC 7797, which needs crit; zip, which is for encrypted tokens). Obeying the first three is how keys of
# attackers were trusted elsewhere.
_REFUSED: Final = frozenset({"jku", "x5u", "jwk", "crit", "b64", "zip"})
_TYPES: Final = frozenset({"jwt", "at+jwt"})  # RFC 8725 §3.11: a token made for something else is not for us


@unique
class TokenFault(Enum):
    """Why a token is refused. The value is the word in the log."""

    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    HEADER = "header"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    USER = "user"


class Token:
    """The parts of a token. `claims_bytes` are not looked at before the signature over `signed` is verified."""

    __slots__ = ("algorithm", "claims_bytes", "kid", "signature", "signed")

    def __init__(self, algorithm: str, kid: str | None, signed: bytes, claims_bytes: bytes, signature: bytes) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.signed = signed
        self.claims_bytes = claims_bytes
        self.signature = signature


def read_token(text: bytes) -> Token | TokenFault:
    """Take a token apart. Never raises."""
    if len(text) > MAX_TOKEN_BYTES:
        return TokenFault.TOO_LONG
    parts = text.split(b".")
    if len(parts) != 3:
        return TokenFault.MALFORMED
    header_bytes, claims_bytes, signature = map(_decode, parts)
    if header_bytes is None or claims_bytes is None or not signature:  # an empty signature is that of alg "none"
        return TokenFault.MALFORMED
    header = read_object(header_bytes)
    if header is None:
        return TokenFault.MALFORMED
    if not _REFUSED.isdisjoint(header):
        return TokenFault.HEADER
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        return TokenFault.ALGORITHM
    if "kid" in header and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        return TokenFault.HEADER
    if "typ" in header and not (isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES):
        return TokenFault.HEADER
    return Token(algorithm, kid, text[: len(parts[0]) + 1 + len(parts[1])], claims_bytes, signature)


def read_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object without repeated members and without NaN, in UTF-8; None for anything else (RFC 7519 §4)."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _decode(part: bytes) -> bytes | None:
    """Base64url without padding, in its one canonical form (RFC 7515 §2): stray bits would make copies of a token."""
    try:
        data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        return None
    return data if urlsafe_b64encode(data).rstrip(b"=") == part else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)
