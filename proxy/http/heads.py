"""What a request head says, read once and strictly (RFC 9112 §3, §6; W4, W7-W10, W14).

llhttp has refused what breaks the grammar; here is refused what it lets through and two readers could take in two
ways. Nothing is repaired.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Field, Request
from proxy.http.targets import BadTarget, canonical_host, canonical_path, split_target

_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"authorization"})
_MALFORMED: Final = ErrorKind.REQUEST_MALFORMED


def index_head(fields: list[Field], underscore_fields: str) -> tuple[list[Field], dict[bytes, bytes]]:
    """(the fields to go on with, their index). Raises ProxyError for fields that may stand only once."""
    index: dict[bytes, bytes] = {}
    odd_names = False
    for lower, _, value in fields:
        if lower in index:
            if lower in _ONCE:
                raise ProxyError(_MALFORMED, f"repeated {lower.decode('latin-1')}")
            index[lower] = index[lower] + b", " + value
        else:
            index[lower] = value
            if b"_" in lower:
                odd_names = True
    if odd_names and underscore_fields != "pass":
        fields = _without_underscores(fields, index, underscore_fields)
    return fields, index


def read_request(
    method: bytes,
    target: bytes,
    minor_version: int,
    fields: list[Field],
    index: dict[bytes, bytes],
    scheme: str,
) -> Request:
    """A Request with everything derived that a rule looks at, except its body.

    Raises ProxyError with the kind that the client is answered with; the connection must then be closed.
    """
    request = Request(method, target, minor_version, fields, index, scheme)
    try:
        authority, request.path, request.query, origin_form = _parse_target(target)
        host = index.get(b"host")
        if host and not authority:
            request.authority = host
            request.host = _parse_host(host)
        else:
            _read_odd_host(request, host, authority, origin_form)
    except BadTarget as error:
        raise ProxyError(_MALFORMED, str(error)) from None
    connection = index.get(b"connection")
    if connection is not None:
        _read_connection(request, connection.lower())
    elif minor_version == 0:
        request.keep_alive = False
    if b"proxy-connection" in index and b"close" in index[b"proxy-connection"].lower():
        request.keep_alive = False  # it means nothing here, but llhttp obeys it
    length = index.get(b"content-length")
    if length is not None:
        if not length.isdigit() or len(length) > 19:  # W8
            raise ProxyError(_MALFORMED, "malformed Content-Length")
        request.content_length = int(length)
    coding = index.get(b"transfer-encoding")
    if coding is not None:
        _check_transfer_encoding(coding, length, minor_version)
    if b"expect" in index:
        _read_expect(request, index[b"expect"], has_content=coding is not None or bool(request.content_length))
    if b"upgrade" in index:
        _read_upgrade(request, has_content=coding is not None or bool(request.content_length))
    return request


def check_method(method: bytes) -> None:
    """W10: CONNECT and TRACE are not for a reverse proxy; a method is a token of at most 32 bytes."""
    if method in (b"CONNECT", b"TRACE"):
        raise ProxyError(ErrorKind.METHOD_REFUSED, method.decode("ascii"))
    if len(method) > 32 or not _TOKEN.issuperset(method):
        raise ProxyError(_MALFORMED, "malformed method")


def _without_underscores(fields: list[Field], index: dict[bytes, bytes], mode: str) -> list[Field]:
    if mode == "reject":
        raise ProxyError(_MALFORMED, "a field name has an underscore")
    for lower in [name for name in index if b"_" in name]:
        del index[lower]
    return [line for line in fields if b"_" not in line[0]]


def _read_odd_host(request: Request, host: bytes | None, authority: bytes, origin_form: bytes | None) -> None:
    """No Host, an empty one, or a target in absolute-form."""
    if host is None:
        if request.minor_version != 0:
            raise BadTarget("no Host field")  # RFC 9112 §3.2
        host = authority
    elif authority and authority.lower() != host.lower():
        raise BadTarget("the target's authority is not the Host")  # W9
    if origin_form is not None:
        request.target = origin_form
    request.authority = host
    if host:
        request.host = _parse_host(host)
    elif request.minor_version != 0:
        raise BadTarget("an empty Host field")


@lru_cache(maxsize=2048)
def _parse_target(target: bytes) -> tuple[bytes, str, bytes, bytes | None]:
    """(authority, canonical path, query, origin-form when the target was absolute). Most targets come again."""
    if target == b"*":
        raise BadTarget("asterisk-form")  # OPTIONS * is about the server, and the server behind us is many
    authority, path, query = split_target(target)
    if not query.isascii():
        raise BadTarget("the query is not ASCII")
    origin_form = None
    if authority:
        origin_form = path + b"?" + query if b"?" in target else path
    return authority, canonical_path(path), query, origin_form


_parse_host = lru_cache(maxsize=1024)(canonical_host)


def _read_connection(request: Request, connection: bytes) -> None:
    if connection == b"keep-alive":
        return
    if connection == b"close":
        request.keep_alive = False
        return
    options = {option.strip(b" \t") for option in connection.split(b",")}
    request.keep_alive = b"close" not in options and (request.minor_version == 1 or b"keep-alive" in options)


def _check_transfer_encoding(coding: bytes, length: bytes | None, minor_version: int) -> None:
    if minor_version == 0:
        raise ProxyError(_MALFORMED, "Transfer-Encoding in HTTP/1.0")
    if length is not None:
        raise ProxyError(_MALFORMED, "Content-Length beside Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise ProxyError(ErrorKind.CODING_UNSUPPORTED, "Transfer-Encoding other than chunked")


def _read_expect(request: Request, expect: bytes, *, has_content: bool) -> None:
    if expect.lower() != b"100-continue":
        raise ProxyError(ErrorKind.EXPECTATION_FAILED, "unknown expectation")  # W11
    # RFC 9110 §10.1.1: ignore it from HTTP/1.0 clients and where no content will come
    request.expects_continue = has_content and request.minor_version == 1


def _read_upgrade(request: Request, *, has_content: bool) -> None:
    """W14: only a WebSocket opening handshake may ask for another protocol; any other Upgrade is ignored."""
    connection = request.index.get(b"connection", b"").lower()
    if b"upgrade" not in [option.strip(b" \t") for option in connection.split(b",")]:
        return
    if has_content:
        raise ProxyError(_MALFORMED, "an upgrade request with content")
    if (
        request.index[b"upgrade"].lower() == b"websocket"
        and request.method == b"GET"
        and request.minor_version == 1
        and request.index.get(b"sec-websocket-version") == b"13"
    ):
        request.upgrade = b"websocket"
