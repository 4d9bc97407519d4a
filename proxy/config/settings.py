"""The whole configuration as models: what may stand in the root file, and what in every file.

Each feature brings the model of its own section; this file puts them together and holds what belongs to no feature:
listeners, routes, defaults and drain. `weir schema` prints all of it as JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from proxy.admin.settings import OperatorSettings
from proxy.cache.precompute.settings import PrecomputeSettings
from proxy.cache.settings import CacheRouteSettings, CacheSettings
from proxy.clients.settings import IdentitySettings
from proxy.config.values import Cidr, ListenText, Name, StoreUrl
from proxy.core.settings import Dsn, Duration, FileName, Model, Size
from proxy.database.settings import DatabaseSettings, PgBouncerSettings
from proxy.limits.settings import InlineLimitSettings, LimiterSettings, LimitSettings
from proxy.observe.settings import AccessLogSettings
from proxy.replicas.settings import ConsistencySettings
from proxy.routing.settings import CorsSettings, FieldRulesSettings, MatchSettings, RewriteSettings
from proxy.upstreams.settings import FallbackSettings, UpstreamSettings
from proxy.wire.settings import WireSettings

__all__ = [
    "DefaultsSettings",
    "DrainSettings",
    "ListenSettings",
    "ListenTlsSettings",
    "PolicySettings",
    "RouteSettings",
    "Settings",
    "UpstreamEntrySettings",
]


def _without_free_keys(value: Any) -> Any:
    """Sections that are mappings of names have `x-*` keys too."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if not str(key).startswith("x-")}
    return value


class ListenTlsSettings(Model):
    """TLS of a listener. The files are read at the start and at every reload."""

    cert: FileName = Field(description="Certificate chain in PEM form, the server's own first.")
    key: FileName = Field(description="Its private key in PEM form, without a passphrase.")


class ListenSettings(Model):
    """A listener."""

    address: ListenText = Field(description="`host:port`, or `unix:/path`.")
    tls: ListenTlsSettings | None = Field(None, description="Serve HTTPS with this certificate.")


class RouteSettings(Model):
    """Which requests are meant, and what applies to them. The most specific route wins; the order never matters."""

    name: Name = Field(description="Its name in metrics, logs and explanations.")
    match: MatchSettings = Field(default_factory=MatchSettings, description="Which requests this route is for.")
    upstream: str | None = Field(None, description="Who answers. Default: `defaults.upstream`.")
    limits: tuple[str | InlineLimitSettings, ...] | None = Field(
        None, description="Limits by name, or written here. All of them must admit. Default: `defaults.limits`."
    )
    announce_limits: bool = Field(
        True,
        description="Tell clients about their quota. `false` for a login: what is left of it is nobody's business. A "
        "429 keeps its Retry-After.",
    )
    cache: CacheRouteSettings | Literal["off"] = Field(
        "off", description="`{}` obeys what the backend's own fields allow; `ttl` and the rest say more."
    )
    precompute: PrecomputeSettings | None = Field(
        None, description="Fetch responses of this route on a schedule, before anybody asks. Needs `cache`."
    )
    read: Literal["replica", "primary"] | None = Field(
        None, description="Where GET and HEAD go when the upstream has replicas. Default: replica."
    )
    priority: Literal["critical", "normal", "background"] = Field(
        "normal", description="Who is served first while requests wait for a slot of the upstream."
    )
    require_user: bool = Field(False, description="Without a known user the answer is 401.")
    timeout: Duration | None = Field(
        None, gt=0, description="Until the head of the response, retries included; then 504. Default: 60s."
    )
    max_body: Size | None = Field(None, description="Largest request content, else 413. Default: no bound.")
    hedge: bool = Field(True, description="Hedge its GET and HEAD where the upstream says `hedge`.")
    fallback: FallbackSettings | None = Field(
        None, description="The answer when nobody of the upstream can be asked. Default: the upstream's."
    )
    rewrite: RewriteSettings | None = Field(None, description="The path that the backend sees.")
    request_fields: FieldRulesSettings | None = Field(None, description="Fields set or removed on the way in.")
    response_fields: FieldRulesSettings | None = Field(None, description="Fields set or removed on the way out.")
    cors: CorsSettings | None = Field(None, description="What pages of other origins may do.")
    security_headers: bool | None = Field(
        None, description="Add the usual protective fields where the backend sends none. Default: false."
    )
    upgrade: bool = Field(True, description="Let WebSocket connections through.")


