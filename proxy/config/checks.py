"""What no single section can know: names that lead nowhere, two that are the same, rules that undo one another.

Works on whatever could be read: a name counts as known when it stands in a file, even if what it names is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from proxy.config.database_checks import check_databases
from proxy.config.diagnostics import did_you_mean
from proxy.config.document import Path
from proxy.config.parts import Part
from proxy.config.replica_checks import check_replicas
from proxy.config.settings import DefaultsSettings, Settings
from proxy.config.values import check_store
from proxy.limits.settings import InlineLimitSettings, LimitSettings

__all__ = ["check"]


def check(parts: list[Part]) -> None:
    """Report into the documents. `parts[0]` is the root file."""
    _check_duplicates(parts)
    _check_identity(parts)
    root = parts[0].root
    defaults = root.defaults if root is not None else DefaultsSettings()
    upstreams = parts[0].names("upstreams")
    limits = [name for part in parts for name in part.names("limits")]
    _check_upstream_name(parts[0], ("defaults", "upstream"), defaults.upstream, upstreams)
    _check_limit_list(parts[0], ("defaults", "limits"), defaults.limits, limits)
    has_default = parts[0].has("defaults", "upstream")
    for part in parts:
        for path, route in part.routes():
            if route.upstream is not None:
                _check_upstream_name(part, (*path, "upstream"), route.upstream, upstreams)
            elif not has_default and root is not None:
                _report_no_upstream(part, path, upstreams)
            _check_limit_list(part, (*path, "limits"), route.limits or (), limits)
    _check_redefinitions(parts)
    _check_repeats(parts)
    _check_double_counting(parts)
    _check_users(parts)
    _check_caches(parts, root)
    _check_shared_cache(parts, root)
    _check_plans(parts)
    _check_verification(parts, root)
    if root is not None:
        _check_listeners(parts[0], root)
        check_databases(parts, root)
        check_replicas(parts[0], root)
    if root is not None and not any(part.has("routes", 0) for part in parts):
        hint = "add `routes: [{name: all, upstream: app}]`"
        parts[0].document.report("WEIR0212", "there is no route", (), hint=hint)


def _check_duplicates(parts: list[Part]) -> None:
    first: dict[tuple[str, str], str] = {}
    for part in parts:
        named = [(("limit", name), path) for name, path in part.names("limits").items()]
        named += [(("route", route.name), (*path, "name")) for path, route in part.routes()]
        for key, path in named:
            if key in first:
                message = f"there are two {key[0]}s with the name `{key[1]}`"
                part.document.report("WEIR0203", message, path, note=f"the first is at {first[key]}")
            first.setdefault(key, part.document.where(path, of_key=key[0] == "limit"))


def _check_identity(parts: list[Part]) -> None:
    having = [part for part in parts if part.has("identity")]
    for part in having[1:]:
        note = f"the first is at {having[0].document.where(('identity',), of_key=True)}"
        part.document.report("WEIR0203", "`identity` stands in two files", ("identity",), note=note, of_key=True)


def _check_upstream_name(part: Part, path: Path, name: str | None, known: Iterable[str]) -> None:
    if name is not None and name not in known:
        hint = did_you_mean(name, known) or _known("upstreams", known)
        part.document.report("WEIR0201", f"there is no upstream `{part.document.shown(path)}`", path, hint=hint)


def _report_no_upstream(part: Part, path: Path, known: Iterable[str]) -> None:
    name = part.document.shown((*path, "name"))
    hint = "add `upstream:`, or `defaults: {upstream: ...}` to the root file"
    part.document.report("WEIR0205", f"route `{name}` has no upstream", (*path, "name"), hint=hint)


def _check_limit_list(part: Part, path: Path, limits: Iterable[str | LimitSettings], known: Iterable[str]) -> None:
    for index, limit in enumerate(limits):
        if isinstance(limit, str) and limit not in known:
            place = (*path, index)
            hint = did_you_mean(limit, known) or _known("limits", known)
            part.document.report("WEIR0202", f"there is no limit `{part.document.shown(place)}`", place, hint=hint)


def _known(things: str, names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return f"no {things} are defined"
    return f"{things}: " + ", ".join(listed[:12]) + (", ..." if len(listed) > 12 else "")


@dataclass(frozen=True, slots=True)
class _Definition:
    part: Part
    path: Path
    settings: LimitSettings


def _definitions(parts: list[Part]) -> Iterator[tuple[str, _Definition]]:
    """Every limit with its name: those under `limits:`, then those inside `defaults` and routes."""
    for part in parts:
        if part.settings is not None:
            for name, settings in part.settings.limits.items():
                yield name, _Definition(part, ("limits", name), settings)
    for part, path, limits in _lists(parts):
        for index, limit in enumerate(limits):
            if isinstance(limit, InlineLimitSettings):
                yield limit.name, _Definition(part, (*path, index), limit)


def _lists(parts: list[Part]) -> Iterator[tuple[Part, Path, tuple[str | InlineLimitSettings, ...]]]:
    if parts[0].root is not None:
        yield parts[0], ("defaults", "limits"), parts[0].root.defaults.limits
    for part in parts:
        for path, route in part.routes():
            if route.limits is not None:
                yield part, (*path, "limits"), route.limits


def _check_redefinitions(parts: list[Part]) -> None:
    """One name is one count in the store, so it cannot have two definitions."""
    first: dict[str, _Definition] = {}
    for name, definition in _definitions(parts):
        other = first.setdefault(name, definition)
        if other is not definition and _numbers(other.settings) != _numbers(definition.settings):
            if definition.path[0] == "limits":
                continue  # two under `limits:` are reported as duplicates
            note = f"the first is at {other.part.document.where(other.path, of_key=True)}"
            message = f"the limit `{name}` is defined in two ways"
            definition.part.document.report(
                "WEIR0208", message, (*definition.path, "name"), hint="give it another name", note=note
            )


def _numbers(settings: LimitSettings) -> dict[str, Any]:
    return settings.model_dump(exclude={"name"})


def _check_repeats(parts: list[Part]) -> None:
    """A limit that stands twice in one list would charge every request twice."""
    for part, path, limits in _lists(parts):
        names = [limit if isinstance(limit, str) else limit.name for limit in limits]
        for index, name in enumerate(names):
            if name in names[:index]:
                message = f"the limit `{name}` stands twice in this list"
                part.document.report("WEIR0209", message, (*path, index), hint="every request would count twice")


def _check_double_counting(parts: list[Part]) -> None:
    """Two limits with one key and one window on all the same routes count the same requests twice.

    On different routes they do not: one for everything and a smaller one for a part of it is how limits are meant.
    """
    known = {name: definition.settings for name, definition in _definitions(parts)}
    used = _routes_by_limit(parts)
    told: set[tuple[str, str]] = set()
    for part, path, limits in _lists(parts):
        first: dict[object, str] = {}
        for index, limit in enumerate(limits):
            name = limit if isinstance(limit, str) else limit.name
            settings = known.get(name)
            if settings is None or settings.mode != "enforce" or not used.get(name):
                continue
            other = first.setdefault((_what_is_counted(settings), frozenset(used[name])), name)
            if other != name and (other, name) not in told:
                told.add((other, name))
                message = f"`{name}` counts the same as `{other}`: one key, one window, the same routes"
                hint = "every request would count twice; keep the tighter one, or try the other as its `candidate`"
                part.document.report("WEIR0213", message, (*path, index), hint=hint)


def _routes_by_limit(parts: list[Part]) -> dict[str, set[Path]]:
    """Where each limit applies."""
    defaults = parts[0].root.defaults.limits if parts[0].root is not None else ()
    used: dict[str, set[Path]] = {}
    for at, part in enumerate(parts):
        for path, route in part.routes():
            for limit in defaults if route.limits is None else route.limits:
                name = limit if isinstance(limit, str) else limit.name
                used.setdefault(name, set()).add((at, *path))
    return used


def _what_is_counted(settings: LimitSettings) -> object:
    by = frozenset({settings.by} if isinstance(settings.by, str) else settings.by)
    window = settings.algorithm if settings.rate is None else settings.rate.period_s
    cost = settings.cost if isinstance(settings.cost, int) else repr(settings.cost)
    return by, window, settings.count_if, cost


def _check_plans(parts: list[Part]) -> None:
    """Plans that nobody can have: every client would get the rate for everybody."""
    identities = [part.settings.identity for part in parts if part.settings is not None and part.settings.identity]
    if any(identity.may_know_plans for identity in identities):
        return
    if not identities and any(part.has("identity") for part in parts):
        return  # it stands there and is broken, which is told already
    for _, definition in _definitions(parts):
        if definition.settings.plans:
            message = "no client can ever have a plan"
            hint = "add `identity: {plan: {claim: plan}}` or `{header: ...}`, or plans to the API keys"
            definition.part.document.report("WEIR0214", message, (*definition.path, "plans"), hint=hint, of_key=True)


def _check_verification(parts: list[Part], root: Settings | None) -> None:
    """Limits that go by a field which nobody may be believed about: every value of it would be thrown away."""
    identity = next((p.settings.identity for p in parts if p.settings is not None and p.settings.identity), None)
    if identity is None or root is None or root.trusted_proxies:
        return
    unbelieved = set()
    if identity.sources and all(source.header is not None for source in identity.sources):
        unbelieved.add("user")
    if identity.tenant is not None and identity.tenant.header is not None:
        unbelieved.add("tenant")
    for _, definition in _definitions(parts):
        by = definition.settings.by
        for word in sorted(unbelieved & set([by] if isinstance(by, str) else by)):
            message = f"no {word} can be verified: it comes from a field, and no peer is trusted to set it"
            hint = "name the proxies that set it in `trusted_proxies`, or verify it by jwt, cookie or api_key"
            definition.part.document.report("WEIR0215", message, (*definition.path, "by"), hint=hint, of_key=True)
        if definition.settings.plans and identity.plan is not None and identity.plan.header is not None:
            message = "no plan can be verified: it comes from a field, and no peer is trusted to set it"
            hint = "name the proxies that set it in `trusted_proxies`, or take it from a claim or an API key"
            definition.part.document.report("WEIR0215", message, (*definition.path, "plans"), hint=hint, of_key=True)


def _check_users(parts: list[Part]) -> None:
    if any(part.has("identity", "user") for part in parts):
        return
    for part in parts:
        for path, route in part.routes():
            if route.require_user:
                message = "every request would be refused: no user can be known"
                part.document.report("WEIR0210", message, (*path, "require_user"), hint="add `identity: {user: ...}`")


def _check_caches(parts: list[Part], root: Settings | None) -> None:
    """What a route's `cache` says, held against the rest of the configuration."""
    tiers = {} if root is None else root.cache.tiers
    for part in parts:
        for path, route in part.routes():
            cache, place = route.cache, (*path, "cache")
            if cache == "off":
                continue
            if root is not None and cache.tier is not None and cache.tier not in tiers:
                hint = did_you_mean(cache.tier, tiers) or _known("tiers", tiers)
                message = f"there is no tier `{part.document.shown((*place, 'tier'))}`"
                part.document.report("WEIR0216", message, (*place, "tier"), hint=hint)
            if route.require_user and cache.by is None and cache.shared_with_everyone is None:
                message = "responses to users who must be known would be stored for everyone"
                hint = 'write `by: user`, or `shared_with_everyone: "why it is the same for all"`, or `cache: off`'
                part.document.report("WEIR0217", message, place, hint=hint, of_key=True)
            if cache.by is not None and not any(part.has("identity", cache.by) for part in parts):
                message = f"nothing would be stored: no {cache.by} can be known"
                hint = f"add `identity: {{{cache.by}: ...}}`"
                part.document.report("WEIR0218", message, (*place, "by"), hint=hint, of_key=True)
            if route.match.methods and not {"GET", "HEAD"} & set(route.match.methods):
                message = "nothing would be stored: only GET and HEAD are answered from the cache"
                part.document.report("WEIR0219", message, place, hint="leave `cache` out", of_key=True)
            if root is not None and cache.max_entry is not None and cache.max_entry > root.cache.largest_bytes:
                whose = "the cache" if root.cache.disk is None else "the cache's `disk`"
                message = f"`max_entry` of a route is larger than `max_entry` of {whose}"
                part.document.report("WEIR0221", message, (*place, "max_entry"), hint="raise that one too", of_key=True)


