"""A connection string, and all that can be said of it without connecting. Pure; no sentence ever holds the password."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["ConnectionString", "Finding", "Mode", "look_at", "parse_connection_string"]

Level = Literal["ok", "note", "warning", "error"]
Mode = Literal["transaction", "session", "direct"]

_FORM: Final = "write postgresql://user:password@host:port/database"
_PRISMA: Final = ("pgbouncer", "connection_limit", "pool_timeout", "schema", "statement_cache_size", "sslaccept")
_SQLALCHEMY: Final = ("prepared_statement_cache_size", "prepared_statement_name_func")
_KNOWN: Final = frozenset(
    (
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation", "channel_binding"),
        *("application_name", "fallback_application_name", "connect_timeout", "client_encoding", "gssencmode"),
        *("target_session_attrs", "load_balance_hosts", "passfile", "service", "require_auth", "krbsrvname"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    )
)
_SURE_TLS: Final = ("require", "verify-ca", "verify-full")
_SSL_MODES: Final = ("disable", "allow", "prefer", *_SURE_TLS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so. `advice` says what to change, and is empty when nothing is."""

    level: Level
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """What it says. `host` is a folder for a unix socket. `driver` is what stood after a `+`, for SQLAlchemy."""

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    driver: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    has_odd_at: bool = False

    @property
    def label(self) -> str:
        """For people: without password and parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}/{self.database}"

    @property
    def ssl_mode(self) -> str:
        return dict(self.parameters).get("sslmode", "")

    @property
    def is_local(self) -> bool:
        """It does not leave this machine."""
        if self.host.startswith("/") or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_connection_string(text: str) -> ConnectionString:
    """Raises ValueError, with a sentence and a hint after `; `, when it is none."""
    scheme, found, rest = text.strip().partition("://")
    if not found:
        if "=" in text and "host" in text:
            raise ValueError(f"this is the form with `host=... port=...`, which most drivers do not take; {_FORM}")
        raise ValueError(f"this is not a connection string; {_FORM}")
    name, _, driver = scheme.partition("+")
    if name not in ("postgresql", "postgres"):
        raise ValueError(f"it begins with `{name[:20]}://`, which is not Postgres; {_FORM}")
    try:
        url = urlsplit(f"postgresql://{rest}")
        port = url.port
    except ValueError:
        raise ValueError(f"its port or address is malformed; {_FORM}") from None
    parameters = tuple(parse_qsl(url.query, keep_blank_values=True))
    userinfo, has_user, place = url.netloc.rpartition("@")
    if "," in place:
        raise ValueError("it names several hosts; examine them one by one")
    host = unquote(place.rpartition(":")[0] if port is not None else place.removesuffix(":"))
    host = host.removeprefix("[").removesuffix("]") or dict(parameters).get("host", "")
    if not host:
        raise ValueError(f"it names no host; {_FORM}")
    user = unquote(userinfo.partition(":")[0]) if has_user else ""
    if not user:
        raise ValueError(f"it names no user; {_FORM}")
    password = unquote(url.password) if url.password is not None else None
    database = unquote(url.path[1:]) or user
    return ConnectionString(
        host,
        port or 5432,
        user,
        password,
        database,
        driver,
        parameters,
        has_odd_at="@" in userinfo or bool(url.fragment),
    )


def look_at(string: ConnectionString, mode: Mode) -> Iterator[Finding]:
    """What the text alone tells, for somebody who wants to connect in `mode`."""
    if string.has_odd_at:
        advice = "write @ as %40, # as %23, / as %2F and : as %3A in the password"
        yield Finding("warning", "the password or user has a character that ends it for some drivers", advice)
    yield from _of_provider(string, mode)
    yield from _of_tls(string)
    for name, value in string.parameters:
        yield from _of_parameter(name, value, mode)
    if string.driver:
        yield Finding("note", f"`+{string.driver}` is for SQLAlchemy; other programs want `postgresql://`")


def _of_provider(string: ConnectionString, mode: Mode) -> Iterator[Finding]:
    host, port = string.host.lower(), string.port
    if host.endswith(".pooler.supabase.com"):
        yield from _of_supavisor(string, mode)
    elif host.startswith("db.") and host.endswith((".supabase.co", ".supabase.com")):
        if port == 6543:
            yield Finding("ok", "port 6543 of a project's own host is its PgBouncer, in transaction mode")
        elif mode != "direct":
            advice = "take the string of the transaction pooler, which has port 6543"
            yield Finding("error", "this is the database itself, without a pooler", advice)
    elif host.endswith(".neon.tech") and "-pooler." not in host and mode == "transaction":
        first, _, rest = host.partition(".")
        yield Finding("error", "this host is the database itself", f"the pooler is {first}-pooler.{rest}")
    elif port == 5432 and mode == "transaction":
        yield Finding("note", "5432 is Postgres' own port; PgBouncer is usually at 6432")


def _of_supavisor(string: ConnectionString, mode: Mode) -> Iterator[Finding]:
    if string.port == 6543:
        level: Level = "ok" if mode == "transaction" else "error"
        advice = "" if level == "ok" else "port 5432 of the same host is session mode"
        yield Finding(level, "port 6543 of Supavisor is transaction mode", advice)
    elif string.port == 5432:
        level = "error" if mode == "transaction" else "ok"
        advice = "write port 6543" if level == "error" else ""
        yield Finding(level, "port 5432 of Supavisor is session mode: each client keeps a connection", advice)
    else:
        yield Finding("error", f"Supavisor does not listen on port {string.port}", "6543 is transaction mode")
    if "." not in string.user:
        advice = f"write the user as {string.user}.PROJECT, with the reference of the project"
        yield Finding("error", "Supavisor finds the project by the user's name, and this one names none", advice)


def _of_tls(string: ConnectionString) -> Iterator[Finding]:
    mode = string.ssl_mode
    if mode and mode not in _SSL_MODES:
        yield Finding("error", f"`sslmode={mode}` does not exist", "write sslmode=require, or verify-full")
    elif not string.is_local and mode not in _SURE_TLS:
        said = f"sslmode={mode}" if mode else "without sslmode"
        advice = "add sslmode=require; verify-full with sslrootcert also proves who answers"
        yield Finding("warning", f"{said}, the password and all data may travel unencrypted", advice)


def _of_parameter(name: str, value: str, mode: Mode) -> Iterator[Finding]:
    if name in _PRISMA:
        if name == "pgbouncer" and mode != "transaction":
            yield Finding("note", "`pgbouncer=true` is only needed in transaction mode")
        else:
            yield Finding("note", f"`{name}` is for Prisma; other drivers refuse it")
    elif name in _SQLALCHEMY:
        yield Finding("note", f"`{name}` is for SQLAlchemy with asyncpg; other drivers refuse it")
    elif name == "options" or name == "search_path":
        if mode == "transaction":
            advice = "set it for the role, ALTER ROLE ... SET, or in each transaction with SET LOCAL"
            yield Finding("warning", f"`{name}` is a setting of the session: a pooler refuses or forgets it", advice)
    elif name == "target_session_attrs" and mode == "transaction":
        advice = "connect to the pool that leads to the server that you mean"
        yield Finding("warning", "`target_session_attrs` asks the pooler, which does not choose servers", advice)
    elif name not in _KNOWN and name != "host":
        yield Finding("warning", f"`{name}` is no parameter of libpq; most drivers refuse it", "leave it out")
