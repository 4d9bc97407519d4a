"""The `cache:` section of a route, and that of the root file: what the operator writes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from proxy.cache.replay import STREAMED_BYTES
from proxy.cache.targeted import TARGETS
from proxy.core.settings import Duration, FileName, Model, Size
from proxy.core.units import format_duration, format_size
from proxy.http.directives import delta_seconds, parse_directives

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SHORTEST_S = 0.01  # a lifetime below this ends before the next request of even a busy route
_LARGEST_FILE = 1024 * 1024 * 1024
_LEAST_REASON = 8  # characters: "yes" is no reason
_Status = Annotated[int, Field(ge=200, le=599)]
_TierName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def _without_free_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if not str(key).startswith("x-")}
    return value


def _check_lifetime(seconds: float | None, name: str) -> float | None:
    if seconds is not None and seconds < _SHORTEST_S:
        shortest = format_duration(_SHORTEST_S)
        raise ValueError(f"with `{name}` below {shortest} no request finds a fresh response; write `cache: off`")
    return seconds


class CacheKeySettings(Model):
    """What makes another response beside the URI."""

    fields: tuple[str, ...] = Field(
        (),
        description="Request fields whose values, byte for byte, are part of the key. `vary` compares their meaning.",
    )
    cookies: tuple[str, ...] = Field((), description="Cookies whose values are part of the key.")

    @field_validator("fields", "cookies")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"`{name[:40]}` is not a name of a field or a cookie")
        return names

    @model_validator(mode="after")
    def _says_something(self) -> CacheKeySettings:
        if not self.fields and not self.cookies:
            raise ValueError("`key` adds nothing; write `fields` or `cookies`")
        return self


class CacheRouteSettings(Model):
    """How responses of one route are stored and reused. All of it is optional: `{}` obeys the origin's own fields.

    Whatever stands here, a response with `no-store`, `private` or `Vary: *` is never stored, and one to a request with
    Authorization only if it says `public`, `must-revalidate` or `s-maxage`, or if `by: user` or `shared_with_everyone`
    stands here.
    """

    ttl: Duration | None = Field(
        None,
        description="How long responses with status 200, 203, 204, 300, 301, 302 or 308 are fresh, whatever their "
        "max-age, s-maxage or Expires say. `no-cache` still means: ask each time. All clients share what is stored. "
        "`1s` is a microcache: at most one request a second for each URL reaches the backend.",
    )
    tier: str | None = Field(None, description="A `ttl` by the name that it has under `cache: {tiers: ...}`.")
    ttl_mode: Literal["override", "default"] | None = Field(
        None,
        description="`override`: `ttl`, `tier` and `statuses` replace what the response says of its lifetime. "
        "`default`: they count where it says nothing. Where neither is written, `ttl` and `tier` override and "
        "`statuses` do not.",
    )
    statuses: Annotated[dict[_Status, Duration], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict,
        description="Lifetimes by status, in place of `ttl`: `{404: 10s, 301: 1h}`. Responses that say nothing of "
        "their lifetime are stored for so long; see `ttl_mode`.",
    )
    stale_while_revalidate: Duration | None = Field(
        None,
        description="For this long after it went stale a response is still given at once, while one request in the "
        "background fetches it anew. Default: what the response's own stale-while-revalidate says.",
    )
    stale_if_error: Duration | None = Field(
        None,
        description="For this long after it went stale a response stands in when the origin answers 500, 502, 503 or "
        "504 or cannot be reached. Default: what the response's own stale-if-error says, and 24h for an origin that "
        "cannot be reached.",
    )
    stale_on_error: Duration | None = Field(
        None,
        description="The same for an origin that cannot be reached, alone. Default: `stale_if_error` where it is "
        "written, else 24h.",
    )
    strict_s_maxage: bool = Field(
        True,
        description="A response with s-maxage is never given stale, for s-maxage means proxy-revalidate too (RFC 9111 "
        "§5.2.2.10). `false`: its own stale-while-revalidate and stale-if-error are obeyed nonetheless.",
    )
    early_refresh: float | None = Field(
        None,
        ge=0.1,
        le=10,
        description="Fetch popular responses anew in the background shortly before they go stale, at a moment that is "
        "drawn by lot. 1 is right for most; more is earlier. Default: never.",
    )
    heuristic: Duration = Field(
        24 * 3600.0,
        description="A response that says nothing of its lifetime is fresh for a tenth of the time since it was last "
        "modified, but no longer than this. `0s`: it is not fresh at all.",
    )
    set_cookie: Literal["bypass", "strip", "store"] = Field(
        "bypass",
        description="A response with Set-Cookie is not stored (`bypass`), stored without it (`strip`), or stored with "
        "it (`store`), which hands one client's cookie to every other.",
    )
    vary: tuple[str, ...] = Field(
        (), description="Request fields that select a response beside those that its own Vary names."
    )
    ignore_query: tuple[str, ...] = Field(
        (), description="Query parameters that make no difference to the response, such as `utm_source`."
    )
    keep_query: tuple[str, ...] | None = Field(
        None, description="The only query parameters that make a difference. `[]`: none does."
    )
    sort_query: bool = Field(False, description="The order of query parameters with different names means nothing.")
    key: CacheKeySettings | None = Field(None, description="What makes another response beside the URI.")
    by: Literal["user", "tenant"] | None = Field(
        None,
        description="Each user, or each tenant, has responses of its own. Without a known one nothing is looked up and "
        "nothing stored. With `user`, responses to requests with Authorization are stored too.",
    )
    shared_with_everyone: str | None = Field(
        None,
        description="Why responses to requests with credentials are the same for everyone. With this reason they are "
        "stored, and all clients share them; with `by: tenant`, all of the tenant.",
    )
    honour_request_directives: bool = Field(
        True,
        description="Obey Cache-Control and Pragma of requests, so that a reload reaches the origin. Turn it off where "
        "strangers could use that against the origin.",
    )
    honour_immutable: bool = Field(
        False, description="A reload (max-age=0) is answered with a fresh response that says `immutable` (RFC 8246)."
    )
    targeted: tuple[str, ...] = Field(
        TARGETS,
        description="Response fields for this cache alone (RFC 9213). The first that is there decides in place of "
        "Cache-Control and Expires.",
    )
    strip_targeted: bool = Field(False, description="Keep the `targeted` fields from clients.")
    pass_tags: bool = Field(
        False,
        description="Let clients see `Surrogate-Key` and `Cache-Tag`, for other caches before Weir. By default "
        "they are taken out.",
    )
    downstream: str | None = Field(
        None,
        description="The Cache-Control that clients get with stored responses in place of the origin's. Its max-age "
        "counts from when the response is sent: the Age is added to it.",
    )
    max_entry: Size | None = Field(
        None,
        ge=1,
        description="Larger responses of this route are passed on, never stored. Default: `cache.max_entry`.",
    )
    shared: bool = Field(
        True,
        description="Where the root file says `cache: {shared: ...}`, other Weirs may have what is stored here. "
        "`false`: it stays in the memory of each.",
    )

    @field_validator("ttl")
    @classmethod
    def _ttl_is_of_use(cls, seconds: float | None) -> float | None:
        return _check_lifetime(seconds, "ttl")

    @field_validator("statuses")
    @classmethod
    def _statuses_are_stored(cls, statuses: dict[int, float]) -> dict[int, float]:
        for status, seconds in statuses.items():
            if status in (206, 304):
                raise ValueError(f"{status} is part of another response; it is never stored")
            _check_lifetime(seconds, f"{status}")
        return statuses

    @field_validator("vary", "targeted")
    @classmethod
    def _are_field_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name == "*":
                raise ValueError("`[*]` would store nothing that could be reused; write `cache: off`")
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"`{name[:40]}` is not a field name")
        return names

    @field_validator("ignore_query", "keep_query")
    @classmethod
    def _are_parameters(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if not name or not name.isascii() or any(mark in name for mark in "&=?# "):
                raise ValueError(f"`{name[:40]}` is not the name of a query parameter; write it as it stands in URLs")
        return names

    @field_validator("shared_with_everyone")
    @classmethod
    def _is_a_reason(cls, reason: str | None) -> str | None:
        if reason is not None and len(reason.strip()) < _LEAST_REASON:
            raise ValueError('this is no reason; write why, as in `"the same prices for everyone"`')
        return reason

    @field_validator("downstream")
    @classmethod
    def _can_be_sent(cls, text: str | None) -> str | None:
        if text is not None:
            _check_downstream(text)
        return text

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CacheRouteSettings:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self


def _check_downstream(text: str) -> None:
    if not text.isascii() or not text.isprintable() or '"' in text:
        raise ValueError("`downstream` is plain ASCII without quotes; write `public, max-age=10`")
    directives = parse_directives(text.encode("ascii"))
    if not directives:
        raise ValueError("`downstream` is empty; write `public, max-age=10`, or leave it out")
    for name, value in directives.items():
        if not _TOKEN.fullmatch(name.decode("ascii")) or (value is not None and not _TOKEN.fullmatch(value.decode())):
            raise ValueError(f"`{name.decode()}` in `downstream` is malformed; write `public, max-age=10`")
        if name in (b"max-age", b"s-maxage") and delta_seconds(value) is None:
            raise ValueError(f"`{name.decode()}` in `downstream` needs a number of seconds; write `max-age=10`")
    is_private = b"private" in directives or b"no-store" in directives
    if is_private and (b"public" in directives or b"s-maxage" in directives):
        raise ValueError("`downstream` says both that others may share the response and that they may not")
    if b"no-store" in directives and b"max-age" in directives:
        raise ValueError("`downstream` says both `no-store` and `max-age`; leave one out")


def _contradictions(said: CacheRouteSettings) -> list[str]:
    """What stands in one section and cannot all be meant, worst first."""
    found = []
    shares = parse_directives((said.downstream or "").encode("ascii"))
    if said.by == "user" and said.shared_with_everyone is not None:
        found.append("`by: user` and `shared_with_everyone` contradict each other; leave one out")
    if said.by is not None and (b"public" in shares or b"s-maxage" in shares):
        found.append(f"`downstream` has others share what is stored `by: {said.by}`; write `private, max-age=10`")
    if said.tier is not None and said.ttl is not None:
        found.append("`tier` and `ttl` both say how long; leave one out")
    if said.ttl_mode is not None and said.ttl is None and said.tier is None and not said.statuses:
        found.append("`ttl_mode` without `ttl`, `tier` or `statuses` changes nothing; leave it out")
    if said.keep_query is not None and said.ignore_query:
        found.append("`keep_query` leaves out all others, so `ignore_query` changes nothing; leave one out")
    if said.keep_query == () and said.sort_query:
        found.append("`keep_query: []` leaves nothing to sort; leave `sort_query` out")
    if said.strip_targeted and not said.targeted:
        found.append("`strip_targeted` without `targeted` changes nothing; leave it out")
    if said.key is not None:
        both = {name.lower() for name in said.key.fields} & {name.lower() for name in said.vary}
        if both:
            found.append(f"`{min(both)}` stands in `key` and in `vary`; leave one out")
    return found


class DiskSettings(Model):
    """Files for what is too large for memory. What is in them when Weir ends is removed when it starts again."""

    path: FileName = Field(description="The directory. It is made if it is not there, and is one Weir's at a time.")
    size: Size = Field(description="Bytes for all files, those that are being written included.")
    max_entry: Size | None = Field(
        None,
        description="Responses with more content are passed on, never stored. Default: 1GiB, or half of `size` if that "
        "is less.",
    )
    threads: int = Field(4, ge=1, le=32, description="How many files are read or written at the same instant.")

    @property
    def largest_bytes(self) -> int:
        """The most content that a file may have."""
        return min(_LARGEST_FILE, self.size // 2) if self.max_entry is None else self.max_entry


class SharedCacheSettings(Model):
    """A second tier in Redis or Valkey: what one Weir has stored, all Weirs have, and only one of them fetches it.

    `{}` is enough where `store` is one. Needs a restart when it comes, goes, or changes its address or namespace.
    """

    url: str | None = Field(
        None,
        description="The server, as in `store`: best one of its own, with `maxmemory` and `allkeys-lfu`. Default: "
        "`store`.",
    )
    namespace: str = Field(
        "weir",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="How the names of all keys begin. Weirs with one namespace and one server share; their "
        "configurations have to mean the same.",
    )
    max_entry: Size = Field(1024 * 1024, ge=1, description="Responses with more content stay in the memory of each.")
    timeout: Duration = Field(0.025, ge=0.001, le=1.0, description="What a miss waits for the server at most.")
    compress: Literal["off"] | Annotated[int, Field(ge=1, le=9)] = Field(
        "off",
        description="Level of zlib for content that it makes smaller and that has no Content-Encoding: `1` is fast, "
        "`9` small.",
    )


class CacheSettings(Model):
    """How much memory stored responses may take, and what routes have in common."""

    memory: Size = Field(
        64 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes for everything that is stored: keys, heads, content, and content on its way in. Of what is "
        "on disk, all but the content.",
    )
    max_entry: Size = Field(
        8 * 1024 * 1024, description="Responses with more content go to the `disk`, or are passed on, never stored."
    )
    disk: DiskSettings | None = Field(
        None, description="Where responses with more content than `max_entry` are kept. Default: nowhere."
    )
    tiers: Annotated[dict[_TierName, Duration], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict, description="Lifetimes by name, for `tier` of routes: `{hot: 60s, categories: 5m}`."
    )
    shared: SharedCacheSettings | None = Field(None, description="A second tier that all Weirs share. Default: none.")

    @property
    def largest_bytes(self) -> int:
        """The most content that anything stored may have."""
        return self.max_entry if self.disk is None else self.disk.largest_bytes

    @field_validator("tiers")
    @classmethod
    def _tiers_are_of_use(cls, tiers: dict[str, float]) -> dict[str, float]:
        for name, seconds in tiers.items():
            _check_lifetime(seconds, name)
        return tiers

    @model_validator(mode="after")
    def _entry_fits(self) -> CacheSettings:
        if self.max_entry > self.memory:
            raise ValueError("`max_entry` is larger than `memory`")
        if self.disk is not None:
            if self.max_entry < STREAMED_BYTES:
                least = format_size(STREAMED_BYTES)
                raise ValueError(f"with `disk`, `max_entry` is at least {least}: what is smaller belongs in memory")
            if self.disk.largest_bytes > self.disk.size:
                raise ValueError("`max_entry` of `disk` is larger than its `size`")
            if self.disk.largest_bytes <= self.max_entry:
                raise ValueError("nothing would go to the `disk`: only what is above `max_entry` does; lower that one")
        if self.shared is not None and self.shared.max_entry > self.max_entry:
            raise ValueError("`max_entry` of `shared` is larger than that of the cache; lower it, or raise that one")
        return self
