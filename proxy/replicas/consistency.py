"""`consistency` of an upstream as the line sees it. The route holds it; what is alive behind it is in `replicas`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from proxy.core.dsn import label_of
from proxy.replicas.choice import Rules
from proxy.replicas.settings import ConsistencySettings


@dataclass(frozen=True, slots=True, eq=False)
class Consistency:
    """Compiled. `source` tells which upstreams share what clients must see: those with the same primary database."""

    upstream: str
    source: str
    primary: str | None  # DSN; None: time decides
    databases: Mapping[Any, str]  # address of a replica's endpoint -> DSN
    rules: Rules
    ttl_s: float
    is_inline: bool
    is_monotonic: bool
    sets_cookie: bool
    pin_s: float
    primary_slots: int  # for reads that no replica can answer; 0: no bound
    cookie: bytes  # its name, without the prefix of https
    audience: bytes


def compile_consistency(
    settings: ConsistencySettings, upstream: str, primary: str | None, databases: Mapping[Any, str], slots: int
) -> Consistency | None:
    """For an upstream with replicas; None where nothing is promised. `slots` are those of all primary endpoints."""
    if primary is None and not settings.pin:
        return None
    # without user and password: these may differ between Weirs, and change
    source = f"upstream {upstream}" if primary is None else f"database {label_of(primary)}"
    digest = sha256(source.encode()).digest()
    return Consistency(
        upstream=upstream,
        source=source,
        primary=primary,
        databases=databases,
        rules=Rules(settings.max_lag, settings.wait),
        ttl_s=settings.ttl,
        is_inline=settings.mode == "inline",
        is_monotonic=settings.monotonic,
        sets_cookie=settings.cookie,
        pin_s=settings.pin,
        primary_slots=max(1, int(slots * settings.primary_share)) if settings.primary_share < 1.0 else 0,
        cookie=b"weir-floor-" + digest[:4].hex().encode(),
        audience=digest,
    )