class PolicySettings(Model):
    """What may stand in any file: who asks, limits and routes. The files' entries are put together."""

    only_in_root: ClassVar[frozenset[str]] = frozenset()  # set below

    identity: IdentitySettings | None = Field(None, description="How users and tenants are known. Once in all files.")
    limits: Annotated[dict[Name, LimitSettings], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict, description="Limits by name. A route lists those that apply to it."
    )
    routes: tuple[RouteSettings, ...] = Field((), description="Which requests go where, under which rules.")


class DefaultsSettings(Model):
    """For every route that does not say otherwise."""

    upstream: str | None = Field(None, description="Who answers.")
    limits: tuple[str | InlineLimitSettings, ...] = Field((), description="Limits of routes that list none.")
    read: Literal["replica", "primary"] = Field("replica", description="Where GET and HEAD go.")
    timeout: Duration = Field(60.0, gt=0, description="Until the head of the response, retries included.")
    max_body: Size | None = Field(None, description="Largest request content. Default: no bound.")
    security_headers: bool = Field(False, description="Add the usual protective fields.")


class DrainSettings(Model):
    """The orderly end, after SIGTERM."""

    timeout: Duration = Field(30.0, description="How long exchanges under way may take to finish.")
    delay: Duration = Field(
        0.0, description="Go on accepting for this long with /readyz failing, so that a balancer can look away."
    )


class UpstreamEntrySettings(UpstreamSettings):
    """A named group of endpoints, and what their reads must show."""

    database: Dsn | None = Field(
        None, description="The primary database server of the backend. Needed where replicas name theirs."
    )
    consistency: ConsistencySettings = Field(
        default_factory=ConsistencySettings, description="What a client must see of what it wrote and saw before."
    )


class Settings(PolicySettings):
    """The root file, `proxy.yaml`."""

    version: Literal[1] = Field(description="The version of this format.")
    listen: ListenText | ListenSettings | tuple[ListenText | ListenSettings, ...] = Field(
        "127.0.0.1:8080", description="Where clients connect: an address, or a list of them. Needs a restart."
    )
    admin: Literal["off"] | ListenText = Field(
        "127.0.0.1:9901", description="Health, metrics and the operator's API. Never public. Needs a restart."
    )
    store: Literal["memory"] | StoreUrl = Field(
        "memory",
        description="Where limits count: in this process, or in Redis or Valkey, as one server, behind Sentinels "
        "(`redis+sentinel://host:port,host:port/service`) or as a cluster (`redis+cluster://host:port,host:port`). "
        "Needs a restart.",
    )
    trusted_proxies: tuple[Cidr, ...] = Field(
        (), description="Peers whose forwarding fields (X-Forwarded-For and the like) are believed."
    )
    upstreams: Annotated[dict[Name, UpstreamEntrySettings], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict, description="Backends by name."
    )
    databases: Annotated[dict[Name, DatabaseSettings], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict, description="Postgres servers of the backend by name, with the pools to them."
    )
    pgbouncer: PgBouncerSettings | None = Field(None, description="The PgBouncer in front of all `databases`.")
    include: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), description="More files, as globs from the folder of this one."
    )
    defaults: DefaultsSettings = Field(default_factory=DefaultsSettings, description="For routes that say nothing.")
    wire: WireSettings = Field(default_factory=WireSettings, description="Bounds on connections and messages.")
    limiter: LimiterSettings = Field(default_factory=LimiterSettings, description="How all limits behave.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="The size of the cache.")
    operator: OperatorSettings = Field(default_factory=OperatorSettings, description="Who may use the operator's API.")
    access_log: AccessLogSettings = Field(default_factory=AccessLogSettings, description="One line for a request.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="The orderly end.")

    @property
    def listeners(self) -> tuple[ListenSettings, ...]:
        """`listen` in its long form, always a tuple."""
        listen = self.listen if isinstance(self.listen, tuple) else (self.listen,)
        return tuple(ListenSettings(address=item) if isinstance(item, str) else item for item in listen)


PolicySettings.only_in_root = frozenset(Settings.model_fields) - frozenset(PolicySettings.model_fields)