def _check_shared_cache(parts: list[Part], root: Settings | None) -> None:
    """A second tier needs a place, and a route can only keep out of one that there is."""
    if root is None:
        return
    shared, place = root.cache.shared, ("cache", "shared")
    document = parts[0].document
    if shared is None:
        for part in parts:
            for path, route in part.routes():
                if route.cache != "off" and not route.cache.shared:
                    message = "`shared: false` changes nothing: no responses are shared"
                    hint = "leave it out, or add `cache: {shared: {}}` to the root file"
                    part.document.report("WEIR0224", message, (*path, "cache", "shared"), hint=hint, of_key=True)
    elif shared.url is not None:
        try:
            check_store(shared.url)
        except ValueError as error:
            document.refuse("WEIR0223", error, (*place, "url"))
    elif root.store == "memory":
        message = "there is nothing to share responses through: `store` is `memory`"
        document.report("WEIR0222", message, place, hint="write `url: redis://...` here, or in `store`", of_key=True)


def _check_listeners(part: Part, root: Settings) -> None:
    seen: dict[str, Path] = {}
    for index, listener in enumerate(root.listeners):
        path: Path = ("listen", index) if isinstance(root.listen, tuple) else ("listen",)
        if listener.address in seen and not listener.address.endswith(":0"):
            part.document.report("WEIR0211", f"`{listener.address}` is listened on twice", path)
        seen.setdefault(listener.address, path)
    if root.admin in seen and root.admin != "off" and not root.admin.endswith(":0"):
        message = "the admin listener has the address of a public one"
        part.document.report("WEIR0211", message, ("admin",), hint="give it its own, or `off`")
