"""From what a server has to what each pool may open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.database.settings import DatabasePoolSettings, DatabaseSettings, PgBouncerSettings
from proxy.database.sizing import files_needed, max_clients, plan_servers

AUTO = DatabasePoolSettings()


def server(pools: dict[str, DatabasePoolSettings], **numbers: int) -> DatabaseSettings:
    return DatabaseSettings(
        **{"max_connections": 100, "superuser_reserved": 3, "reserved": 10, "cores": 2, **numbers}, pools=pools
    )  # type: ignore[arg-type]


SIZES = [
    pytest.param(server({"a": AUTO}), [8], True, id="four for each core"),
    pytest.param(server({"a": AUTO}, cores=64), [82], True, id="no more than there are"),
    pytest.param(server({"a": AUTO, "b": AUTO}, cores=64), [38, 38], True, id="equal parts"),
    pytest.param(server({"a": DatabasePoolSettings(size=60), "b": AUTO}, cores=64), [60, 17], True, id="what is left"),
    pytest.param(server({"a": DatabasePoolSettings(size=83)}), [83], False, id="one too many, with its reserve"),
    pytest.param(server({"a": DatabasePoolSettings(size=82)}), [82], True, id="exactly what there is"),
    pytest.param(server({"a": AUTO}, max_connections=14), [0], False, id="no room at all"),
    pytest.param(server({}, max_connections=14), [], True, id="no pools"),
]


@pytest.mark.parametrize(("settings", "sizes", "fits"), SIZES)
def test_a_pool_gets_its_size(settings: DatabaseSettings, sizes: list[int], fits: bool) -> None:
    [plan] = plan_servers({"main": settings})
    assert [pool.size for pool in plan.pools] == sizes
    assert plan.fits is fits


@given(
    st.integers(2, 500),
    st.integers(0, 50),
    st.integers(1, 64),
    st.lists(st.tuples(st.none() | st.integers(1, 100), st.integers(0, 20)), max_size=6),
)
def test_a_plan_that_fits_never_opens_more_than_the_server_has(
    most: int, reserved: int, cores: int, pools: list[tuple[int | None, int]]
) -> None:
    named = {f"p{n}": DatabasePoolSettings(size=size, reserve=reserve) for n, (size, reserve) in enumerate(pools)}
    [plan] = plan_servers({"main": server(named, max_connections=most, reserved=reserved, cores=cores)})
    if plan.fits:
        assert sum(pool.size + pool.reserve for pool in plan.pools) + reserved + 3 <= most or not plan.pools
        assert all(pool.size >= 1 for pool in plan.pools)


CLIENTS = [
    pytest.param({"clients": 1000}, 64, 1201, id="a fifth more, and the worker"),
    pytest.param({"clients": 1000, "workers": 8}, 64, 1208, id="several workers"),
    pytest.param({}, 64, 78, id="what Weir sends at most"),
    pytest.param({"clients": 1}, 0, 3, id="rounded up"),
]


@pytest.mark.parametrize(("settings", "in_flight", "expected"), CLIENTS)
def test_clients_are_let_in_with_a_margin(settings: dict[str, int], in_flight: int, expected: int) -> None:
    assert max_clients(PgBouncerSettings(**settings), in_flight) == expected  # type: ignore[arg-type]


def test_files_are_counted_for_clients_and_servers() -> None:
    plans = plan_servers({"main": server({"a": DatabasePoolSettings(size=20, reserve=5)})})
    assert files_needed(1201, plans) == 1201 + 25 + 100
