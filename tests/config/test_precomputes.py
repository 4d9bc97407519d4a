"""Which responses a `precompute:` stands for: their keys are those that clients' requests have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.key import cache_key
from proxy.cache.policy import CachePolicy, describe_cache
from proxy.cache.precompute.target import targets_of
from proxy.config.diagnostics import render
from proxy.config.load import load

HEAD = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:9}}
defaults: {upstream: app, timeout: 20s}
"""


def loaded(folder: Path, text: str) -> Any:
    path = folder / "proxy.yaml"
    path.write_text(HEAD + text)
    found = load(str(path), environment={})
    assert found.snapshot is not None, render(found.diagnostics)
    return found.snapshot


def keys(precompute: Any) -> list[str]:
    return [target.key.decode() for target in precompute.targets]


ORIGINS = [
    ("the listener", "listen: 127.0.0.1:8080", "", "", ["http://127.0.0.1:8080/a"]),
    (
        "each listener that says where it is",
        "listen: [127.0.0.1:80, 0.0.0.0:8080, '[::1]:8081', unix:/run/weir.sock]",
        "",
        "",
        ["http://127.0.0.1/a", "http://[::1]:8081/a"],
    ),
    ("the hosts of the route", "", "hosts: [Shop.example, '*.example']", "", ["http://shop.example/a"]),
    (
        "what is written, before all",
        "",
        "",
        "hosts: [shop.example, 'https://shop.example:8443', 'https://shop.example:443']",
        ["http://shop.example/a", "https://shop.example:8443/a", "https://shop.example/a"],
    ),
    (
        "one response once",
        "",
        "",
        "hosts: [shop.example, SHOP.example., 'shop.example:80'], paths: [/a, '/a?utm=1', '/a?q=1', '/a?utm=2&q=1']",
        ["http://shop.example/a", "http://shop.example/a?q=1"],
    ),
]


@pytest.mark.parametrize(("root", "match", "more", "found"), [row[1:] for row in ORIGINS], ids=[r[0] for r in ORIGINS])
def test_the_hosts_are_those_that_are_certain(
    tmp_path: Path, root: str, match: str, more: str, found: list[str]
) -> None:
    route = (
        f"{{name: a, match: {{path: /a, {match}}}, cache: {{ignore_query: [utm]}}, precompute: {{every: 10m, {more}}}}}"
    )
    (precompute,) = loaded(tmp_path, f"{root}\nroutes:\n  - {route}\n").precomputes
    assert keys(precompute) == found


def test_everything_has_its_numbers_and_the_names_of_its_path(tmp_path: Path) -> None:
    text = """
routes:
  - name: reports
    match: {path: "/reports/{id}"}
    cache: {ttl: 5s}
    rewrite: {path: "/r/{id}"}
    precompute: {every: 10m, timeout: 30s, keep: 2h, paths: [/reports/7, /reports/8], hosts: [shop.example]}
"""
    snapshot = loaded(tmp_path, text)
    (precompute,) = snapshot.precomputes
    assert (precompute.patience_s, precompute.route.timeout_s, precompute.numbers.fresh_s) == (20.0, 30.0, 630.0)
    assert list(precompute.params.values()) == [{"id": "7"}, {"id": "8"}]
    (route,) = snapshot.routes.routes
    assert set(route.cache.precomputed) == {b"http://shop.example/reports/7", b"http://shop.example/reports/8"}
    ahead = route.cache.precomputed[b"http://shop.example/reports/7"]
    assert (route.cache.ttl_s, ahead.ttl_s, ahead.stale_on_error_s) == (5.0, 630.0, 7200.0 - 630.0)
    assert "2 responses fetched before anybody asks" in describe_cache(route.cache)


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.from_regex(r"[a-zA-Z0-9]{1,8}(\.[a-zA-Z]{1,5}){0,2}(:[0-9]{1,4})?", fullmatch=True),
    path=st.from_regex(r"/[a-z/]{0,10}(\?[a-z=&]{0,10})?", fullmatch=True),
)
def test_the_key_of_a_target_is_that_of_a_request_for_it(scheme: str, host: str, path: str) -> None:
    (target,) = targets_of(CachePolicy(), [path], [(scheme, host)])
    request = target.request("name", [])
    assert target.key == cache_key(request.scheme, request.authority, request.target)
    assert target.key == cache_key(scheme, host.swapcase().encode(), path.encode()), "however a client writes the host"
    assert request.index[b"host"] == host.encode()
