"""What a client without identity must see, in a cookie that only Weir can write: its session, carried by itself.

    base64url of   version (1 byte)   1: a position   2: a pin
                   system id (8), timeline (4), position (8) | 0, 0, wall-clock milliseconds until which it holds
                   expiry (4): seconds since 1970
                   HMAC-SHA256 over "weir-floor", the name of what it is for, and all of that (32)

The signature is what keeps anybody from asking for positions that nobody will ever reach.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hmac import compare_digest, digest
from struct import Struct
from typing import Final, NamedTuple

from proxy.replicas.lsn import History

_FORM: Final = Struct(">BQIQI")
_SIGNATURE_BYTES: Final = 32
LENGTH: Final = -(-(_FORM.size + _SIGNATURE_BYTES) * 4 // 3)  # without padding
_POSITION: Final = 1
_PIN: Final = 2


class Mark(NamedTuple):
    """What a cookie says: a position, or with no history the wall-clock instant until which the primary answers."""

    history: History | None
    lsn: int = 0
    until_wall: float = 0.0


def sign(mark: Mark, secret: bytes, audience: bytes, expires_wall: float) -> bytes:
    """The value of the cookie. `audience` names the database or the upstream that it is about."""
    if mark.history is None:
        body = _FORM.pack(_PIN, 0, 0, int(mark.until_wall * 1000), int(expires_wall))
    else:
        body = _FORM.pack(_POSITION, mark.history.system_id, mark.history.timeline, mark.lsn, int(expires_wall))
    return urlsafe_b64encode(body + _signature(body, secret, audience)).rstrip(b"=")


def read(text: bytes, secret: bytes, audience: bytes, now_wall: float, longest_s: float) -> Mark | None:
    """What a value of ours says; None for any other, and when it is over. Never raises.

    A pin of more than `longest_s` from now is none of ours, whoever signed it.
    """
    if len(text) != LENGTH:
        return None
    try:
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    body, signature = data[: _FORM.size], data[_FORM.size :]
    if len(signature) != _SIGNATURE_BYTES or not compare_digest(_signature(body, secret, audience), signature):
        return None
    version, system_id, timeline, number, expires = _FORM.unpack(body)
    if now_wall >= expires:
        return None
    if version == _POSITION:
        return Mark(History(system_id, timeline), number)
    until_wall = number / 1000
    return Mark(None, 0, until_wall) if version == _PIN and until_wall <= now_wall + longest_s else None


def _signature(body: bytes, secret: bytes, audience: bytes) -> bytes:
    return digest(secret, b"weir-floor\0%b\0%b" % (audience, body), "sha256")
