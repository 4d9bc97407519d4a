"""As much of the Postgres protocol, version 3.0, as a question to PgBouncer's console needs.

The console answers the simple query protocol only, and drivers that prepare every statement cannot talk to it. Bytes
in, values out; the sections of PostgreSQL's manual on message formats and on SCRAM (RFC 5802, RFC 7677) are the source.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["ProtocolError", "Scram", "columns", "md5_password", "message", "notice", "startup", "values"]

_VERSION: Final = 196_608  # 3.0: the major version in the upper half
_MOST_ITERATIONS: Final = 1_000_000  # a server that asks for more would keep us busy for ever


class ProtocolError(Exception):
    """The other side said something else than it should. The text holds nothing secret."""


def startup(user: str, database: str) -> bytes:
    pairs = {"user": user, "database": database, "client_encoding": "UTF8"}
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, _VERSION) + body


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def columns(content: bytes) -> list[str]:
    """The names in a RowDescription."""
    (count,) = struct.unpack_from("!h", content)
    names, at = [], 2
    for _ in range(count):
        end = content.index(b"\0", at)
        names.append(content[at:end].decode())
        at = end + 19  # table, attribute, type, size, modifier, format
    return names


def values(content: bytes) -> list[str | None]:
    """The texts in a DataRow; None for NULL."""
    (count,) = struct.unpack_from("!h", content)
    texts: list[str | None] = []
    at = 2
    for _ in range(count):
        (length,) = struct.unpack_from("!i", content, at)
        at += 4
        if length < 0:
            texts.append(None)
            continue
        texts.append(content[at : at + length].decode())
        at += length
    return texts


def notice(content: bytes) -> str:
    """The sentence of an ErrorResponse."""
    return next((part[1:].decode(errors="replace") for part in _parts(content) if part[:1] == b"M"), "no reason given")


def _parts(content: bytes) -> Iterator[bytes]:
    return (part for part in content.split(b"\0") if part)


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """What the old method wants: a hash of the hash, so that the password itself is not sent."""
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


class Scram:
    """SCRAM-SHA-256 from the client's side, without channel binding. `nonce`: printable, random, used once."""

    def __init__(self, password: str, nonce: str) -> None:
        self._password = password.encode()
        self._bare = f"n=,r={nonce}"  # the user's name is in the startup message
        self._nonce = nonce
        self._server_signature = b""

    def first(self) -> bytes:
        """The SASLInitialResponse's content."""
        text = f"n,,{self._bare}".encode()
        return b"SCRAM-SHA-256\0" + struct.pack("!i", len(text)) + text

    def final(self, server_first: bytes) -> bytes:
        """The proof that the password is known. Raises ProtocolError."""
        given = _attributes(server_first)
        try:
            salt, iterations = base64.b64decode(given["s"], validate=True), int(given["i"])
        except (KeyError, ValueError):
            raise ProtocolError("the server's challenge is malformed") from None
        if not given.get("r", "").startswith(self._nonce) or len(given["r"]) == len(self._nonce):
            raise ProtocolError("the server's nonce does not continue ours")
        if not 0 < iterations <= _MOST_ITERATIONS:
            raise ProtocolError("the server asks for an unreasonable number of iterations")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _mac(salted, b"Client Key")
        without_proof = f"c=biws,r={given['r']}"
        signed = ",".join((self._bare, server_first.decode(), without_proof)).encode()
        signature = _mac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = _mac(_mac(salted, b"Server Key"), signed)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Raises ProtocolError when the server does not know the password either."""
        signature = _attributes(server_final).get("v", "")
        if not hmac.compare_digest(signature, base64.b64encode(self._server_signature).decode()):
            raise ProtocolError("the server cannot prove that it knows the password")


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _attributes(text: bytes) -> dict[str, str]:
    pairs: Sequence[str] = text.decode(errors="replace").split(",")
    return {pair[0]: pair[2:] for pair in pairs if pair[1:2] == "="}
