"""The `databases:` and `pgbouncer:` sections: Postgres servers, and the pooler in front of all of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Duration, FileName, Model
from proxy.database.console_url import parse_console_url

__all__ = ["DatabasePoolSettings", "DatabaseSettings", "PgBouncerSettings"]

_POOL_NAME: Final = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"
_VERSION: Final = "^1[.][0-9]{1,2}$"
_OLDEST: Final = (1, 18)


def _check_pool_name(text: str) -> str:
    if not re.fullmatch(_POOL_NAME[1:-1], text):
        raise ValueError(f"`{text[:80]}` is not the name of a pool; write letters, digits, `_`, `-` and `.`")
    if text == "pgbouncer":
        raise ValueError("`pgbouncer` is the name of PgBouncer's own console; call the pool otherwise")
    return text


def _check_word(text: str) -> str:
    if any(not character.isprintable() for character in text):
        raise ValueError("it has characters that cannot be printed")
    return text


def _check_listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"`{text[:80]}` is not an address; write host:port, such as 127.0.0.1:6432")
    return text


def _check_version(text: str) -> str:
    if not re.fullmatch(_VERSION[1:-1], text):
        raise ValueError(f"`{text[:80]}` is not a version of PgBouncer; write it as 1.18")
    if parse_version(text) < _OLDEST:
        raise ValueError(f"PgBouncer {text} is too old; 1.18 is the oldest whose settings are known")
    return text


def _check_console(text: str) -> str:
    if text != "off":
        parse_console_url(text)  # its messages never hold the password
    return text


def _without_free_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if not str(key).startswith("x-")}
    return value


def parse_version(text: str) -> tuple[int, int]:
    """`1.18` as numbers, so that 1.9 is older than 1.18."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)


Word = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_check_word)]
PoolName = Annotated[str, AfterValidator(_check_pool_name), WithJsonSchema({"type": "string", "pattern": _POOL_NAME})]


class DatabasePoolSettings(Model):
    """One pool: clients that connect to PgBouncer under its name share at most `size` connections to the server."""

    database: Word | None = Field(None, description="The database on the server. Default: the name of the pool.")
    user: Word | None = Field(
        None,
        description="The user on the server, for every client of the pool. Default: the client's own; then the pool "
        "is still held to its size, by `max_db_connections`.",
    )
    size: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Connections to the server. Default: 4 for each core, and no more than the pool's equal part of "
        "what the server has.",
    )
    reserve: int = Field(
        5, ge=0, le=1_000, description="Connections beyond `size`, opened when a client waits for longer than 1s."
    )


class DatabaseSettings(Model):
    """A Postgres server that the backend uses, and the pools that PgBouncer keeps to it."""

    host: Word = Field("127.0.0.1", description="Its host, or the folder of its unix socket.")
    port: int = Field(5432, ge=1, le=65535, description="Its port.")
    max_connections: int = Field(100, ge=2, le=100_000, description="`max_connections` of the server.")
    superuser_reserved: int = Field(
        3, ge=0, le=1_000, description="`superuser_reserved_connections` of the server (and `reserved_connections`)."
    )
    reserved: int = Field(
        10,
        ge=0,
        le=10_000,
        description="Connections for what goes past the pooler: migrations, monitoring, replication, Weir itself.",
    )
    cores: int = Field(2, ge=1, le=4096, description="Cores of the server: more queries at once only get slower.")
    pools: Annotated[dict[PoolName, DatabasePoolSettings], BeforeValidator(_without_free_keys)] = Field(
        default_factory=dict, description="The pools by the name that the backend connects to."
    )
    upstreams: tuple[str, ...] | None = Field(
        None,
        description="Upstreams that use this server: they get less at once while clients of its pools wait too long. "
        "Default: all.",
    )

    def uses(self, upstream: str) -> bool:
        """Whether what is sent to this upstream ends up at this server."""
        return self.upstreams is None or upstream in self.upstreams


class PgBouncerSettings(Model):
    """The PgBouncer in front of all `databases`. `weir pgbouncer render` writes its file."""

    listen: Annotated[
        str,
        AfterValidator(_check_listen),
        WithJsonSchema({"type": "string", "examples": ["127.0.0.1:6432"]}),
    ] = Field("127.0.0.1:6432", description="Where the backend connects.")
    socket_folder: FileName | None = Field(None, description="Folder of its unix socket. Default: none is opened.")
    version: Annotated[
        str,
        AfterValidator(_check_version),
        WithJsonSchema({"type": "string", "pattern": _VERSION}),
    ] = Field("1.18", description="Its version, in quotes: settings that it does not know yet are left out.")
    clients: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Connections that all instances of the backend have open at most. Default: `max_in_flight` of all "
        "endpoints, and no more than `max_in_flight_total`.",
    )
    workers: int = Field(1, ge=1, le=4096, description="Processes of the backend, each with a connection of its own.")
    query_wait: Duration = Field(
        5.0, ge=1, description="Longest wait for a connection to the server. Below the timeout of every route."
    )
    idle_transaction: Duration = Field(
        30.0, ge=1, description="A client that leaves its transaction open for this long is disconnected."
    )
    server_idle: Duration = Field(60.0, ge=1, description="A connection to the server that is unused is closed.")
    auth_type: Literal["scram-sha-256", "md5", "trust"] = Field(
        "scram-sha-256", description="How clients prove who they are. `trust` is for tests."
    )
    auth_file: Word = Field("/etc/pgbouncer/userlist.txt", description="Its file of users and their secrets.")
    stats_users: tuple[Word, ...] = Field(("weir",), description="Users who may ask its console for numbers.")
    console: Annotated[
        str, AfterValidator(_check_console), WithJsonSchema({"type": "string", "pattern": "^(off$|postgres(ql)?://)"})
    ] = Field(
        "off",
        description="Its console, `postgresql://weir:${file:/run/secrets/weir}@127.0.0.1:6432/pgbouncer`: asked every "
        "2 s. `off`: it is not asked.",
    )
    max_wait: Duration = Field(
        0.5, gt=0, description="While a client waits for longer, the upstreams of its server get half as much at once."
    )

    @model_validator(mode="after")
    def _check(self) -> PgBouncerSettings:
        if self.max_wait >= self.query_wait:
            raise ValueError("max_wait is not below query_wait: clients would be disconnected first")
        return self
