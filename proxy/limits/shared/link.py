"""The link to a store, whatever kind it is: a group of requests in, numbers out.

A link never asks twice, since a charge that may have happened must not happen again. The exceptions are those in which
the server itself says that nothing happened: it does not know the script and gets its source once (NOSCRIPT), or the
hash slot lives elsewhere and the question goes there once (MOVED, ASK).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proxy.limits.shared.cluster import ClusterLink
from proxy.limits.shared.group import Asked
from proxy.limits.shared.sentinel import SentinelLink
from proxy.limits.shared.single import Answer, OnAnswer, SingleLink
from proxy.store.errors import StoreLost
from proxy.store.url import CLUSTER, SENTINEL, parse_store_url

__all__ = ["Answer", "Link", "OnAnswer", "StoreLost", "link_to"]


class Link(Protocol):
    """What a store needs of its connections. Opened and closed any number of times, by one task."""

    @property
    def is_open(self) -> bool:
        """False as soon as the end of the connection was read, and after any failure that ends it."""

    @property
    def trouble(self) -> str | None:
        """What is amiss with a part of the store while the rest of it decides; for the operator, without secrets."""

    async def open(self) -> None:
        """Connect and log in, in a second or two. Raises StoreLost."""

    async def is_quiet(self) -> bool:
        """Whether a group may be sent now."""

    def send(self, group: Sequence[Asked], on_answer: OnAnswer) -> None:
        """Have the script decide a group. Does not wait. The answer comes within about a second.

        After StoreLost the group may have been charged or not: it must not be sent again.
        """

    async def evaluate(self, group: Sequence[Asked]) -> list[int | None]:
        """The same for who can wait. Raises StoreLost."""

    async def close(self) -> None:
        """Close at once. Never raises; safe to call twice."""


def link_to(url: str) -> Link:
    """Nothing is opened yet. Raises ValueError with one sentence for a URL that is no store's."""
    address = parse_store_url(url)
    if address.kind == SENTINEL:
        return SentinelLink(address)
    if address.kind == CLUSTER:
        return ClusterLink(address)
    return SingleLink(address.endpoints[0])
