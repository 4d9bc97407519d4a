"""An upstream as the line sees it: addresses parsed, TLS ready, numbers in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from proxy.upstreams.adaptive import AdaptiveRules
from proxy.upstreams.address import Address, parse_address
from proxy.upstreams.ejection import EjectionRules
from proxy.upstreams.hedging import HedgeRules
from proxy.upstreams.hold import HoldRules
from proxy.upstreams.retry import RetryRules
from proxy.upstreams.settings import (
    AdaptiveSettings,
    EjectSettings,
    FallbackSettings,
    HealthSettings,
    PoolSettings,
    RetrySettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from proxy.upstreams.shed import ShedRules
from proxy.upstreams.tls import UpstreamTls, compile_tls

__all__ = ["Fallback", "HealthRules", "PoolNumbers", "Upstream", "compile_fallback", "compile_upstream"]


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """Bounds of the pool of one endpoint, and of the queue before all of them."""

    max_in_flight: int = 64  # leases, connects under way included; also the most connections that are ever open
    min_idle: int = 0
    max_idle: int = 64  # fewer than max_in_flight would close connections that the next moment opens again
    idle_timeout_s: float = 60.0
    max_lifetime_s: float = 300.0
    connect_timeout_s: float = 1.0
    queue: int = 128  # waiting exchanges, of the upstream
    queue_timeout_s: float = 2.0
    queue_bytes: int = 64 << 20  # of content that they hold
    max_in_flight_total: int | None = None  # leases at all endpoints of the upstream; None: no bound of their own
    adaptive: AdaptiveRules | None = None  # None: the bounds above are all
    shed: ShedRules | None = None  # None: nobody is refused for the sake of better classes that may come


@dataclass(frozen=True, slots=True)
class HealthRules:
    """Active checks of one endpoint."""

    path: str
    interval_s: float = 2.0
    timeout_s: float = 2.0
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True)
class Fallback:
    """What clients get when nobody of the upstream can be asked, and nothing stored stands in."""

    status: int
    content_type: bytes
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """One compiled upstream. `name` is its identity over a reload; an address may be primary and replica at once."""

    name: str
    primary: tuple[Address, ...]  # never empty
    replicas: tuple[Address, ...] = ()
    select: str = "round_robin"  # a key of selection.POLICIES
    pool: PoolNumbers = PoolNumbers()
    health: HealthRules | None = None
    tls: UpstreamTls | None = None  # set when an address is https
    eject: EjectionRules | None = field(
        default_factory=EjectionRules
    )  # None: what endpoints answer never takes them out
    retry: RetryRules = field(default_factory=RetryRules)
    hold: HoldRules = field(default_factory=HoldRules)
    hedge: HedgeRules | None = None
    slow_start_s: float = 30.0
    fallback: Fallback | None = None
    resolve_s: float = 0.0  # look up names this often; 0: never
    passes_host: bool = True  # False: the endpoint sees `Address.authority` as its Host


def compile_upstream(settings: UpstreamSettings, name: str) -> Upstream:
    """The upstream `name`. Reads the TLS files; raises ValueError when one is unusable."""
    primary = tuple(parse_address(url) for url in settings.primary)
    replicas = tuple(parse_address(url) for url in settings.replica_urls)
    needs_tls = any(address.is_tls for address in primary + replicas)
    return Upstream(
        name=name,
        primary=primary,
        replicas=replicas,
        select=settings.select,
        pool=_compile_pool(settings.pool),
        health=_compile_health(settings.health) if settings.health else None,
        tls=compile_tls(settings.tls or UpstreamTlsSettings()) if needs_tls else None,
        eject=None if settings.eject == "off" else _compile_eject(settings.eject),
        retry=RetryRules(attempts=0) if settings.retry == "off" else _compile_retry(settings.retry),
        hold=HoldRules(settings.hold_on_refused, settings.hold_requests, settings.hold_bytes),
        hedge=None
        if settings.hedge == "off"
        else HedgeRules(settings.hedge.extra, settings.hedge.least, settings.hedge.most),
        slow_start_s=settings.slow_start,
        fallback=compile_fallback(settings.fallback),
        resolve_s=0.0 if settings.resolve == "off" else settings.resolve,
        passes_host=settings.host == "pass",
    )


def _compile_pool(settings: PoolSettings) -> PoolNumbers:
    return PoolNumbers(
        max_in_flight=settings.max_in_flight,
        min_idle=settings.min_idle,
        max_idle=settings.max_in_flight if settings.max_idle is None else settings.max_idle,
        idle_timeout_s=settings.idle_timeout,
        max_lifetime_s=settings.max_lifetime,
        connect_timeout_s=settings.connect_timeout,
        queue=settings.queue,
        queue_timeout_s=settings.queue_timeout,
        queue_bytes=settings.queue_bytes,
        max_in_flight_total=settings.max_in_flight_total,
        adaptive=_compile_adaptive(settings.adaptive),
        shed=None if settings.shed == "off" else ShedRules(settings.shed.background, _part(settings.shed.normal)),
    )


def _compile_adaptive(settings: AdaptiveSettings) -> AdaptiveRules | None:
    if settings.mode == "off":
        return None
    return AdaptiveRules(settings.mode == "enforce", settings.min, settings.tolerance, settings.measure)


def _part(value: float | Literal["off"]) -> float | None:
    return None if value == "off" else value


def _compile_health(settings: HealthSettings) -> HealthRules:
    return HealthRules(
        path=settings.path,
        interval_s=settings.interval,
        timeout_s=settings.timeout,
        rise=settings.rise,
        fall=settings.fall,
    )


def _compile_eject(settings: EjectSettings) -> EjectionRules:
    return EjectionRules(
        consecutive=settings.consecutive,
        ratio=settings.ratio,
        min_requests=settings.min_requests,
        base_s=settings.base,
        max_s=settings.max,
        panic=settings.panic,
        statuses=frozenset(settings.statuses),
        open_s=settings.open,
        open_max_s=settings.open_max,
    )


def _compile_retry(settings: RetrySettings) -> RetryRules:
    return RetryRules(
        attempts=settings.attempts,
        on_connect="connect" in settings.on,
        on_reset="reset" in settings.on,
        on_statuses=frozenset(int(word) for word in settings.on if isinstance(word, int)),
        base_s=settings.base,
        max_s=settings.max,
        retry_after_s=settings.retry_after,
        again_within_s=settings.again_within,
        budget=settings.budget,
        floor_per_s=settings.floor.count / settings.floor.period_s,
    )


def compile_fallback(settings: FallbackSettings | None) -> Fallback | None:
    if settings is None:
        return None
    return Fallback(settings.status, settings.content_type.encode("ascii"), settings.body.encode())
