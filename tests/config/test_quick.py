"""`weir run --to URL --limit 20/s`: a configuration without a file."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.quick import quick
from proxy.core.units import Rate


def test_a_backend_alone_is_enough() -> None:
    loaded = quick(["http://localhost:3000"])
    assert loaded.diagnostics == ()
    assert loaded.snapshot is not None
    (route,) = loaded.snapshot.routes.routes
    assert (route.pattern, route.limits, route.cache) == ("/**", (), None)
    assert [address.label for address in route.upstream.primary] == ["localhost:3000"]


def test_every_option_has_its_effect() -> None:
    loaded = quick(
        ["http://localhost:3000"],
        replicas=["http://localhost:3001"],
        limits=["20/s", "1000/h per header:X-Device"],
        cache="5s",
        listen="[::1]:0",
        admin="off",
        store="redis://:pa$${NAME}@127.0.0.1",
    )
    assert [diagnostic.code for diagnostic in loaded.diagnostics] == ["WEIR0407"]  # nobody may set X-Device
    assert loaded.snapshot is not None
    assert loaded.settings is not None
    (route,) = loaded.snapshot.routes.routes
    assert [(limit.name, limit.rate, limit.by) for limit in route.limits] == [
        ("limit-1", Rate(20, 1.0), ("ip",)),
        ("limit-2", Rate(1000, 3600.0), ("header:X-Device",)),
    ]
    assert route.cache.ttl_s == 5.0
    assert len(route.upstream.replicas) == 1
    assert [listener.address for listener in loaded.settings.listeners] == ["[::1]:0"]
    assert (loaded.settings.admin, loaded.settings.store) == ("off", "redis://:pa$${NAME}@127.0.0.1")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"limits": ["20"]}, "--limit: `20` has no period", "write 20/s or 20/min"),
        ({"cache": "5"}, "--cache: `5` has no unit", "write 5s or 5ms"),
        ({"listen": "x"}, "--listen: `x` is not an address", "write 127.0.0.1:8080, [::]:8080 or unix:/run/weir.sock"),
        ({"replicas": ["x"]}, "--replica: `x` is not the address of an endpoint", None),
    ],
)
def test_what_is_wrong_is_said_of_the_option(options: dict[str, Any], message: str, hint: str | None) -> None:
    loaded = quick(["http://localhost:3000"], **options)
    (diagnostic,) = loaded.diagnostics
    assert loaded.snapshot is None
    assert diagnostic.message == message
    assert hint is None or diagnostic.hint == hint


def test_what_only_the_whole_can_tell_is_told_too() -> None:
    loaded = quick(["http://localhost:3000"], limits=["5/s per shoe"], store="nowhere")
    assert sorted(diagnostic.message for diagnostic in loaded.diagnostics) == [
        "`shoe` is nothing to count by",
        "the address of the store has no scheme that Weir knows",
    ]
