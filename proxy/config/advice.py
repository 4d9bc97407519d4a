"""Warnings: a configuration that works, and probably does not do what its author thinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.clients.settings import IdentitySettings, SourceSettings
from proxy.config.document import Path
from proxy.config.parts import Part
from proxy.config.settings import Settings
from proxy.limits.settings import InlineLimitSettings, LimitSettings

__all__ = ["advise"]

_BY_IDENTITY: Final = {"user": "user", "api_key": "user", "tenant": "tenant"}


def advise(parts: list[Part]) -> None:
    """Report into the documents. Says nothing while there are errors: what they hide would be wrongly accused."""
    root = parts[0].root
    if root is None or any(part.document.has_errors for part in parts):
        return
    _unused(parts, "limits", _used_limits(parts, root))
    _unused(parts[:1], "upstreams", _used_upstreams(parts, root))
    _identity(parts, root)
    _replicas(parts, root)
    _chosen_keys(parts, root)
    _small_shares(parts, root)
    _shared_pages(parts)
    _schemes_of_precomputes(parts, root)


def _unused(parts: list[Part], section: str, used: set[str]) -> None:
    for part in parts:
        for name, path in part.names(section).items():
            if name not in used:
                message = f"{section.removesuffix('s')} `{name}` is used by no route"
                part.document.report("WEIR0402", message, path, of_key=True, severity="warning")


def _used_limits(parts: list[Part], root: Settings) -> set[str]:
    lists = [root.defaults.limits, *(route.limits or () for part in parts for _, route in part.routes())]
    return {limit for listed in lists for limit in listed if isinstance(limit, str)}


def _used_upstreams(parts: list[Part], root: Settings) -> set[str]:
    return {route.upstream or root.defaults.upstream or "" for part in parts for _, route in part.routes()}


def _identity(parts: list[Part], root: Settings) -> None:
    identity = None
    for part in parts:
        if part.settings is not None and (own := part.settings.identity) is not None:
            identity = own
            for path in () if root.trusted_proxies else _believed_headers(own):
                message = "this field is believed from trusted proxies only, and there are none"
                hint = "name them in `trusted_proxies` of the root file"
                part.document.report("WEIR0403", message, path, hint=hint, severity="warning")
    known = {
        "user": identity is not None and bool(identity.sources),
        "tenant": identity is not None and identity.tenant is not None,
    }
    for part, path, limit in _limits(parts):
        for word in [limit.by] if isinstance(limit.by, str) else limit.by:
            wanted = _BY_IDENTITY.get(word)
            if wanted is not None and not known[wanted]:
                does = {"ip": "counts by address", "skip": "is skipped", "deny": "denies everything"}[limit.missing]
                message = f"no {word} can ever be known, so this limit {does}"
                hint = f"add `identity: {{{wanted}: ...}}`"
                part.document.report("WEIR0404", message, (*path, "by"), hint=hint, severity="warning")


def _believed_headers(identity: IdentitySettings) -> Iterator[Path]:
    for index, source in enumerate(identity.sources):
        if source.header is not None:
            yield (
                ("identity", "user", index, "header")
                if isinstance(identity.user, tuple)
                else (
                    "identity",
                    "user",
                    "header",
                )
            )
    if identity.tenant is not None and identity.tenant.header is not None:
        yield ("identity", "tenant", "header")


def _limits(parts: list[Part]) -> Iterator[tuple[Part, Path, LimitSettings]]:
    for part in parts:
        for name, limit in part.settings.limits.items() if part.settings is not None else ():
            yield part, ("limits", name), limit
        for path, route in part.routes():
            for index, item in enumerate(route.limits or ()):
                if isinstance(item, InlineLimitSettings):
                    yield part, (*path, "limits", index), item


def _replicas(parts: list[Part], root: Settings) -> None:
    for part in parts:
        for path, route in part.routes():
            upstream = root.upstreams.get(route.upstream or root.defaults.upstream or "")
            if route.read == "replica" and upstream is not None and not upstream.replicas:
                message = "the upstream has no replicas; reads go to the primary"
                part.document.report("WEIR0405", message, (*path, "read"), severity="warning")


def _chosen_keys(parts: list[Part], root: Settings) -> None:
    """A field counts only when a trusted proxy sent it; with none, such a limit counts something else."""
    if root.trusted_proxies:
        return
    named = {name: limit for part in parts if part.settings is not None for name, limit in part.settings.limits.items()}
    lists: list[tuple[Part, Path, tuple[str | InlineLimitSettings, ...]]] = [
        (part, (*path, "limits"), route.limits)
        for part in parts
        for path, route in part.routes()
        if route.limits is not None
    ]
    for part, path, listed in [(parts[0], ("defaults", "limits"), root.defaults.limits), *lists]:
        for index, item in enumerate(listed):
            if _reads_fields(named[item] if isinstance(item, str) else item):
                message = "this limit counts by a field, and nobody is trusted to set it: it is as good as missing"
                hint = "name the proxies that set it under `trusted_proxies`, or count by what `identity:` verifies"
                part.document.report("WEIR0407", message, (*path, index), hint=hint, severity="warning")


def _reads_fields(limit: LimitSettings) -> bool:
    words = [limit.by] if isinstance(limit.by, str) else limit.by
    return any(word.startswith("header:") for word in words)


def _small_shares(parts: list[Part], root: Settings) -> None:
    """What each of two Weirs may admit alone while the store is away: less than one request is a slow trickle."""
    if root.store == "memory":
        return
    for part, path, limit in _limits(parts):
        if limit.rate is not None and limit.rate.count == 1 and limit.on_store_error == "local":
            message = "while the store is away, one Weir's share of this limit is less than one request"
            hint = "it gets slower by the number of Weirs; write a larger count in a longer period, or `on_store_error`"
            part.document.report("WEIR0408", message, (*path, "rate"), hint=hint, severity="warning")


def _shared_pages(parts: list[Part]) -> None:
    """Users that are known by something that HTTP's rules for caches do not know: only Authorization keeps pages apart
    (RFC 9111 §3.5), and a lifetime of ours stores what the backend never meant for a cache."""
    identity = next((p.settings.identity for p in parts if p.settings is not None and p.settings.identity), None)
    if identity is None or all(_is_in_authorization(source) for source in identity.sources):
        return
    for part in parts:
        for path, route in part.routes():
            cache = route.cache
            if cache == "off" or cache.by is not None or cache.shared_with_everyone is not None:
                continue
            has_lifetime = cache.ttl is not None or cache.tier is not None or bool(cache.statuses)
            if has_lifetime or route.precompute is not None:
                message = "what comes for a known user is stored for everyone here, unless the backend forbids it"
                hint = 'write `by: user`, or `shared_with_everyone: "why it is the same for all"`'
                part.document.report("WEIR0409", message, (*path, "cache"), hint=hint, of_key=True, severity="warning")


def _is_in_authorization(source: SourceSettings) -> bool:
    if source.jwt is not None:
        return source.jwt.cookie is None and (source.jwt.header or "Authorization").lower() == "authorization"
    return source.api_key is not None and source.api_key.header.lower() == "authorization"


def _schemes_of_precomputes(parts: list[Part], root: Settings) -> None:
    """Behind a proxy that speaks TLS clients ask with https, which is part of the key, and no listener says so."""
    if not root.trusted_proxies or any(listener.tls is not None for listener in root.listeners):
        return
    for part in parts:
        for path, route in part.routes():
            if route.precompute is not None and not any("://" in host for host in route.precompute.hosts):
                message = "this is fetched for http alone; a trusted proxy in front may say that clients speak https"
                hint = "write `hosts` with their scheme: `[https://shop.example]`"
                part.document.report(
                    "WEIR0420", message, (*path, "precompute"), hint=hint, of_key=True, severity="warning"
                )
