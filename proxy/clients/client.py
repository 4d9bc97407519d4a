"""Client: who asks, as far as it is known; and Finding, what one way to be known says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxy.core.errors import ErrorKind

FOREVER: Final = float("inf")


class Client:
    """The one who asks. Shared by exchanges and never changed after it is made, but for what is remembered.

    `user` is set only when it was verified, or said by a trusted peer. `error` is set when the request carries
    credentials that are wrong: then there is no user, and a route that requires one answers 401.
    """

    __slots__ = (
        "address",
        "address_bytes",
        "api_key",
        "error",
        "fault",
        "is_vouched_for",
        "key_address",
        "limit_keys",
        "memo",
        "plan",
        "tenant",
        "user",
        "via",
    )

    def __init__(
        self,
        address: str,
        address_bytes: bytes,
        key_address: bytes,
        user: str | None = None,
        tenant: str | None = None,
        api_key: str | None = None,
        via: str = "",
        error: ErrorKind | None = None,
        fault: str = "",
        plan: str | None = None,
        is_vouched_for: bool = False,
    ) -> None:
        self.address = address  # canonical text; "unix" for a peer on a unix socket
        self.address_bytes = address_bytes  # the same for X-Forwarded-For
        self.key_address = key_address  # what limits count: IPv4 text, or the /64 of an IPv6 address
        self.user = user
        self.tenant = tenant
        self.api_key = api_key  # the id of the key, never the key
        self.via = via  # how the user was known: "header", "api_key", "cookie", "jwt", or ""
        self.error = error
        self.fault = fault  # why the credentials were refused, in one word for the log
        self.plan = plan  # which numbers its limits have; verified, or said by a trusted peer, as all of these
        self.is_vouched_for = is_vouched_for  # a trusted peer sent the request: its fields may choose keys of limits
        # (route, generation of the controls, policies, keys, terms): what limits/stage.py found for the last route
        self.limit_keys: tuple[Any, int, Any, Any, Any] | None = None
        # (identity, credential, until_wall, client): the last answer on this connection
        self.memo: tuple[object, bytes, float, Client] | None = None

    def known_as(self, finding: Finding, tenant: str | None, plan: str | None = None) -> Client:
        """The same client, with what was found about it."""
        return Client(
            self.address,
            self.address_bytes,
            self.key_address,
            finding.user,
            tenant,
            finding.api_key,
            finding.via,
            finding.error,
            finding.fault,
            plan,
            self.is_vouched_for,
        )

    def __repr__(self) -> str:
        known = "".join(
            f", {name}={value!r}"
            for name in ("user", "tenant", "api_key", "plan", "via", "fault")
            if (value := getattr(self, name))
        )
        return f"Client({self.address}{known})"


class Finding:
    """What a source of identity says about a request that carries its credentials: a user, or why there is none.

    It holds until `until_wall`. Shared by all requests with the same credentials, and never changed.
    """

    __slots__ = ("api_key", "error", "fault", "plan", "tenant", "until_wall", "user", "via")

    def __init__(
        self,
        via: str,
        user: str | None = None,
        *,
        tenant: str | None = None,
        api_key: str | None = None,
        error: ErrorKind | None = None,
        fault: str = "",
        until_wall: float = FOREVER,
        plan: str | None = None,
        is_vouched_for: bool = False,
    ) -> None:
        self.via = via
        self.user = user
        self.tenant = tenant
        self.api_key = api_key
        self.error = error
        self.fault = fault
        self.plan = plan
        self.until_wall = until_wall
