"""A real snapshot and a real route for who needs one of which hardly anything matters."""

from __future__ import annotations

from typing import Any

from proxy.clients.addresses import TrustedProxies
from proxy.routing.route import Route
from proxy.routing.table import RouteTable
from proxy.snapshot import Snapshot


def a_snapshot(**parts: Any) -> Snapshot:
    """With `parts` as they are given, and nothing else in it."""
    nothing: dict[str, Any] = {
        "version": "0123456789ab",
        "loaded_at_wall": 0.0,
        "routes": RouteTable(()),
        "upstreams": {},
        "trusted_proxies": TrustedProxies(),
        "identity": None,
        "private_fields": frozenset(),
        "limits": (),
        "wire": None,
        "limiter": None,
        "cache": None,
        "access_log": None,
        "consistencies": (),
        "settings": None,
    }
    return Snapshot(**{**nothing, **parts})


def a_route(name: str = "search", **parts: Any) -> Route:
    """One that matches everything."""
    nothing = {"index": 0, "where": "t.yaml:1", "hosts": (), "methods": frozenset(), "pattern": "/**", "upstream": None}
    return Route(name, **{**nothing, **parts})
