"""Allow and deny lists: some clients, by address or by what is verified about them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

KINDS: Final = ("user", "tenant", "api_key")
_FORM: Final = "write a network such as 10.0.0.0/8, or user:alice, tenant:acme, api_key:ci"


class Subject(Protocol):
    """What is looked at of a client. Names are there only when they were verified."""

    @property
    def address(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def api_key(self) -> str | None: ...


class Subjects:
    """A list of clients, compiled. False when it is empty."""

    __slots__ = ("_names", "_networks")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Raises ValueError for an entry that `check_subject` refuses."""
        self._names: set[tuple[str, str]] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            kind, _, name = check_subject(entry).partition(":")
            if kind in KINDS:
                self._names.add((kind, name))
            else:
                self._networks.append(ip_network(entry))

    def __bool__(self) -> bool:
        return bool(self._names or self._networks)

    def find(self, client: Subject) -> str | None:
        """The entry that the client falls under, as it is written in a list, or None. Microseconds: remember it."""
        for kind in KINDS:
            if (name := getattr(client, kind)) and (kind, name) in self._names:
                return f"{kind}:{name}"
        if self._networks:
            try:
                address = ip_address(client.address)
            except ValueError:  # a peer on a unix socket
                return None
            for network in self._networks:
                if address in network:
                    return str(network)
        return None


def check_subject(entry: str) -> str:
    """The entry itself. Raises ValueError when it names nobody that could be known."""
    kind, colon, name = entry.partition(":")
    if kind in KINDS and colon:
        if not name or not name.isprintable():
            raise ValueError(f"`{entry[:80]}` names nobody; {_FORM}")
        return entry
    try:
        ip_network(entry)
    except ValueError:
        raise ValueError(_why_not(entry)) from None
    return entry


def _why_not(entry: str) -> str:
    try:
        return f"`{entry}` has bits set beyond its prefix; write {ip_network(entry, strict=False)}"
    except ValueError:
        return f"`{entry[:80]}` is nobody that Weir can know; {_FORM}"
