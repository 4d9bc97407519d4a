"""The address of a store: redis-py's URLs, and two more kinds for what is more than one server.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?OPTIONS]       rediss:// the same with TLS
    unix://[[USER]:PASSWORD@]/PATH[?OPTIONS]
    redis+sentinel://[...@]HOST[:PORT],.../SERVICE[/DB]        rediss+sentinel:// TLS to the Sentinels too
    redis+cluster://[...@]HOST[:PORT],...                      rediss+cluster://

Certificates are verified unless `ssl_cert_reqs=none` says otherwise. The messages name no password.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field, replace
from typing import Any, Final

from redis.asyncio.connection import parse_url

SINGLE: Final = "single"
SENTINEL: Final = "sentinel"
CLUSTER: Final = "cluster"

_SCHEME: Final = re.compile("([a-z+]+)://")
_REST: Final = re.compile(r"(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?")
_KINDS: Final = {
    **{"redis": SINGLE, "rediss": SINGLE, "unix": SINGLE},
    **{"redis+sentinel": SENTINEL, "rediss+sentinel": SENTINEL},
    **{"redis+cluster": CLUSTER, "rediss+cluster": CLUSTER},
}
_PORTS: Final = {SINGLE: 6379, SENTINEL: 26379, CLUSTER: 6379}
_TLS: Final = {
    f"ssl_{name}": name
    for name in ("ca_certs", "ca_path", "ca_data", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
} | {"ssl_min_version": "min_version", "ssl_ciphers": "ciphers"}
_OWN: Final = frozenset({"host", "port", "path", "db", "username", "password", "client_name", "connection_class"})
_OF_SENTINELS: Final = ("sentinel_username", "sentinel_password")
_WITHOUT_EFFECT: Final = frozenset(  # redis-py's, about its pools, retries and decoding
    "max_connections timeout socket_timeout socket_connect_timeout socket_keepalive socket_read_size retry_on_timeout "
    "health_check_interval protocol legacy_responses decode_responses encoding encoding_errors lib_name".split()
)
_MALFORMED: Final = (
    "the address of the store is malformed; write special characters of the password as %40 and the like"
)
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves who it is, and how we do. Files are read at every connect, so renewed ones are noticed."""

    ca_certs: str | None = None
    ca_path: str | None = None
    ca_data: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    cert_reqs: str = "required"
    check_hostname: bool = True
    min_version: int | None = None
    ciphers: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) when a file cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_certs, capath=self.ca_path, cadata=self.ca_data)
        context.check_hostname = self.check_hostname and self.cert_reqs != "none"
        context.verify_mode = _VERIFY[self.cert_reqs]
        context.minimum_version = ssl.TLSVersion(self.min_version or ssl.TLSVersion.TLSv1_2)
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile, self.password)
        if self.ciphers is not None:
            context.set_ciphers(self.ciphers)
        return context

    def for_redis_py(self) -> dict[str, Any]:
        """The same as options of its connections."""
        return {"ssl": True, **{option: getattr(self, name) for option, name in _TLS.items()}}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server, and how to log in to it."""

    host: str = ""
    port: int = 0
    path: str | None = None  # of a unix socket, instead of both
    tls: Tls | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    client_name: str = "weir"

    def at(self, host: str, port: int) -> Endpoint:
        """The same at another address."""
        return replace(self, host=host, port=port)

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """What a URL says. `endpoints` are the server, the Sentinels, or nodes of the cluster to begin with."""

    kind: str
    endpoints: tuple[Endpoint, ...]
    service: str = ""  # what the Sentinels call the master
    master: Endpoint = field(default_factory=Endpoint)  # how to log in to it, without its address


def parse_store_url(url: str) -> StoreAddress:
    """Raises ValueError with one sentence that has no secrets in it."""
    begin = _SCHEME.match(url)
    kind = _KINDS.get(begin[1]) if begin is not None else None
    if begin is None or kind is None:
        raise ValueError("the address of the store has no scheme that Weir knows")
    rest = _REST.fullmatch(url, begin.end())
    if rest is None:
        raise ValueError(_MALFORMED)
    hosts, path = rest["hosts"].split(","), (rest["path"] or "").removeprefix("/")
    if begin[1] == "unix":
        return _unix(url, path)
    if not all(hosts) or (kind == SINGLE and len(hosts) > 1):
        raise ValueError("the address of the store has no host, or one too many")
    service = ""
    if kind == SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the address of the store ends with what its Sentinels call it; write .../SERVICE")
    if not re.fullmatch("[0-9]{0,4}", path) or (kind == CLUSTER and path not in ("", "0")):
        raise ValueError("the database of the store is not a number, or not 0 in a cluster")
    login = "" if rest["login"] is None else f"{rest['login']}@"
    tail = f"/{path}?{rest['query'] or ''}"
    scheme = begin[1].partition("+")[0]
    endpoints = tuple([_endpoint(f"{scheme}://{login}{host}{tail}", kind) for host in hosts])
    if kind != SENTINEL:
        return StoreAddress(kind, endpoints)
    own = _options(f"redis://x{tail}")
    sentinels = tuple(
        [
            replace(each, db=0, username=own.get("sentinel_username"), password=own.get("sentinel_password"))
            for each in endpoints
        ]
    )
    return StoreAddress(SENTINEL, sentinels, service, endpoints[0])


def _unix(url: str, path: str) -> StoreAddress:
    if not path.strip("/"):
        raise ValueError("the address of the store has no path")
    return StoreAddress(SINGLE, (_endpoint(url, SINGLE),))


def _endpoint(url: str, kind: str) -> Endpoint:
    options = _options(url)
    if not options.get("path") and not options.get("host"):
        raise ValueError(_MALFORMED)
    tls: Tls | None = None
    chosen = {_TLS[name]: value for name, value in options.items() if name in _TLS}
    if url.startswith("rediss:"):
        tls = _tls(chosen)
    elif chosen:
        raise ValueError("the address of the store has options of TLS, but not the scheme rediss")
    return Endpoint(
        host=options.get("host", ""),
        port=options.get("port", _PORTS[kind]),
        path=options.get("path"),
        tls=tls,
        username=options.get("username"),
        password=options.get("password"),
        db=0 if kind == CLUSTER else options.get("db", 0),
        client_name=options.get("client_name", "weir"),
    )


def _options(url: str) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:  # its text may hold a part of the password
        raise ValueError(_MALFORMED) from None
    known = _OWN | _TLS.keys() | _WITHOUT_EFFECT | set(_OF_SENTINELS)
    for name in options:
        if name not in known:
            raise ValueError(f"the address of the store has an option that Weir does not know: {name[:40]}")
    return options


def _tls(chosen: dict[str, Any]) -> Tls:
    tls = Tls(**chosen)
    if tls.cert_reqs not in _VERIFY:
        raise ValueError("ssl_cert_reqs of the store is one of none, optional and required")
    if tls.keyfile is not None and tls.certfile is None:
        raise ValueError("ssl_keyfile of the store needs ssl_certfile")
    if tls.min_version is not None and tls.min_version not in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        raise ValueError("ssl_min_version of the store is 771 (TLS 1.2) or 772 (TLS 1.3)")
    return tls
