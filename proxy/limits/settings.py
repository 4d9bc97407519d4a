"""The `limits:` and `limiter:` sections: what the operator writes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Duration, Model, RateText
from proxy.core.units import Rate

KEY_PATTERN = r"^(ip|user|tenant|api_key|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"
MAX_PER_SECOND = 1_000_000

KeyWord = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": KEY_PATTERN, "examples": ["ip", "user", "header:X-Device"]})
]


class LimitSettings(Model):
    """One limit: how many requests each key may make."""

    rate: RateText = Field(description="How many requests in which time, such as `10/s`, `200/min` or `5/15min`.")
    by: KeyWord | list[KeyWord] = Field(
        "ip",
        description="What is counted apart: `ip`, `user`, `tenant`, `api_key`, `route`, `global` (one count for all), "
        "`header:NAME`, or a list of these for one composite key.",
    )
    algorithm: Literal["gcra", "fixed", "sliding"] = Field(
        "gcra",
        description="`gcra` refills steadily and allows a burst; `fixed` counts in windows that start over; `sliding` "
        "never lets more than the rate into any window of its length.",
    )
    burst: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="For `gcra`: how many requests may come at once. By default as many as the rate counts, so that "
        "up to twice the rate can fall into one period; a smaller burst is smoother.",
    )
    missing: Literal["ip", "skip", "deny"] = Field(
        "ip",
        description="For a request without the key, such as an anonymous one under `by: user`: count it by its "
        "address, skip this limit, or deny the request.",
    )
    on_store_error: Literal["local", "allow", "deny"] = Field(
        "local",
        description="While the shared store is away: count in this process alone, let pass, or deny.",
    )

    @field_validator("rate")
    @classmethod
    def _rate_is_countable(cls, rate: Rate) -> Rate:
        if rate.count < 1 or rate.period_s <= 0.0:
            raise ValueError(f"`{rate}` admits nothing; write at least 1 in a period above zero, such as 1/min")
        if rate.count > MAX_PER_SECOND * rate.period_s:
            raise ValueError(f"`{rate}` is more than a million a second, which is no limit; leave the limit out")
        return rate

    @field_validator("by")
    @classmethod
    def _by_is_known(cls, by: str | list[str]) -> str | list[str]:
        words = [by] if isinstance(by, str) else by
        if not words:
            raise ValueError("`by` is an empty list; name at least one of ip, user, tenant, api_key, route, global")
        for word in words:
            if not re.fullmatch(KEY_PATTERN, word):
                raise ValueError(
                    f"`{word[:40]}` is nothing to count by; "
                    "write ip, user, tenant, api_key, route, global or header:NAME"
                )
        if len({word.lower() for word in words}) != len(words):
            raise ValueError("`by` names something twice")
        return by

    @model_validator(mode="after")
    def _burst_belongs_to_gcra(self) -> LimitSettings:
        if self.burst is not None and self.algorithm != "gcra":
            raise ValueError(f"`burst` has no meaning for the algorithm `{self.algorithm}`; only `gcra` has a burst")
        return self


class InlineLimitSettings(LimitSettings):
    """A limit that is written where it applies, in a route."""

    name: str = Field(description="The limit's name, as clients, metrics and the store see it.")


class LimiterSettings(Model):
    """How limits are kept and announced."""

    store_timeout: Duration = Field(
        0.025,
        gt=0,
        le=5.0,
        description="How long a request waits for the shared store before its limits' `on_store_error` applies.",
    )
    reset: Literal["seconds", "epoch"] = Field(
        "seconds", description="X-RateLimit-Reset as seconds from now, or as a Unix time."
    )
    fields: tuple[Literal["x-ratelimit", "ietf"], ...] = Field(
        ("x-ratelimit", "ietf"),
        description="Which fields tell clients about their quota: `x-ratelimit` for X-RateLimit-*, `ietf` for "
        "RateLimit and RateLimit-Policy. Retry-After is always sent with a denial.",
    )
    max_keys: int = Field(
        100_000,
        ge=1000,
        le=50_000_000,
        description="Most keys that are counted in memory at a time; beyond it, those with the least use are merged.",
    )
