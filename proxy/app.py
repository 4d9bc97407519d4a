"""The composition root: builds every service, starts and stops them in order. The only file that knows everything."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

from proxy.accept import accept
from proxy.admin.listener import AdminListener
from proxy.announcer import Announcer
from proxy.cache.cache import Cache
from proxy.cache.precompute.runner import Precomputer
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.shared.tier import SharedTier
from proxy.clients.addresses import connection_client
from proxy.clients.jwks import Jwks
from proxy.config.addresses import parse_address
from proxy.config.diagnostics import render
from proxy.config.reload import Reloaded, reload
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ProxyError
from proxy.core.ids import RequestIds
from proxy.database.exporter import Exporter
from proxy.limits.controls import Controls
from proxy.limits.held import Held
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import keep_stats
from proxy.limits.shared.controls_store import ControlsStore
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.stage import Limiter
from proxy.observe.collector import Collector, Sources
from proxy.observe.events import Event
from proxy.observe.observe import Observe
from proxy.pipeline import ask
from proxy.replicas.recalling import concerns, recall
from proxy.replicas.replicas import Replicas
from proxy.server.drain import drain
from proxy.server.listeners import Listeners
from proxy.services import Services
from proxy.upstreams.registry import Registry
from proxy.wire.connect import open_connection
from proxy.wire.downstream import DownstreamConnection
from proxy.wire.host import Host
from proxy.wire.spool import spool_room
from proxy.wire.stage import explain
from proxy.wire.timers import Timers
from proxy.wire.upstream import UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.config.load import Loaded
    from proxy.config.settings import ListenSettings, Settings
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.limits.store import LimitStore
    from proxy.snapshot import Snapshot
    from proxy.upstreams.address import Address
    from proxy.upstreams.upstream import Upstream

DOWNSTREAM_SWEEP_S = 0.5
UPSTREAM_SWEEP_S = 0.1  # a response deadline is late by this at most


class App:
    """Everything that lives longer than an exchange, from its start to its end."""

    def __init__(self, loaded: Loaded) -> None:
        """`loaded` must be good: it has a snapshot."""
        assert loaded.snapshot is not None
        assert loaded.settings is not None
        self.loaded = loaded
        self.settings: Settings = loaded.settings  # of the start: listeners, admin and store follow no reload
        snapshot = loaded.snapshot
        self.observe = Observe()
        say = Announcer(self.observe.events)
        self.cache = Cache(snapshot.cache, self._refresh)
        if self.cache.disk is not None:
            self.cache.disk.tell = say.disk_changed
        self.purges = SharedPurges(self.cache, self._purges_url(), say.purges_changed)
        self.cache.shared = self._shared_tier(say)
        self.limit_store = self._limit_store(snapshot, say)
        self.controls = Controls(wall)
        self.controls.changed = self._controls_changed
        self.controls_store = ControlsStore(self.controls, self.settings.store)
        self.held = Held()
        limiter = Limiter(snapshot.limiter, self.limit_store, self.controls, self.held)
        self.registry: Registry[UpstreamConnection] = Registry(self._open, on_change=say.endpoint_changed)
        self.database = Exporter(self._database_changed, self._database_read)
        self.replicas = Replicas(say.server_changed, self.settings.store)
        self.cache.concerns = partial(concerns, replicas=self.replicas)
        self.cache.recall = partial(recall, replicas=self.replicas)
        self.jwks = Jwks()
        self.services = Services(
            snapshot, limiter, self.cache, self.registry, self.replicas, self.observe, RequestIds()
        )
        self.precomputer = Precomputer(
            self.cache,
            snapshot=lambda: self.snapshot,
            peer=connection_client(("127.0.0.1", 0)),
            next_id=self.services.ids.next,
            has_room=self._has_room,
            told=say.precompute_changed,
        )
        self.downstream_timers = Timers(DOWNSTREAM_SWEEP_S)
        self.upstream_timers = Timers(UPSTREAM_SWEEP_S)
        self.spool_room = spool_room(snapshot.wire)
        self.host = Host(
            limits=snapshot.wire,
            timers=self.downstream_timers,
            serve=partial(accept, self.services),
            refuse=self._refuse,
            welcome=self._welcome,
        )
        self.listeners = Listeners(self.host)
        self.collector = Collector(self._sources())
        self.admin = AdminListener(self)
        self.is_open = False
        self._reloading = asyncio.Lock()

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.services.snapshot

    # -- life --

    async def start(self) -> None:
        """Open everything, listeners last. Raises OSError when an address or the access log cannot be had."""
        loop = asyncio.get_running_loop()
        self.attach_stats()
        self.observe.start(self.snapshot.access_log, loop)
        self.downstream_timers.start(loop)
        self.upstream_timers.start(loop)
        self.registry.apply(self.snapshot.upstreams, monotonic())
        self.registry.start()
        self.database.start(self.snapshot.settings.pgbouncer, self.snapshot.settings.databases)
        self.replicas.apply(self.snapshot.consistencies)
        await self.replicas.start()
        await self.limit_store.start()
        await self.controls_store.start()
        await self.purges.start()
        self.held.start(self.limit_store)
        await self.cache.start()
        if self.cache.shared is not None:
            await self.cache.shared.start()
        await self.jwks.start(self.snapshot.identity)
        await self.admin.open(self.settings.admin)
        await self.listeners.open([_Listener(listener) for listener in self.settings.listeners])
        self.precomputer.apply(self.snapshot.precomputes, monotonic())
        self.precomputer.start()
        self.is_open = True

    async def stop(self) -> None:
        """Drain, then close in the reverse order. What is not done by the deadline is cut (W23)."""
        settings = self.settings.drain
        self.host.is_draining = True
        self.precomputer.stop()
        self.observe.events.say(Event.DRAIN_STARTED, "Draining.", connections=len(self.host.connections))
        if settings.delay:
            await asyncio.sleep(settings.delay)
        await self.listeners.close_sockets()
        cut = await drain(self.host, settings.timeout)
        if cut:
            self.observe.events.say(Event.DRAIN_CUT_SHORT, "The drain's time is over; connections are cut.", cut=cut)
        else:
            self.observe.events.say(Event.DRAIN_FINISHED, "Drained.")
        await self.close()

    async def close(self) -> None:
        """Close everything at once. Safe after a start that failed half way."""
        self.precomputer.stop()
        await self.listeners.stop()
        await self.admin.close()
        await self.database.stop()
        await self.registry.stop()
        await self.replicas.stop()
        await self.jwks.stop()
        self.held.stop()
        self.cache.stop()
        await self.purges.aclose()
        if self.cache.shared is not None:
            await self.cache.shared.aclose()
        await self.controls_store.aclose()
        await self.limit_store.aclose()
        self.downstream_timers.stop()
        self.upstream_timers.stop()
        self.observe.stop()

    async def reload(self) -> bool:
        """Read the configuration again: in force if it is sound, else nothing changes and it is said loudly.

        Reading and compiling happen in a thread, for a large configuration takes longer than a client should wait;
        the swap is one step of the loop. Reloads asked for meanwhile are done one after the other.
        """
        async with self._reloading:
            outcome = await asyncio.to_thread(reload, self.loaded)
            return self._take_over(outcome)

    def _take_over(self, outcome: Reloaded) -> bool:
        loaded = outcome.loaded
        if outcome.diagnostics:
            sys.stderr.write(render(outcome.diagnostics) + "\n")
        if loaded is None or loaded.snapshot is None:
            self.observe.events.say(
                Event.RELOAD_REFUSED,
                "The new configuration is refused; the old one stays in force.",
                errors=len(outcome.diagnostics),
                first=outcome.diagnostics[0].message if outcome.diagnostics else None,
            )
            return False
        snapshot = loaded.snapshot
        try:
            self.listeners.renew_certificates()
            self.observe.apply(snapshot.access_log, {route.name for route in snapshot.routes.routes})
        except OSError as error:  # a certificate or the access log
            self.observe.events.say(
                Event.RELOAD_REFUSED, "A file cannot be used; the old configuration stays in force.", error=str(error)
            )
            return False
        keep_stats(snapshot.limits, self.snapshot.limits)
        self.loaded = loaded
        self.services.snapshot = snapshot
        self.attach_stats()
        self.host.limits = snapshot.wire
        self.spool_room.apply(snapshot.wire)
        self.limit_store.apply(snapshot.limiter)
        self.services.limiter = Limiter(snapshot.limiter, self.limit_store, self.controls, self.held)
        self.cache.apply(snapshot.cache)
        self.registry.apply(snapshot.upstreams, monotonic())
        self.database.use(snapshot.settings.pgbouncer, snapshot.settings.databases)
        self._database_changed()
        self.registry.database_said(lambda name: False)  # the next reading, if there is one, comes at once
        self.replicas.apply(snapshot.consistencies)
        self.replicas.lessons.retain({route.name for route in snapshot.routes.routes})
        self.precomputer.apply(snapshot.precomputes, monotonic())
        self.jwks.use(snapshot.identity)
        self.observe.events.say(
            Event.RELOAD_OK,
            "The new configuration is in force.",
            version=snapshot.version,
            needs_restart=", ".join(outcome.needs_restart) or None,
        )
        return True

    def attach_stats(self) -> None:
        """Give every route its counters: the same ones for the same name over every reload."""
        for route in self.snapshot.routes.routes:
            object.__setattr__(route, "stats", self.observe.routes.for_route(route.name))

    # -- for the parts --

    def _sources(self) -> Sources:
        return Sources(
            observe=self.observe,
            snapshot=lambda: self.snapshot,
            limit_store=self.limit_store,
            cache=self.cache,
            endpoints=lambda: self.registry.endpoints,
            gates=lambda: self.registry.gates,
            upstreams=lambda: self.registry.groups,
            connections=self.host,
            controls=self.controls,
            database=self.database,
            replicas=self.replicas,
            precompute=self.precomputer,
            purges=self.purges,
        )

    def _refuse(self, connection: DownstreamConnection, error: ProxyError) -> bytes:
        source = connection.peer.address if connection.peer is not None else "?"
        self.observe.malformed.note(error.kind, source, error.detail, monotonic())
        response = explain(error, self.services.ids.next())
        content = response.content
        assert isinstance(content, bytes)
        lines = b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in response.fields])
        return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
            response.status,
            response.reason,
            lines,
            len(content),
            content,
        )

    def _welcome(self, connection: DownstreamConnection) -> None:
        connection.peer = peer = connection_client(connection.transport.get_extra_info("peername"))
        connection.peer_is_trusted = self.snapshot.trusted_proxies.trusts(peer.address)

    async def _refresh(self, exchange: Exchange) -> Response:
        return await ask(exchange, self.services)

    def _has_room(self, upstream: str) -> bool:
        """Nobody waits for the upstream, and a quarter of its slots would stay free."""
        gate = self.registry.gates.get(upstream)
        return gate is None or (gate.is_empty and gate.in_use < max(1, gate.slots * 3 // 4))

    def _open(self, upstream: Upstream, address: Address) -> Awaitable[UpstreamConnection]:
        tls = upstream.tls if address.is_tls else None
        return open_connection(
            host=address.host,
            port=address.port,
            unix_path=address.unix_path or None,
            ssl=tls.context if tls is not None else None,
            server_name=tls.name_for(address.tls_host) if tls is not None else None,
            timeout_s=upstream.pool.connect_timeout_s,
            max_head_bytes=self.snapshot.wire.max_head_bytes,
            timers=self.upstream_timers,
            room=self.spool_room,
        )

    def _limit_store(self, snapshot: Snapshot, say: Announcer) -> LimitStore:
        url = self.settings.store
        if url == "memory":
            return MemoryStore(snapshot.limiter.max_keys)
        return RedisStore(url, snapshot.limiter, say.store_changed)

    def _shared_tier(self, say: Announcer) -> SharedTier | None:
        settings = self.settings.cache.shared
        if settings is None:
            return None
        return SharedTier(settings, settings.url or self.settings.store, self.purges, say.shared_changed)

    def _purges_url(self) -> str:
        """Whoever shares responses has to share what ends them, also where limits are each Weir's own."""
        shared = self.settings.cache.shared
        if self.settings.store == "memory" and shared is not None and shared.url is not None:
            return shared.url
        return self.settings.store

    def _controls_changed(self, is_generous: bool) -> None:
        if is_generous:  # a denial that is remembered may be wrong now
            self.limit_store.forget(None)

    def _database_changed(self) -> None:
        self.registry.hold_back(self.database.share_of)

    def _database_read(self) -> None:
        self.registry.database_said(self.database.is_late)


class _Listener:
    """A configured listener as server/listeners.py wants it."""

    def __init__(self, settings: ListenSettings) -> None:
        address = parse_address(settings.address)
        self.host, self.port, self.path = address.host, address.port, address.path
        self.cert = settings.tls.cert if settings.tls is not None else None
        self.key = settings.tls.key if settings.tls is not None else None
