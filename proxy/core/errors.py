"""Everything that can stop an exchange, as one table.

An answer that a policy intends (denied, hit, shed) is a value. Only "cannot go on" is an exception, and there is one
class of it: `ProxyError`. What differs between errors is data, and all of it is in `ErrorKind`.
"""

from enum import Enum, unique
from typing import Any


@unique
class Side(Enum):
    """Who caused the error: the client, a rule of ours, the backend, or Weir itself."""

    DOWNSTREAM = "downstream"
    POLICY = "policy"
    UPSTREAM = "upstream"
    INTERNAL = "internal"


@unique
class Retry(Enum):
    """Whether another attempt may help, and when it is allowed (RFC 9110 §9.2.2)."""

    NEVER = "never"
    ALWAYS = "always"  # no byte of the request left us
    IF_IDEMPOTENT = "if-idempotent"  # the endpoint may have acted on it


@unique
class ErrorKind(Enum):
    """The table: word, side, status, retry, title.

    The value is the word, in logs, metrics and problem documents. The status is what the client gets; 499 is for the
    log, nobody is left to read it. The title is a sentence for the client: it never repeats what the client sent and
    never names an address. Plain attributes, because they are read for every denied request.
    """

    side: Side
    status: int
    retry: Retry
    title: str

    def __new__(cls, word: str, side: Side, status: int, retry: Retry, title: str) -> "ErrorKind":
        kind = object.__new__(cls)
        kind._value_ = word
        kind.side = side
        kind.status = status
        kind.retry = retry
        kind.title = title
        return kind

    REQUEST_MALFORMED = (
        "request_malformed",
        Side.DOWNSTREAM,
        400,
        Retry.NEVER,
        "The request is malformed or ambiguous.",
    )
    TARGET_TOO_LONG = ("target_too_long", Side.DOWNSTREAM, 414, Retry.NEVER, "The request target is too long.")
    FIELDS_TOO_LARGE = (
        "fields_too_large",
        Side.DOWNSTREAM,
        431,
        Retry.NEVER,
        "The request's header section is too large.",
    )
    CONTENT_TOO_LARGE = (
        "content_too_large",
        Side.DOWNSTREAM,
        413,
        Retry.NEVER,
        "The request's content is larger than this route accepts.",
    )
    EXPECTATION_FAILED = ("expectation_failed", Side.DOWNSTREAM, 417, Retry.NEVER, "The expectation is not supported.")
    REQUEST_TIMEOUT = ("request_timeout", Side.DOWNSTREAM, 408, Retry.NEVER, "The request did not arrive in time.")
    VERSION_UNSUPPORTED = (
        "version_unsupported",
        Side.DOWNSTREAM,
        505,
        Retry.NEVER,
        "The HTTP version is not supported.",
    )
    METHOD_UNKNOWN = ("method_unknown", Side.DOWNSTREAM, 501, Retry.NEVER, "The method is not implemented.")
    CODING_UNSUPPORTED = (
        "coding_unsupported",
        Side.DOWNSTREAM,
        501,
        Retry.NEVER,
        "The transfer coding is not implemented.",
    )
    METHOD_REFUSED = ("method_refused", Side.POLICY, 405, Retry.NEVER, "The method is refused.")
    CLIENT_DISCONNECTED = ("client_disconnected", Side.DOWNSTREAM, 499, Retry.NEVER, "The client left.")
    UNAUTHENTICATED = ("unauthenticated", Side.POLICY, 401, Retry.NEVER, "This route requires an authenticated user.")
    FORBIDDEN = ("forbidden", Side.POLICY, 403, Retry.NEVER, "The request is not allowed.")
    NO_ROUTE = ("no_route", Side.POLICY, 404, Retry.NEVER, "No route matches the request.")
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        Side.POLICY,
        405,
        Retry.NEVER,
        "The method is not allowed for this path.",
    )
    MISDIRECTED = ("misdirected", Side.POLICY, 421, Retry.NEVER, "This host is not served here.")
    RATE_LIMITED = (
        "rate_limited",
        Side.POLICY,
        429,
        Retry.NEVER,
        "Request cannot be satisfied as assigned quota has been exceeded.",
    )
    BLOCKED = (
        "blocked",
        Side.POLICY,
        429,
        Retry.NEVER,
        "Request not satisfied due to detection of an abnormal request pattern.",
    )
    SWITCHED_OFF = (
        "switched_off",
        Side.POLICY,
        503,
        Retry.NEVER,
        "Request cannot be satisfied due to temporary capacity constraints.",
    )
    NOT_STORED = (
        "not_stored",
        Side.POLICY,
        504,
        Retry.NEVER,
        "No stored response may be used, and the client asked for nothing else.",
    )
    QUEUE_FULL = ("queue_full", Side.UPSTREAM, 503, Retry.NEVER, "The service is at capacity and its queue is full.")
    QUEUE_TIMEOUT = (
        "queue_timeout",
        Side.UPSTREAM,
        503,
        Retry.NEVER,
        "The service is at capacity; the wait was too long.",
    )
    NO_CHANCE = (
        "no_chance",
        Side.UPSTREAM,
        503,
        Retry.NEVER,
        "The service is at capacity; the answer would come too late.",
    )
    SHED = ("shed", Side.UPSTREAM, 503, Retry.NEVER, "The service is at capacity; more urgent requests go first.")
    NO_ENDPOINT = ("no_endpoint", Side.UPSTREAM, 503, Retry.NEVER, "The service has no healthy endpoint.")
    OUT_OF_SOCKETS = (
        "out_of_sockets",
        Side.UPSTREAM,  # ours, but it is the service that cannot be asked: what is stored may stand in
        503,
        Retry.NEVER,
        "The service cannot be reached for lack of resources.",
    )
    REPLICA_LAG = (
        "replica_lag",
        Side.UPSTREAM,
        503,
        Retry.NEVER,
        "The service cannot show the latest data now.",
    )
    CONNECT_REFUSED = ("connect_refused", Side.UPSTREAM, 502, Retry.ALWAYS, "The service refused the connection.")
    CONNECT_TIMEOUT = ("connect_timeout", Side.UPSTREAM, 504, Retry.ALWAYS, "The service could not be reached in time.")
    TLS_FAILED = (
        "tls_failed",
        Side.UPSTREAM,
        502,
        Retry.ALWAYS,
        "A trusted connection to the service could not be made.",
    )
    REUSED_CONNECTION_CLOSED = (
        "reused_connection_closed",
        Side.UPSTREAM,
        502,
        Retry.IF_IDEMPOTENT,
        "The service closed the connection.",
    )
    CONNECTION_RESET = (
        "connection_reset",
        Side.UPSTREAM,
        502,
        Retry.IF_IDEMPOTENT,
        "The service closed the connection.",
    )
    RESPONSE_TIMEOUT = ("response_timeout", Side.UPSTREAM, 504, Retry.NEVER, "The service did not answer in time.")
    RESPONSE_MALFORMED = ("response_malformed", Side.UPSTREAM, 502, Retry.NEVER, "The service gave an invalid answer.")
    RESPONSE_TRUNCATED = ("response_truncated", Side.UPSTREAM, 502, Retry.NEVER, "The service's answer was cut short.")
    DRAINING = ("draining", Side.POLICY, 503, Retry.NEVER, "The proxy is shutting down.")
    INTERNAL = ("internal", Side.INTERNAL, 500, Retry.NEVER, "The proxy failed.")


class ProxyError(Exception):
    """An exchange cannot go on.

    `detail` is for the log of the operator and may name addresses; clients only ever see `kind.title`.
    `retry_after_s` becomes a Retry-After field, in whole seconds rounded up, when it is set.
    """

    def __init__(self, kind: ErrorKind, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.at: Any = None  # upstreams.endpoint.Endpoint: whose failure it is, where that is not the one asked for

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value
