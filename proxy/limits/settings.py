"""The `limits:` and `limiter:` sections: what the operator writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from proxy.core.settings import Duration, Model, Percent, RateText, Size
from proxy.core.units import DAY_S, HOUR_S, MONTH_S, WEEK_S, Rate, format_duration
from proxy.http.fields import OF_THE_HOP
from proxy.limits import count_if, ladder
from proxy.limits.subjects import check_subject

KEY_PATTERN = r"^(ip|user|tenant|api_key|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"
MAX_PER_SECOND = 1_000_000
MOST_LOGGED = 1000  # units of a `log`: each admitted request is kept for a whole window
_PLAN_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_FIELD_PATTERN: Final = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"  # RFC 9110 §5.6.2
_CALENDAR: Final = frozenset({HOUR_S, DAY_S, WEEK_S, MONTH_S})


def _check_rate(rate: Rate) -> Rate:
    if rate.count < 1 or rate.period_s <= 0.0:
        raise ValueError(f"`{rate}` admits nothing; write at least 1 in a period above zero, such as 1/min")
    if rate.count > MAX_PER_SECOND * rate.period_s:
        raise ValueError(f"`{rate}` is more than a million a second, which is no limit; leave the limit out")
    return rate


def _check_plan(name: str) -> str:
    if not re.fullmatch(_PLAN_PATTERN[1:-1], name):
        raise ValueError(f"`{name[:80]}` is not the name of a plan; write at most 64 letters, digits, `-`, `_` and `.`")
    return name


def _check_cost_field(name: str) -> str:
    if not re.fullmatch(_FIELD_PATTERN[1:-1], name):
        raise ValueError(f"`{name[:60]}` is not the name of a field")
    if name.lower().encode() in OF_THE_HOP | {b"content-type", b"content-encoding", b"date", b"set-cookie"}:
        raise ValueError(f"`{name}` means something to clients, and this field is removed; let the backend set its own")
    return name


def _check_count_if(text: str) -> str:
    count_if.parse_count_if(text)
    return text


CountableRate = Annotated[RateText, AfterValidator(_check_rate)]
KeyWord = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": KEY_PATTERN, "examples": ["ip", "user", "header:X-Device"]})
]
PlanName = Annotated[str, AfterValidator(_check_plan), WithJsonSchema({"type": "string", "pattern": _PLAN_PATTERN})]
CostField = Annotated[
    str, AfterValidator(_check_cost_field), WithJsonSchema({"type": "string", "pattern": _FIELD_PATTERN})
]
CountIf = Annotated[
    str,
    AfterValidator(_check_count_if),
    WithJsonSchema({"type": "string", "pattern": count_if.PATTERN, "examples": ["status in (401, 403)"]}),
]
SubjectText = Annotated[
    str,
    AfterValidator(check_subject),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "user:alice", "tenant:acme", "api_key:ci"]}),
]
StepText = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": ladder.PATTERN, "examples": ["stale", "delay(200ms)", "reject"]})
]
Burst = Annotated[int, Field(ge=1, le=1_000_000_000)]
Units = Annotated[int, Field(ge=1, le=1_000_000_000)]


class CostSettings(Model):
    """A cost that is known only after the response: `reserve` is charged at admission, and corrected then."""

    response_field: CostField | None = Field(
        None,
        description="A field of the backend's response with the cost, a whole number. Clients do not get to see it.",
    )
    response_bytes: Size | None = Field(
        None, gt=0, description="One unit for every so many bytes of content that the client got, at least one unit."
    )
    reserve: Units = Field(1, description="What is charged until the cost is known, and when it never is.")
    most: Units | None = Field(None, description="A higher cost counts as this much. Default: the whole quota.")

    @model_validator(mode="after")
    def _check(self) -> CostSettings:
        if (self.response_field is None) == (self.response_bytes is None):
            raise ValueError("a cost is a number, or comes from a `response_field` or from `response_bytes`: write one")
        if self.most is not None and self.most < self.reserve:
            raise ValueError(f"`most` is {self.most} and `reserve` is {self.reserve}; reserve no more than the most")
        return self


class PlanSettings(Model):
    """The numbers of a plan."""

    rate: CountableRate = Field(description="In place of the limit's rate.")
    burst: Burst | Literal["strict"] | None = Field(None, description="In place of the limit's burst, if it differs.")


class CandidateSettings(Model):
    """Other numbers that are counted beside those in force, and never enforced."""

    rate: CountableRate | None = Field(None, description="In place of the limit's rate.")
    burst: Burst | Literal["strict"] | None = Field(None, description="In place of the limit's burst, if it differs.")


class PenaltySettings(Model):
    """Who is denied again and again is blocked, each time for longer."""

    after: int = Field(ge=1, le=1_000_000, description="So many denials block.")
    within: Duration = Field(60.0, gt=0, le=86400, description="In this time.")
    block: Duration = Field(gt=0, le=30 * DAY_S, description="How long the first block lasts.")
    growth: float = Field(2.0, ge=1.0, le=100.0, description="How many times longer each further one lasts.")
    most: Duration = Field(DAY_S, gt=0, le=30 * DAY_S, description="The longest block.")

    @model_validator(mode="after")
    def _check(self) -> PenaltySettings:
        if self.block > self.most:
            raise ValueError("`block` is longer than `most`, the longest block; raise `most`")
        return self


class LimitSettings(Model):
    """One limit: how many requests each key may make."""

    algorithm: Literal["gcra", "fixed", "sliding", "log", "inflight"] = Field(
        "gcra",
        description="`gcra` refills steadily and allows a burst; `fixed` counts in windows that start over; `sliding` "
        "never lets more than the rate into any window of its length; `log` does so without refusing anything too "
        "many, for at most 1000 units; `inflight` counts the requests that are under way.",
    )
    rate: CountableRate | None = Field(
        None,
        validate_default=True,
        description="How many requests in which time, such as `10/s`, `200/min`, `5/15min` or `10000/month`.",
    )
    limit: int | None = Field(
        None, ge=1, le=1_000_000, validate_default=True, description="For `inflight`: how many may be under way."
    )
    lease: Duration = Field(
        30.0,
        le=HOUR_S,
        description="For `inflight`: how long a request still counts after its Weir was lost. It is renewed meanwhile.",
    )
    by: KeyWord | list[KeyWord] = Field(
        "ip",
        description="What is counted apart: `ip`, `user`, `tenant`, `api_key`, `route`, `global` (one count for all), "
        "`header:NAME` (sent by a trusted proxy), or a list of these for one composite key.",
    )
    time_zone: str | None = Field(
        None,
        description="For `fixed`: the windows are the hours, days, weeks or months of the calendar there, such as "
        "`Europe/Berlin` or `UTC`.",
    )
    burst: Burst | Literal["strict"] | None = Field(
        None,
        description="For `gcra`: how many requests may come at once. By default as many as the rate counts, so that "
        "up to twice the rate can fall into one period; a smaller burst is smoother, and `strict` keeps every period "
        "within the rate.",
    )
    cost: Units | CostSettings = Field(
        1, description="What a request uses up: a number, or what the backend's response says, or its size."
    )
    count_if: CountIf | None = Field(
        None,
        description="Count only requests that end so: `status in (401, 403)`, `status in (4xx)`, `status not in (2xx)`."
        " The others are given back after the response.",
    )
    missing: Literal["ip", "skip", "deny"] = Field(
        "ip",
        description="For a request without the key, such as an anonymous one under `by: user`: count it by its "
        "address, skip this limit, or deny the request.",
    )
    accuracy: Literal["exact", "leased", "local"] = Field(
        "exact",
        description="With a shared store: `exact` asks it for every request; `leased` takes a part of what is left "
        "and spends it here; `local` counts in each process alone.",
    )
    on_store_error: Literal["local", "allow", "deny"] = Field(
        "local",
        description="While the shared store is away: count in this process alone, let pass, or deny.",
    )
    mode: Literal["enforce", "shadow", "off"] = Field(
        "enforce", description="`shadow` decides and counts, and refuses nobody; `off` does nothing."
    )
    enforce_share: Percent | None = Field(
        None, gt=0, description="Enforce for this part of the keys, always the same ones; the others are in shadow."
    )
    candidate: CandidateSettings | None = Field(
        None, description="Numbers to try: counted beside those in force for every request, and never enforced."
    )
    plans: dict[PlanName, CountableRate | PlanSettings] = Field(
        default_factory=dict,
        description="Other numbers for clients whose verified plan is listed. For every other plan: `rate`.",
    )
    allow: tuple[SubjectText, ...] = Field(
        (), description="Who is not counted: networks, and verified `user:NAME`, `tenant:NAME`, `api_key:ID`."
    )
    deny: tuple[SubjectText, ...] = Field((), description="Who is refused, with 403. Written as in `allow`.")
    penalty: PenaltySettings | None = Field(
        None, description="Block whoever is denied again and again: 429, until the block is over."
    )
    on_limit: StepText | tuple[StepText, ...] = Field(
        "reject",
        description="What to try before the 429, in order: `stale` (what the cache holds), `replica` (as many reads "
        "again, by replicas alone), `delay(200ms)` (wait for its turn, if that is soon enough), `reject`.",
    )

    @field_validator("rate", "limit")
    @classmethod
    def _numbers_belong(cls, value: Any, info: ValidationInfo) -> Any:
        algorithm = info.data.get("algorithm")
        name = str(info.field_name)
        if algorithm is None or (name == "limit") == (algorithm == "inflight"):
            if value is None and algorithm is not None:
                raise PydanticCustomError("missing", "Field required")
        elif value is not None:
            other = "limit" if name == "rate" else "rate"
            raise ValueError(f"`{name}` has no meaning for the algorithm `{algorithm}`; write `{other}`")
        if name == "rate" and algorithm == "log" and value is not None and value.count > MOST_LOGGED:
            raise ValueError(f"`log` keeps every request of a window, at most {MOST_LOGGED}; use `sliding`")
        return value

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

    @field_validator("lease", "time_zone", "burst", "cost", "count_if", "accuracy", "candidate", "plans", "on_limit")
    @classmethod
    def _fits_the_algorithm(cls, value: Any, info: ValidationInfo) -> Any:
        algorithm = info.data.get("algorithm")
        name = str(info.field_name)
        only = _ONLY_FOR.get(name)
        if algorithm is not None and value not in (None, "exact", {}, 1, "reject"):
            if only is not None and algorithm != only:
                raise ValueError(f"`{name}` has no meaning for the algorithm `{algorithm}`; only `{only}` has a {name}")
            if algorithm == "inflight" and name in _NOT_IN_FLIGHT:
                raise ValueError(f"`{name}` has no meaning for the algorithm `inflight`; it counts what is under way")
        return value

    @field_validator("lease")
    @classmethod
    def _lease_can_be_renewed(cls, lease: float) -> float:
        if lease < 1.0:
            raise ValueError(f"a lease of {format_duration(lease)} ends before it can be renewed; write at least 1s")
        return lease

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, zone: str | None, info: ValidationInfo) -> str | None:
        if zone is None:
            return None
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"`{zone[:60]}` is no time zone; write a name such as Europe/Berlin or UTC") from None
        rate = info.data.get("rate")
        if rate is not None and rate.period_s not in _CALENDAR:
            raise ValueError(
                f"the windows of `{rate}` are not of the calendar; write a rate per hour, day, week or month"
            )
        return zone

    @field_validator("accuracy")
    @classmethod
    def _can_be_leased(cls, accuracy: str, info: ValidationInfo) -> str:
        if accuracy != "leased":
            return accuracy
        data = info.data
        if data.get("algorithm") in ("log", "inflight"):
            raise ValueError(f"`{data['algorithm']}` cannot be leased; it is exact or local")
        if data.get("count_if") is not None or isinstance(data.get("cost"), CostSettings):
            raise ValueError("what is corrected after the response cannot be spent from a lease; use `exact`")
        return accuracy

    @field_validator("on_limit")
    @classmethod
    def _ladder_stands(cls, words: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        _, delay_s = ladder.parse_ladder(words)
        algorithm = info.data.get("algorithm")
        if delay_s and algorithm not in (None, "gcra"):
            raise ValueError(f"`{algorithm}` cannot say when a request's turn is; only `gcra` can delay")
        return words

    @model_validator(mode="after")
    def _fits_together(self) -> LimitSettings:
        if self.enforce_share is not None and self.mode != "enforce":
            raise ValueError(f"`enforce_share` with `mode: {self.mode}` enforces nothing; write `mode: enforce`")
        for name, numbers in self.plans.items():
            if isinstance(numbers, PlanSettings) and numbers.burst is not None and self.algorithm != "gcra":
                raise ValueError(f"the plan `{name}` has a `burst`, and only `gcra` has one")
        if self.time_zone is not None and self.rate is not None:
            for name, rate in self._other_rates():
                if rate.period_s != self.rate.period_s:
                    raise ValueError(f"{name} has another period than `{self.rate}`; calendar windows have one")
        if self.algorithm == "log":
            for name, rate in self._other_rates():
                if rate.count > MOST_LOGGED:
                    raise ValueError(f"{name} is too large for `log`, which keeps at most {MOST_LOGGED}")
        if self.candidate is not None:
            self._check_candidate(self.candidate)
        return self

    def _other_rates(self) -> Iterator[tuple[str, Rate]]:
        for name, numbers in self.plans.items():
            yield f"the plan `{name}`", numbers.rate if isinstance(numbers, PlanSettings) else numbers
        if self.candidate is not None and self.candidate.rate is not None:
            yield "the candidate", self.candidate.rate

    def _check_candidate(self, candidate: CandidateSettings) -> None:
        if candidate.burst is not None and self.algorithm != "gcra":
            raise ValueError("the candidate has a `burst`, and only `gcra` has one")
        live = self.rate, self.burst or (self.rate.count if self.rate is not None else None)
        tried_rate, tried_burst = candidate.rate or self.rate, candidate.burst or self.burst
        if live == (tried_rate, tried_burst or (tried_rate.count if tried_rate is not None else None)):
            raise ValueError("the candidate is the same as the limit in force; give it another `rate` or `burst`")


_ONLY_FOR: Final = {"lease": "inflight", "time_zone": "fixed", "burst": "gcra"}
_NOT_IN_FLIGHT: Final = frozenset({"cost", "count_if", "candidate", "plans"})


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
    near: Percent = Field(
        0.8, gt=0, lt=1, description="Admitted requests that find so much of their quota used are counted as near it."
    )
    max_delayed: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="Most requests that wait for their turn at a time, by `delay`; one more is refused.",
    )
