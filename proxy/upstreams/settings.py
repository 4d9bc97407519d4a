"""One entry of the `upstreams:` section: where it is and how it may be used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Dsn, Duration, FileName, Model, Percent, RateText, Size
from proxy.core.units import Rate
from proxy.upstreams.address import is_name, parse_address

__all__ = [
    "AdaptiveSettings",
    "EjectSettings",
    "FallbackSettings",
    "HealthSettings",
    "HedgeSettings",
    "PoolSettings",
    "ReplicaSettings",
    "RetrySettings",
    "ShedSettings",
    "UpstreamSettings",
    "UpstreamTlsSettings",
]


def _check_url(text: str) -> str:
    parse_address(text)
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def _check_path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError("a health path begins with / and is printable ASCII without spaces, such as /healthz")
    return path


_URL_SCHEMA = {
    "type": "string",
    "pattern": "^(https?://|unix:/)",
    "description": "The address of an endpoint.",
    "examples": ["http://127.0.0.1:3000", "https://app.internal", "unix:/run/app.sock"],
}
Url = Annotated[str, AfterValidator(_check_url), WithJsonSchema(_URL_SCHEMA)]
Urls = Annotated[
    tuple[Url, ...],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_URL_SCHEMA, {"type": "array", "items": _URL_SCHEMA}]}),
]


Status = Annotated[int, Field(ge=500, le=599)]


class ReplicaSettings(Model):
    """An endpoint that reads from a replica of the database."""

    url: Url = Field(description="Its address.")
    database: Dsn | None = Field(
        default=None,
        description="The database server that it reads from, as `postgresql://user@host:5432/name`: asked directly, so "
        "that a read is never sent where its client's own write has not arrived.",
    )


Replicas = Annotated[tuple[Url | ReplicaSettings, ...], BeforeValidator(_as_list)]


class AdaptiveSettings(Model):
    """How much the upstream gets at once, found out from how long it takes; never more than its slots."""

    mode: Literal["off", "observe", "enforce"] = Field(
        default="off",
        description="`observe`: find the limit, and count what it would hold back. `enforce`: what is beyond it waits.",
    )
    min: int = Field(default=8, ge=1, le=100_000, description="The limit never falls below, not even to measure.")
    tolerance: float = Field(
        default=1.5, ge=1.05, le=10.0, description="Answers that take this many times as long as usual are late."
    )
    measure: Duration = Field(
        default=60.0,
        ge=1,
        description="Under constant load, what is usual is measured this often, with half of the limit for a moment. "
        "Only with `enforce`.",
    )

    @model_validator(mode="after")
    def _check(self) -> AdaptiveSettings:
        if self.mode == "off" and (idle := self.model_fields_set - {"mode"}):
            raise ValueError(f"{min(idle)} has no effect with mode: off; write mode: observe")
        if self.mode == "observe" and "measure" in self.model_fields_set:
            raise ValueError("measure has no effect with mode: observe, which holds nothing back")
        return self


class ShedSettings(Model):
    """Classes that are refused at once while the queue is too long for too long. `critical` never is."""

    background: Percent = Field(
        default=0.5, gt=0, description="Part of the queue that is taken from which on `background` is refused."
    )
    normal: Percent | Literal["off"] = Field(
        default=0.8, description="The same of `normal`; then nothing in the `background` may wait either. `off`: never."
    )

    @model_validator(mode="after")
    def _check(self) -> ShedSettings:
        if self.normal != "off" and self.normal < self.background:
            raise ValueError("normal is below background: the better class would be refused first; raise it too")
        return self


class PoolSettings(Model):
    """Connections to each endpoint, and the queue before all of them."""

    max_in_flight: int = Field(
        default=64, ge=1, le=100_000, description="Most exchanges, and so connections, an endpoint has at once."
    )
    max_in_flight_total: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most exchanges that all endpoints of the upstream have at once. Default: only the bound of each.",
    )
    min_idle: int = Field(default=0, ge=0, description="Connections kept open and ready, without any request.")
    max_idle: int | None = Field(
        default=None, ge=0, description="Most connections kept open without a request. Default: `max_in_flight`."
    )
    idle_timeout: Duration = Field(
        default=60.0, gt=0, description="An unused connection is closed after this; keep it below the backend's own."
    )
    max_lifetime: Duration = Field(
        default=300.0,
        gt=0,
        description="No connection gets older. Each one ends at 90 % to 100 % of this, so that not all end at once.",
    )
    connect_timeout: Duration = Field(default=1.0, gt=0, description="Longest time to connect, TLS included, or 504.")
    queue: int = Field(
        default=128,
        ge=0,
        le=1_000_000,
        description="Most requests that wait for a slot of the upstream; for its replicas apart. Or 503. 0: none.",
    )
    queue_bytes: Size = Field(
        default=64 << 20, ge=0, description="Most content that waiting requests hold in memory, or 503."
    )
    queue_timeout: Duration = Field(default=2.0, gt=0, description="Longest wait for a free slot, or 503.")
    shed: ShedSettings | Literal["off"] = Field(
        default="off",
        description="Refuse worse classes at once under sustained overload. `{}` for the defaults.",
    )
    adaptive: AdaptiveSettings = Field(
        default_factory=AdaptiveSettings, description="Give the upstream less at once while it gets slow."
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> PoolSettings:
        most = self.max_in_flight if self.max_idle is None else min(self.max_idle, self.max_in_flight)
        if self.min_idle > most:
            name = "max_idle" if most == self.max_idle else "max_in_flight"
            raise ValueError(f"min_idle ({self.min_idle}) is above {name} ({most})")
        total = self.max_in_flight_total
        if total is not None and self.min_idle > total:
            raise ValueError(f"min_idle ({self.min_idle}) is above max_in_flight_total ({total})")
        if total is not None and "max_in_flight" in self.model_fields_set and self.max_in_flight > total:
            raise ValueError(
                f"max_in_flight ({self.max_in_flight}) is above max_in_flight_total ({total}): no endpoint could have "
                "that many"
            )
        if self.queue == 0 and self.adaptive.mode == "enforce":
            raise ValueError("adaptive has nowhere to let requests wait with queue: 0; write mode: observe")
        if self.queue == 0 and self.shed != "off":
            raise ValueError("shed has no effect with queue: 0: nobody waits")
        return self


class HealthSettings(Model):
    """Active checks of every endpoint. Without them an endpoint that refuses is tried by a plain connect."""

    path: Annotated[str, AfterValidator(_check_path)] = Field(
        description="Asked with GET; a status from 200 to 399 is healthy."
    )
    interval: Duration = Field(default=2.0, gt=0, description="Between two checks of an endpoint.")
    timeout: Duration = Field(default=2.0, gt=0, description="Longest time for the response head of a check.")
    rise: int = Field(default=2, ge=1, description="Good checks in a row that bring an endpoint back.")
    fall: int = Field(default=3, ge=1, description="Bad checks in a row that take an endpoint out.")


class EjectSettings(Model):
    """When an endpoint that can be reached is skipped for a while, because what it answers is of no use."""

    consecutive: int = Field(default=5, ge=1, description="Failures in a row that eject an endpoint.")
    ratio: Percent = Field(default=0.5, gt=0, description="Share of failures in the last 10 s that ejects one.")
    min_requests: int = Field(default=20, ge=1, description="Fewer requests in the last 10 s give no share.")
    statuses: tuple[Status, ...] = Field(
        default=(502, 503, 504), description="Statuses that count as failures, besides resets and timeouts."
    )
    base: Duration = Field(default=10.0, gt=0, description="Out for this; twice this the next time, and so on.")
    max: Duration = Field(default=300.0, gt=0, description="Longest time out.")
    panic: Percent = Field(default=0.5, description="With a smaller share of endpoints left, all are used.")
    open: Duration = Field(
        default=5.0,
        gt=0,
        description="How long the breaker of the last endpoint is open, which opens by `ratio` of requests without an "
        "answer; doubling.",
    )
    open_max: Duration = Field(default=60.0, gt=0, description="Longest time that the breaker is open.")

    @model_validator(mode="after")
    def _check(self) -> EjectSettings:
        for name, least, most in (("max", self.base, self.max), ("open_max", self.open, self.open_max)):
            if most < least:
                raise ValueError(f"{name} is shorter than {'base' if name == 'max' else 'open'}; raise it too")
        return self


class RetrySettings(Model):
    """Which failed attempts are made again. Never one that might make the backend act twice."""

    attempts: int = Field(default=1, ge=0, le=5, description="Attempts beyond the first.")
    on: tuple[Literal["connect", "reset"] | Status, ...] = Field(
        default=("connect", "reset", 502, 503, 504),
        description="`connect`: no connection could be made. `reset`: it broke before any answer, for idempotent "
        "methods. A status: for GET, HEAD and OPTIONS, and only at another endpoint.",
    )
    base: Duration = Field(default=0.025, gt=0, description="Bound of the random wait before a retry; doubles.")
    max: Duration = Field(default=0.25, gt=0, description="Largest bound of the wait.")
    retry_after: Duration = Field(
        default=1.0, description="Longest Retry-After that is waited for; an answer with a longer one is final."
    )
    again_within: Duration = Field(
        default=0.25,
        description="At the only endpoint an attempt that took longer than this to break is not made again, unless "
        "connections are refused now.",
    )
    budget: Percent = Field(default=0.2, description="Retries for each request of the last 10 s, at most.")
    floor: RateText = Field(default=Rate(3, 1.0), description="Retries that are allowed in any case.")

    @model_validator(mode="after")
    def _check(self) -> RetrySettings:
        if self.max < self.base:
            raise ValueError("max is shorter than base; raise it too")
        if self.attempts == 0 and "on" in self.model_fields_set:
            raise ValueError("on has no effect with attempts: 0; write attempts: 1")
        return self


class HedgeSettings(Model):
    """A second endpoint is asked when the first takes longer than nearly all answers do; the first answer counts."""

    extra: Percent = Field(default=0.02, gt=0, le=0.2, description="Hedges for each GET and HEAD, at most.")
    least: Duration = Field(default=0.01, gt=0, description="No request is hedged sooner.")
    most: Duration = Field(default=2.0, gt=0, description="The longest wait before a hedge, whatever was learned.")

    @model_validator(mode="after")
    def _check(self) -> HedgeSettings:
        if self.most < self.least:
            raise ValueError("most is shorter than least; raise it too")
        return self


class FallbackSettings(Model):
    """The answer when nobody of the upstream can be asked and nothing stored stands in."""

    status: Annotated[int, Field(ge=200, le=599)] = Field(default=503, description="Its status.")
    content_type: str = Field(
        default="text/html; charset=utf-8", pattern=r"^[!-~][ -~]*$", description="Its Content-Type."
    )
    body: str = Field(max_length=1_000_000, description="Its content.")


class UpstreamTlsSettings(Model):
    """How `https://` endpoints are verified, and who we say we are."""

    ca: FileName | None = Field(
        default=None, description="File of the certificate authorities to trust instead of the system's."
    )
    verify: bool = Field(default=True, description="false accepts any certificate: for tests only.")
    server_name: str | None = Field(
        default=None, min_length=1, description="Name to ask for (SNI) and to verify instead of the address's host."
    )
    cert: FileName | None = Field(default=None, description="File of the client certificate, PEM, with its chain.")
    key: FileName | None = Field(
        default=None, description="File of the client certificate's key, if it is not in `cert`."
    )

    @model_validator(mode="after")
    def _check(self) -> UpstreamTlsSettings:
        if self.key is not None and self.cert is None:
            raise ValueError("key has no cert that it belongs to")
        if self.ca is not None and not self.verify:
            raise ValueError("ca has no effect with verify: false")
        return self


class UpstreamSettings(Model):
    """A named group of endpoints that give the same answers."""

    primary: Urls = Field(description="Endpoints that take every request.")
    replicas: Replicas = Field(
        default=(), description="Endpoints that take GET and HEAD, unless the route says `read: primary`."
    )
    select: Literal["round_robin", "least_requests"] = Field(
        default="round_robin", description="Which of several healthy endpoints is used: in turn, or the least busy."
    )
    pool: PoolSettings = Field(default_factory=PoolSettings, description="Connections to each endpoint.")
    health: HealthSettings | None = Field(default=None, description="Active checks of each endpoint.")
    eject: EjectSettings | Literal["off"] = Field(
        default_factory=EjectSettings, description="Endpoints whose answers are of no use are skipped for a while."
    )
    retry: RetrySettings | Literal["off"] = Field(
        default_factory=RetrySettings, description="Failed attempts that are made again."
    )
    hedge: HedgeSettings | Literal["off"] = Field(
        default="off",
        description="Ask a second endpoint when a GET or HEAD takes unusually long. `{}` for the defaults.",
    )
    slow_start: Duration = Field(
        default=30.0, description="An endpoint that is new or back gets its full share after this. 0s: at once."
    )
    hold_on_refused: Duration = Field(
        default=15.0,
        description="While all endpoints refuse connections, requests wait for them to be back, up to this long after "
        "it began. 0s: they fail at once.",
    )
    hold_requests: int = Field(default=1000, ge=1, le=1_000_000, description="Most requests that wait like that.")
    hold_bytes: Size = Field(default=64 * 1024 * 1024, description="Most content of theirs that is kept meanwhile.")
    resolve: Duration | Literal["off"] = Field(
        default="off",
        description="Look up the names of endpoints this often, and when one fails; each address is an endpoint. "
        "`off`: the system resolves a name at each connect.",
    )
    fallback: FallbackSettings | None = Field(
        default=None, description="What clients get when nobody can be asked, instead of a 502, 503 or 504 of ours."
    )
    tls: UpstreamTlsSettings | None = Field(default=None, description="For `https://` endpoints.")
    host: Literal["pass", "upstream"] = Field(
        default="pass", description="Host that the backend sees: the client's, or the one of the endpoint's address."
    )

    @property
    def replica_urls(self) -> tuple[str, ...]:
        return tuple([replica if isinstance(replica, str) else replica.url for replica in self.replicas])

    @model_validator(mode="after")
    def _check(self) -> UpstreamSettings:
        if not self.primary:
            raise ValueError("primary lists no address")
        for role, urls in (("primary", self.primary), ("replicas", self.replica_urls)):
            seen: set[str] = set()
            for label in (parse_address(url).label for url in urls):
                if label in seen:
                    raise ValueError(f"{role} lists {label} twice")
                seen.add(label)
        if self.resolve != "off":
            if self.resolve < 1.0:
                raise ValueError("resolve is shorter than 1s; names change more slowly than that")
            if not any(is_name(parse_address(url)) for url in self.primary + self.replica_urls):
                raise ValueError("resolve is for names, and this upstream has none")
        self._check_adaptive()
        if self.hold_on_refused == 0.0 and (idle := self.model_fields_set & {"hold_requests", "hold_bytes"}):
            raise ValueError(f"{min(idle)} has no effect with hold_on_refused: 0s")
        if self.tls is not None and not any(
            url.lower().startswith("https:") for url in self.primary + self.replica_urls
        ):
            raise ValueError("tls is for https:// endpoints, and this upstream has none")
        return self

    def _check_adaptive(self) -> None:
        """The limit moves between `min` and the slots. How many addresses a name has is not known here."""
        pool, least = self.pool, self.pool.adaptive.min
        if pool.adaptive.mode == "off":
            return
        endpoints = len({parse_address(url).label for url in self.primary + self.replica_urls})
        slots = pool.max_in_flight * endpoints if self.resolve == "off" else None
        if pool.max_in_flight_total is not None:
            slots = pool.max_in_flight_total if slots is None else min(slots, pool.max_in_flight_total)
        if slots is not None and least >= slots:
            raise ValueError(
                f"adaptive: min ({least}) leaves the limit no room below {slots} slot{'s' if slots > 1 else ''}; "
                + (f"write min: {max(slots // 4, 1)}" if slots > 1 else "write mode: off")
            )
