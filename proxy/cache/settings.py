"""The `cache:` section of a route, and that of the root file: what the operator writes."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from proxy.core.settings import Duration, Model, Size

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class CacheRouteSettings(Model):
    """How responses of one route are stored and reused. All of it is optional: `{}` obeys the origin's own fields.

    Whatever stands here, a response with `no-store`, `private` or `Vary: *` is never stored, and one to a request with
    Authorization only if it says `public`, `must-revalidate` or `s-maxage`.
    """

    ttl: Duration | None = Field(
        None,
        description="How long responses with status 200, 203, 204, 300, 301, 302 or 308 are fresh, whatever their "
        "max-age, s-maxage or Expires say. `no-cache` still means: ask each time. All clients share what is stored.",
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
    honour_request_directives: bool = Field(
        True,
        description="Obey Cache-Control and Pragma of requests, so that a reload reaches the origin. Turn it off where "
        "strangers could use that against the origin.",
    )

    @field_validator("vary")
    @classmethod
    def _vary_names_fields(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name == "*":
                raise ValueError("`vary: [*]` would store nothing that could be reused; write `cache: off`")
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"`{name[:40]}` is not a field name")
        return names

    @field_validator("ignore_query")
    @classmethod
    def _ignored_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or not name.isascii() or any(mark in name for mark in "&=?# "):
                raise ValueError(f"`{name[:40]}` is not the name of a query parameter; write it as it stands in URLs")
        return names


class CacheSettings(Model):
    """How much memory stored responses may take."""

    memory: Size = Field(
        64 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes for everything that is stored: keys, heads, content, and content on its way in.",
    )
    max_entry: Size = Field(8 * 1024 * 1024, description="Responses with more content are passed on, never stored.")

    @model_validator(mode="after")
    def _entry_fits(self) -> CacheSettings:
        if self.max_entry > self.memory:
            raise ValueError("`max_entry` is larger than `memory`")
        return self
