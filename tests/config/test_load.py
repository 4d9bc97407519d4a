"""A path becomes a snapshot: names looked up, defaults applied, files put together."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import Loaded, load, load_text
from proxy.core.units import Rate
from proxy.routing.table import Match

ROOT = """
version: 1
listen: 127.0.0.1:8080                 # or a list; {address: 0.0.0.0:8443, tls: {cert: tls.crt, key: tls.key}}
admin: 127.0.0.1:9901
store: memory
trusted_proxies: [10.0.0.0/8]
upstreams:
  app:
    primary: [http://127.0.0.1:3000]
    replicas: [http://127.0.0.1:3001, http://127.0.0.1:3002]
    pool: {max_in_flight: 64, min_idle: 2, idle_timeout: 60s, connect_timeout: 1s, queue: 128, queue_timeout: 2s}
    health: {path: /healthz, interval: 2s}
include: [policies/*.yaml]
defaults: {upstream: app, limits: [per-ip]}
"""
MARKETPLACE = """
identity:
  user: {jwt: {keys: https://id.example.com/jwks.json, audience: shop, claim: sub}}
limits:
  per-ip:   {rate: 200/min, by: ip}
  per-user: {rate: 60/min, by: user, burst: 20}
  login:    {rate: 5/15min, by: ip, algorithm: sliding, on_store_error: local}
routes:
  - name: search
    match: {path: /api/search, methods: [GET]}
    upstream: app
    limits: [per-ip, {name: search, rate: 60/min, by: ip}]
    cache: {ttl: 60s, stale_while_revalidate: 30s, stale_if_error: 10m}
    read: replica
  - {name: buy, match: {path: /api/buy, methods: [POST]}, upstream: app, limits: [per-user, login]}
  - {name: rest, match: {path: /**}}
"""


def write(folder: Path, **files: str) -> str:
    """Files by their path with `__` for `/` and without `.yaml`; the path of the root file comes back."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(folder / "proxy.yaml")


def good(loaded: Loaded) -> Loaded:
    assert loaded.snapshot is not None, [str(diagnostic) for diagnostic in loaded.diagnostics]
    return loaded


@pytest.fixture
def sample(tmp_path: Path) -> Loaded:
    return good(load(write(tmp_path, proxy=ROOT, policies__marketplace=MARKETPLACE)))


def test_the_configuration_of_the_documentation_compiles_without_a_word(sample: Loaded) -> None:
    assert sample.diagnostics == ()
    assert sample.snapshot is not None
    assert [route.name for route in sample.snapshot.routes.routes] == ["search", "buy", "rest"]
    assert [limit.name for limit in sample.snapshot.limits] == ["per-ip", "per-user", "login", "search"]


def test_names_are_objects_in_the_snapshot(sample: Loaded) -> None:
    snapshot = sample.snapshot
    assert snapshot is not None
    search, buy, rest = snapshot.routes.routes
    assert search.upstream is buy.upstream is rest.upstream is snapshot.upstreams["app"]
    assert search.limits[0] is rest.limits[0] is snapshot.limits[0]
    assert (search.limits[1].name, search.limits[1].rate) == ("search", Rate(60, 60.0))
    assert (search.cache.ttl_s, search.cache.stale_if_error_s) == (60.0, 600.0)
    found = snapshot.routes.match("localhost", b"GET", "/api/search")
    assert isinstance(found, Match)
    assert found.route is search


def test_every_route_and_limit_knows_its_line(sample: Loaded, tmp_path: Path) -> None:
    snapshot = sample.snapshot
    assert snapshot is not None
    file = str(tmp_path / "policies" / "marketplace.yaml")
    assert [route.where for route in snapshot.routes.routes] == [f"{file}:9", f"{file}:15", f"{file}:16"]
    assert [limit.where for limit in snapshot.limits] == [f"{file}:5", f"{file}:6", f"{file}:7", f"{file}:12"]


def test_the_settings_hold_what_all_files_say(sample: Loaded, tmp_path: Path) -> None:
    settings = sample.settings
    assert settings is not None
    assert list(settings.limits) == ["per-ip", "per-user", "login"]
    assert len(settings.routes) == 3
    assert settings.identity is not None
    assert sample.files == (str(tmp_path / "proxy.yaml"), str(tmp_path / "policies" / "marketplace.yaml"))


def one_route(route: str, defaults: str = "{}", more: str = "") -> Loaded:
    return load_text(
        f"version: 1\nupstreams: {{app: {{primary: http://127.0.0.1:3000, replicas: [http://127.0.0.1:3001]}}}}\n"
        f"limits: {{a: {{rate: 1/s}}, b: {{rate: 2/s}}}}\ndefaults: {defaults}\n"
        f"routes: [{{name: all, upstream: app, {route}}}]\n{more}"
    )


@pytest.mark.parametrize(
    ("defaults", "route", "attribute", "value"),
    [
        ("{}", "", "timeout_s", 60.0),
        ("{timeout: 5s}", "", "timeout_s", 5.0),
        ("{timeout: 5s}", "timeout: 7s", "timeout_s", 7.0),
        ("{}", "", "max_body_bytes", None),
        ("{max_body: 1KiB}", "", "max_body_bytes", 1024),
        ("{max_body: 1KiB}", "max_body: 0B", "max_body_bytes", 0),
        ("{}", "", "read_primary", False),
        ("{read: primary}", "", "read_primary", True),
        ("{read: primary}", "read: replica", "read_primary", False),
        ("{}", "", "security_headers", False),
        ("{security_headers: true}", "", "security_headers", True),
        ("{security_headers: true}", "security_headers: false", "security_headers", False),
        ("{}", "upgrade: false", "upgrade", False),
        ("{}", "cache: off", "cache", None),
    ],
)
def test_a_route_says_it_or_the_defaults_do(defaults: str, route: str, attribute: str, value: object) -> None:
    snapshot = good(one_route(route, defaults)).snapshot
    assert snapshot is not None
    assert getattr(snapshot.routes.routes[0], attribute) == value


@pytest.mark.parametrize(
    ("defaults", "route", "names"),
    [
        ("{limits: [a]}", "", ["a"]),
        ("{limits: [a]}", "limits: [b]", ["b"]),
        ("{limits: [a]}", "limits: []", []),
        ("{limits: [{name: c, rate: 1/h}]}", "", ["c"]),
        ("{}", "", []),
    ],
)
def test_a_list_of_limits_takes_the_place_of_the_default_one(defaults: str, route: str, names: list[str]) -> None:
    snapshot = good(one_route(route, defaults)).snapshot
    assert snapshot is not None
    assert [limit.name for limit in snapshot.routes.routes[0].limits] == names


def test_one_limit_written_in_two_routes_counts_once() -> None:
    text = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:3000}}
routes:
  - {name: a, upstream: app, match: {path: /a}, limits: [{name: shared, rate: 5/s}]}
  - {name: b, upstream: app, match: {path: /b}, limits: [{name: shared, rate: 5/s}]}
"""
    snapshot = good(load_text(text)).snapshot
    assert snapshot is not None
    first, second = snapshot.routes.routes
    assert first.limits[0] is second.limits[0]


def test_the_version_follows_the_bytes_of_all_files(tmp_path: Path) -> None:
    def version() -> str:
        snapshot = good(load(str(tmp_path / "proxy.yaml"))).snapshot
        assert snapshot is not None
        return snapshot.version

    write(tmp_path, proxy=ROOT, policies__marketplace=MARKETPLACE)
    first = version()
    assert (version(), len(first)) == (first, 12)
    write(tmp_path, policies__marketplace=MARKETPLACE.replace("200/min", "201/min"))
    assert version() != first


def test_a_bad_route_does_not_hide_what_is_wrong_elsewhere(tmp_path: Path) -> None:
    policies = MARKETPLACE.replace("rate: 200/min", "rate: 200").replace(
        "limits: [per-user, login]", "limits: [nobody]"
    )
    loaded = load(write(tmp_path, proxy=ROOT.replace("store: memory", "stroe: memory"), policies__marketplace=policies))
    assert [diagnostic.code for diagnostic in loaded.diagnostics] == ["WEIR0102", "WEIR0131", "WEIR0202"]
    assert (loaded.snapshot, loaded.settings) == (None, None)


def test_relative_files_start_at_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "keys.txt").write_text(f"mobile: sha256:{'a' * 64}\n")
    (tmp_path / "etc" / "upstream").write_text("http://127.0.0.1:3000\n")
    text = """
version: 1
upstreams: {app: {primary: "${file:upstream}"}}
listen: {address: 127.0.0.1:0, tls: {cert: tls.crt, key: /run/tls.key}}
identity: {user: {api_key: {file: keys.txt}}}
routes: [{name: all, upstream: app}]
"""
    loaded = good(load(write(tmp_path / "etc", proxy=text)))
    assert loaded.settings is not None
    (listener,) = loaded.settings.listeners
    assert listener.tls is not None
    assert (listener.tls.cert, listener.tls.key) == (str(tmp_path / "etc" / "tls.crt"), "/run/tls.key")


def test_an_alias_is_the_same_as_writing_it_again() -> None:
    loaded = one_route("cache: *common", more="")
    assert "nothing before this is anchored" in loaded.diagnostics[0].message
    text = """
version: 1
x-cache: &common {ttl: 5s}
upstreams: {app: {primary: http://127.0.0.1:3000}}
routes: [{name: all, upstream: app, cache: *common}]
"""
    snapshot = good(load_text(text)).snapshot
    assert snapshot is not None
    assert snapshot.routes.routes[0].cache.ttl_s == 5.0


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    loaded = load(str(tmp_path))
    assert [diagnostic.message for diagnostic in loaded.diagnostics] == ["the file cannot be read: no such file"]


def test_the_same_file_is_included_once(tmp_path: Path) -> None:
    root = ROOT.replace("[policies/*.yaml]", "[policies/*.yaml, policies/marketplace.yaml, ./proxy.yaml]")
    loaded = good(load(write(tmp_path, proxy=root, policies__marketplace=MARKETPLACE)))
    assert len(loaded.files) == 2


def test_tests_of_policies_beside_them_are_no_policies(tmp_path: Path) -> None:
    files = {"policies__marketplace": MARKETPLACE, "policies__marketplace.test": "tests: []\n"}
    assert len(good(load(write(tmp_path, proxy=ROOT, **files))).files) == 2


def test_errors_without_end_are_counted_and_not_shown() -> None:
    loaded = load_text("version: 1\n" + "".join(f"key{number}: 1\n" for number in range(150)))
    assert len(loaded.diagnostics) == 102
    assert loaded.diagnostics[-1].message == "50 more errors are not shown"
