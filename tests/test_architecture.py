"""The shape of the house: who may import whom. The tables here are the documentation of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "proxy"
FEATURES = ("clients", "routing", "limits", "cache", "upstreams", "database", "replicas")

# what a file's floor is, first match wins; imports go down or stay on the floor
PURE_SHARED = frozenset({"deny_cache", "group", "last_seen", "leases", "orders", "parts", "share", "slices", "slots"})
PURE_TIER = frozenset({"form", "names", "orders", "scripts", "stats"})
FLOORS: tuple[tuple[str, int], ...] = (
    ("__init__", 0),
    ("core/", 0),
    ("http/", 0),
    ("exchange", 2),
    ("snapshot", 2),
    ("services", 5),
    ("pipeline", 5),
    ("accept", 5),
    ("over_limit", 5),
    ("consistent", 5),
    ("server/", 6),
    ("admin/settings", 1),
    ("admin/", 6),
    ("app", 7),
    ("announcer", 7),
    ("process", 7),
    ("cli/", 7),
    ("__main__", 7),
    ("config/", 3),
    ("observe/stage", 4),
    ("observe/", 3),
    ("wire/settings", 1),
    ("wire/limits", 1),
    ("wire/pace", 1),
    ("wire/request_line", 1),
    ("wire/stage", 4),
    ("wire/", 3),
    ("*/stage", 4),
    ("*/*_store", 3),
    ("store/breaker", 1),
    ("store/errors", 1),
    ("store/", 3),
    *[(f"limits/shared/{name}", 1) for name in sorted(PURE_SHARED)],
    ("limits/shared/", 3),
    *[(f"cache/shared/{name}", 1) for name in sorted(PURE_TIER)],
    ("cache/shared/", 3),
    ("limits/held", 3),
    ("limits/turns", 3),
    ("clients/jwks", 3),
    ("cache/disk/", 3),
    ("cache/fill", 3),
    ("cache/reader", 3),
    ("cache/flights", 3),
    ("cache/refresh", 4),
    ("cache/cache", 3),
    ("cache/errand", 3),
    ("cache/arrival", 3),
    ("cache/landing", 3),
    ("cache/courier", 3),
    ("cache/taking", 4),
    ("cache/bringing", 4),
    ("cache/request_key", 4),
    ("database/console", 3),
    ("database/exporter", 3),
    ("database/doctor", 3),
    ("cache/precompute/run", 4),
    ("cache/precompute/runner", 4),
    ("cache/purges/link", 3),
    ("cache/purges/shared", 3),
    ("simulation/log_files", 3),
    ("simulation/cases", 3),
    ("simulation/engine", 5),
    ("simulation/replay", 5),
    ("simulation/simulate", 5),
    ("simulation/trial", 5),
    ("replicas/recalling", 4),
    ("replicas/writing", 4),
    ("replicas/replicas", 3),
    ("replicas/monitor", 3),
    ("replicas/watcher", 3),
    ("upstreams/registry", 3),
    ("upstreams/group", 3),
    ("upstreams/endpoint", 3),
    ("upstreams/pool", 3),
    ("upstreams/claims", 3),
    ("upstreams/gate", 3),
    ("upstreams/line", 3),
    ("upstreams/lines", 3),
    ("upstreams/bid", 3),
    ("upstreams/attempt", 3),
    ("upstreams/hedged", 3),
    ("upstreams/again", 3),
    ("upstreams/idle", 3),
    ("upstreams/lease", 3),
    ("upstreams/prober", 3),
    ("upstreams/resolver", 3),
    ("*/*", 1),
)
# pure files read no clock, draw no lots and touch nothing outside; these three give floor 0 its clock, ids and tasks
IMPURE = frozenset({"asyncio", "aiohttp", "redis", "asyncpg", "logging", "random", "time", "prometheus_client"})
CLOCKS = frozenset({"core/clock", "core/ids", "core/tasks"})
# a third party has one door
DOORS: dict[str, tuple[str, ...]] = {
    "httptools": ("wire/",),
    "uvloop": ("process",),
    "redis": ("store/", "*/*_store", "limits/shared/sentinel"),
    "hiredis": ("store/wire",),
    "asyncpg": ("database/doctor", "replicas/watcher"),
    "yaml": ("config/",),
    "pydantic": ("core/settings", "config/", "*/settings", "cache/precompute/settings"),
    "prometheus_client": ("observe/",),
    "jwt": ("clients/",),
    "cryptography": ("clients/",),
    "typer": ("cli/", "__main__"),
    "rich": ("cli/",),
    "aiohttp": ("server/", "admin/", "clients/jwks", "upstreams/prober", "cli/"),
}


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.rglob("*.py"))


def matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*/"):
        rest = name.partition("/")[2]
        if not rest:
            return False
        tail = pattern[2:]
        return tail == "*" or rest == tail or (tail.startswith("*") and rest.endswith(tail[1:]))
    return name == pattern or (pattern.endswith("/") and name.startswith(pattern))


def floor(name: str) -> int:
    return next(number for pattern, number in FLOORS if matches(name, pattern))


@cache
def imports(name: str, *, typing_too: bool = False) -> tuple[str, ...]:
    """What is imported when the module runs; also what is imported for annotations only, if asked."""
    return tuple(_imports(name, typing_too))


def _imports(name: str, typing_too: bool) -> Iterator[str]:
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    for_typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not typing_too and id(node) in for_typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> Iterator[str]:
    for module in imports(name):
        if module.startswith("proxy."):
            path = module.removeprefix("proxy.").replace(".", "/")
            if (ROOT / f"{path}.py").exists():
                yield path


@pytest.mark.parametrize("name", modules())
def test_imports_go_down_only(name: str) -> None:
    if name.endswith("__init__"):
        return
    higher = [other for other in ours(name) if floor(other) > floor(name)]
    assert not higher, f"{name} (floor {floor(name)}) imports {higher}"


@pytest.mark.parametrize("name", [name for name in modules() if name.split("/")[0] in FEATURES])
def test_features_never_import_one_another(name: str) -> None:
    own = name.split("/")[0]
    others = [other for other in ours(name) if other.split("/")[0] in FEATURES and other.split("/")[0] != own]
    assert not others


@pytest.mark.parametrize("name", [name for name in modules() if floor(name) <= 2 and name not in CLOCKS])
def test_pure_files_import_nothing_that_waits_or_tells_the_time(name: str) -> None:
    impure = {module.split(".")[0] for module in imports(name)} & IMPURE
    assert not impure


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_third_party_has_one_door(package: str) -> None:
    strangers = [
        name
        for name in modules()
        if any(module.split(".")[0] == package for module in imports(name))
        and not any(matches(name, door) for door in DOORS[package])
    ]
    assert not strangers


def test_nothing_starts_a_bare_task() -> None:
    bare = [name for name in modules() if name != "core/tasks" and ".create_task(" in (ROOT / f"{name}.py").read_text()]
    assert not bare


def test_the_line_fits_one_screen_and_a_half() -> None:
    assert len((ROOT / "pipeline.py").read_text().splitlines()) <= 100
