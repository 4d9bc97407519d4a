"""Which address counts as the client's: the peer's own, or the one that a trusted proxy vouches for.

A forwarding field is a list that every proxy appends to, so only its right end is known to be true. It is read from
the right, trusted proxies are skipped, and the first address that is not one is the client. What stands further left
was written by the client, or could have been.

One field decides, the first that is there of
  1. X-Forwarded-For,
  2. Forwarded (RFC 7239),
  3. CF-Connecting-IP.
Nearly every proxy appends to the first, and passes the other two on as the client sent them: were Forwarded to win, a
client behind an ordinary load balancer could choose its address. A proxy that writes only Forwarded or only
CF-Connecting-IP must therefore remove X-Forwarded-For; when fields disagree, the later ones are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, ip_network
from typing import Any, Final

from proxy.clients.client import Client
from proxy.clients.forwarded import forwarded_for
from proxy.clients.ip_text import canonical_address, limit_key, packed_address, read_hop
from proxy.clients.recent import Recent
from proxy.http.message import Request

UNIX: Final = "unix"
"""The address of a peer on a unix socket, and how `trusted_proxies` names it."""

_MOST_HOPS: Final = 32  # of a chain; a longer one is not a chain of proxies
_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 256  # bytes of a forwarding field

_Prefixes = tuple[tuple[int, frozenset[int]], ...]  # (how far to shift, the networks' numbers shifted that far)


class TrustedProxies:
    """The peers whose word about others is believed. Networks are sets by prefix length: no scan, no objects."""

    __slots__ = ("_trusted", "_trusts_unix", "_v4", "_v6", "clients")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        """`cidrs` are networks or addresses, or "unix". Raises ValueError for anything else."""
        networks: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._trusts_unix = False
        for cidr in cidrs:
            if cidr == UNIX:
                self._trusts_unix = True
                continue
            version, shift, number = _read_network(cidr)
            networks[version].setdefault(shift, set()).add(number)
        self._v4, self._v6 = _frozen(networks[4]), _frozen(networks[6])
        self._trusted: Recent[str, bool] = Recent(_REMEMBERED)
        self.clients: Recent[bytes, Client] = Recent(_REMEMBERED)  # forwarding field -> whom it names

    def trusts(self, ip_text: str) -> bool:
        """Whether an address belongs to a trusted proxy. What is no address is not trusted."""
        found = self._trusted.get(ip_text)
        if found is None:
            found = self._decide(ip_text)
            if len(ip_text) <= _LONGEST_REMEMBERED:
                self._trusted.put(ip_text, found)
        return found

    def _decide(self, ip_text: str) -> bool:
        packed = packed_address(ip_text)
        if packed is None:
            return ip_text == UNIX and self._trusts_unix
        number = int.from_bytes(packed, "big")
        return any(number >> shift in numbers for shift, numbers in (self._v4 if len(packed) == 4 else self._v6))


def connection_client(peername: Any) -> Client:
    """The client of a connection by itself, from the transport's `peername`. Made once per connection."""
    if isinstance(peername, tuple) and peername and (address := canonical_address(str(peername[0]))) is not None:
        return _plain(address)
    # RFC 7239 §6: what cannot be named is unknown; the name of a socket would tell about the inside
    return Client(UNIX, b"unknown", b"unix")


def client_address(peer: str, request: Request, trusted: TrustedProxies) -> str:
    """The client's canonical address. `peer` is the canonical address of the connection's other end."""
    if not trusted.trusts(peer):
        return peer
    index = request.index
    if (value := index.get(b"x-forwarded-for")) is not None:
        hops = value.decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
    elif (value := index.get(b"forwarded")) is not None:
        hops = (forwarded_for(value.decode("latin-1")) or [])[-_MOST_HOPS:]
    elif (value := index.get(b"cf-connecting-ip")) is not None:
        hops = [value.decode("latin-1")]
    else:
        return peer
    return _walk(hops, trusted) or peer


def forwarded_client(peer: Client, request: Request, trusted: TrustedProxies) -> Client:
    """The client that a trusted `peer` speaks for; `peer` itself when it names nobody. Remembers recent ones."""
    peer.is_vouched_for = True
    index = request.index
    key = index.get(b"x-forwarded-for")
    if key is None:
        if (key := index.get(b"forwarded")) is not None:
            key = b"\0forwarded" + key  # the same text means another thing in another field; no value has a NUL
        elif (key := index.get(b"cf-connecting-ip")) is not None:
            key = b"\0cf" + key
        else:
            return peer
    client = trusted.clients.get(key)
    if client is not None:
        return client
    address = client_address(peer.address, request, trusted)
    if address == peer.address:
        return peer
    client = _plain(address)
    client.is_vouched_for = True
    if len(key) <= _LONGEST_REMEMBERED:
        trusted.clients.put(key, client)
    return client


def _plain(address: str) -> Client:
    return Client(address, address.encode("ascii"), limit_key(address))


def _walk(hops: list[str], trusted: TrustedProxies) -> str:
    """The first untrusted address from the right; else the last one that could be read; "" when none could."""
    good = ""
    for hop in reversed(hops):
        address = read_hop(hop)
        if address is None:
            break
        good = address
        if not trusted.trusts(address):
            break
    return good


def _read_network(cidr: str) -> tuple[int, int, int]:
    """(version, shift, number shifted) of a network; one of IPv4 addresses inside IPv6 becomes one of IPv4."""
    try:
        network = ip_network(cidr)
    except ValueError:
        raise ValueError(f"`{cidr[:60]}` is not a network; write 10.0.0.0/8, 2001:db8::/32 or unix") from None
    length, first = network.prefixlen, network.network_address
    if isinstance(first, IPv6Address) and length >= 96:
        packed = packed_address(str(first))
        if packed is not None and len(packed) == 4:
            network = IPv4Network((int.from_bytes(packed, "big"), length - 96))
    shift = network.max_prefixlen - network.prefixlen
    return network.version, shift, int(network.network_address) >> shift


def _frozen(networks: dict[int, set[int]]) -> _Prefixes:
    return tuple((shift, frozenset(numbers)) for shift, numbers in sorted(networks.items()))
