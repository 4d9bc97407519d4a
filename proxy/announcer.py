"""What the operator is told when a part of Weir fails, or is back. The parts call it, and know nothing of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.cache.disk.store import BACK, LOST
from proxy.observe.events import Event

if TYPE_CHECKING:
    from proxy.cache.precompute.runner import Ahead
    from proxy.observe.events import Events
    from proxy.upstreams.endpoint import Endpoint


class Announcer:
    """`lost`, `why`, `trouble` and `error` say what is wrong; None, or nothing: it is well again."""

    def __init__(self, events: Events) -> None:
        self._say = events.say

    def store_changed(self, lost: str | None) -> None:
        if lost is None:
            self._say(Event.STORE_BACK, "The store is back; limits are shared again.")
        else:
            self._say(Event.STORE_LOST, "The store is away; limits are counted in this process.", error=lost)

    def shared_changed(self, lost: str | None) -> None:
        if lost is None:
            self._say(Event.SHARED_CACHE_BACK, "The shared cache is back.")
        else:
            self._say(Event.SHARED_CACHE_LOST, "The shared cache is away; responses stay in this process.", error=lost)

    def purges_changed(self, lost: str | None) -> None:
        if lost is None:
            self._say(Event.PURGES_SHARED, "Purges are shared with the other Weirs again.")
        else:
            self._say(
                Event.PURGES_NOT_SHARED,
                "Purges and writes of other Weirs are not heard of, and those here wait to be announced.",
                error=lost,
            )

    def disk_changed(self, what: str, why: str | None) -> None:
        if what == LOST:
            self._say(Event.CACHE_DISK_LOST, "The cache's disk cannot be used; large responses pass.", error=why)
        elif what == BACK:
            self._say(Event.CACHE_DISK_BACK, "The cache's disk is back.")
        else:
            self._say(Event.CACHE_FILE_LOST, "A stored file cannot be read; it is fetched anew.", error=why)

    def precompute_changed(self, ahead: Ahead, error: str) -> None:
        name, url = ahead.precompute.name, ahead.target.url.partition("?")[0]  # a query may hold anything
        if error:
            text = "A response that is fetched ahead could not be renewed; the last good one stays while it may."
            self._say(Event.PRECOMPUTE_FAILED, text, route=name, url=url, error=error)
        else:
            self._say(Event.PRECOMPUTE_BACK, "It could be renewed again.", route=name, url=url)

    def endpoint_changed(self, endpoint: Endpoint[Any]) -> None:
        name, label = endpoint.upstream_name, endpoint.address.label
        if endpoint.healthy:
            self._say(Event.ENDPOINT_BACK, "An endpoint is back.", upstream=name, endpoint=label)
        else:
            said = "An endpoint is out; it is skipped while there are others."
            self._say(Event.ENDPOINT_OUT, said, upstream=name, endpoint=label, error=endpoint.last_error)

    def server_changed(self, server: str, is_primary: bool, trouble: str | None) -> None:
        if is_primary and trouble is not None:
            words = "The primary database does not tell where it stands; reads go to the primary."
            self._say(Event.DATABASE_LOST, words, server=server, reason=trouble)
        elif is_primary:
            self._say(Event.DATABASE_BACK, "The primary database tells again where it stands.", server=server)
        elif trouble is not None:
            self._say(Event.REPLICA_OUT, "A replica has left the rotation.", server=server, reason=trouble)
        else:
            self._say(Event.REPLICA_BACK, "A replica is back in the rotation.", server=server)
