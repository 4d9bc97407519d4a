"""One request as one line of JSON.

Every line has the same keys in the same order, null where there is nothing to say. No field of the request other than
Host is printed; a user is printed as the beginning of a SHA-256, so that one user's lines can be found by whoever
knows the name (`printf %s alice | sha256sum | cut -c1-12`) and by nobody else.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from proxy.observe.redact import MAX_TEXT, clean, redact_path, redact_query
from proxy.observe.times import Timestamps

if TYPE_CHECKING:
    from proxy.exchange import Exchange

USER_DIGITS: Final = 12


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class LimitLine(msgspec.Struct, gc=False):
    """The tightest limit that was asked."""

    policy: str
    remaining: int


class AccessLine(msgspec.Struct, gc=False):
    """The keys of an access-log line, in their order. `reference.py` prints what is said of them."""

    ts: Annotated[str, _says("When the request's head was complete: RFC 3339, UTC.")]
    request_id: Annotated[str, _says("As in X-Request-ID.")]
    client_ip: Annotated[str, _says("The client's address, past trusted proxies.")]
    user: Annotated[str | None, _says("The first 12 hexadecimal digits of the SHA-256 of the user or API key id.")]
    fault: Annotated[str | None, _says("Why the request's credentials were refused, in one word.")]
    method: Annotated[str, _says("The method.")]
    host: Annotated[str, _says("The host in lower case, without the port.")]
    route: Annotated[str | None, _says("The route's name.")]
    path: Annotated[str, _says("The canonical path, with the query as it came; secret-looking values are `***`.")]
    status: Annotated[int, _says("As sent; 499 when the client left before the head.")]
    reason: Annotated[str | None, _says("One word, when it is not the answer that the client should have got.")]
    bytes_in: Annotated[int, _says("Content bytes received from the client.")]
    bytes_out: Annotated[int, _says("Content bytes sent to the client.")]
    dur_ms: Annotated[float, _says("From the complete head to the end of the response.")]
    queue_ms: Annotated[float, _says("Of it: waiting for a slot at an endpoint, and for a connection.")]
    upstream_ms: Annotated[float, _says("Of it: from the first byte sent upstream to the response head.")]
    endpoint: Annotated[str | None, _says("The endpoint that was asked last.")]
    attempts: Annotated[int, _says("Attempts at endpoints; 0 when none was asked.")]
    cache: Annotated[str | None, _says("Weir's member of Cache-Status (RFC 9211).")]
    limit: Annotated[LimitLine | None, _says("The tightest limit: `policy`, and `remaining` after this request.")]
    sample_rate: Annotated[float, _says("The line stands for 1 / sample_rate requests.")]


_encode = msgspec.json.Encoder().encode
_timestamps = Timestamps()
_BACKSLASH: Final = 0x5C  # looked for as a number: four times as fast in bytes
_DELETE: Final = 0x7F  # the one ASCII control that JSON does not escape


def render(exchange: Exchange, duration_s: float, ended_wall: float, sample_rate: float) -> bytes:
    """The line of an exchange that has ended, with its newline. About 2 us."""
    request = exchange.request
    client = exchange.client
    route = exchange.route
    error = exchange.error
    endpoint = exchange.endpoint
    verdict = exchange.decision
    cache = exchange.cache_status
    entry = AccessLine(
        _timestamps.at(ended_wall - duration_s),
        exchange.id.decode("latin-1"),  # never fails; what is not ASCII is found below
        client.address,
        user_digest(user) if (user := client.user or client.api_key) else None,
        client.fault or None,
        request.method.decode("latin-1"),
        request.host,
        None if route is None else route.name,
        printable_target(request.path, request.query),
        exchange.status,
        None if error is None else error._value_,
        exchange.bytes_received,
        exchange.bytes_sent,
        int(duration_s * 1e6) / 1e3,  # a fifth of the price of round()
        int(exchange.queue_s * 1e6) / 1e3,
        int(exchange.upstream_s * 1e6) / 1e3,
        None if endpoint is None else endpoint.address.label,
        exchange.attempts,
        cache.decode("latin-1") if cache else None,
        None if verdict is None else LimitLine(verdict.policy.name, verdict.remaining),
        sample_rate,
    )
    line = _encode(entry)
    # one look at the whole line instead of one at each value: nothing long, nothing escaped, all of it printable ASCII
    if len(line) <= MAX_TEXT and line.isascii() and _BACKSLASH not in line and _DELETE not in line:
        return line + b"\n"
    return _encode(_cleaned(entry)) + b"\n"


def user_digest(user: str) -> str:
    """What a line says of a user."""
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:USER_DIGITS]


def printable_target(path: str, query: bytes) -> str:
    """Path and query with secrets hidden, cut to MAX_TEXT characters."""
    if ";" in path:
        path = redact_path(path)
    if not query:
        return path[:MAX_TEXT]
    return f"{path}?{redact_query(query.decode('latin-1'))}"[:MAX_TEXT]


def _cleaned(entry: AccessLine) -> AccessLine:
    for name in AccessLine.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, str):
            setattr(entry, name, clean(value))
    if entry.limit is not None:
        entry.limit.policy = clean(entry.limit.policy)
    return entry
