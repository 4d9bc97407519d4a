"""The address of PgBouncer's console, taken apart. No message ever holds the password."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["ConsoleAddress", "parse_console_url"]


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where the console is, and as whom to ask. `host` is a folder for a unix socket."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else f"{self.host}:{self.port}"


def parse_console_url(text: str) -> ConsoleAddress:
    """`postgresql://user:password@host:port/pgbouncer`; a percent-encoded folder as the host is a unix socket."""
    form = "write postgresql://user:password@127.0.0.1:6432/pgbouncer"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f"the console's URL has a malformed port or address; {form}") from None
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"the console's URL does not begin with postgresql://; {form}")
    if url.path != "/pgbouncer":
        raise ValueError(f"the console is the database `pgbouncer`; {form}")
    if url.query or url.fragment:
        raise ValueError("the console's URL takes no parameters; it is spoken to in the clear: keep it on this machine")
    if not url.username:
        raise ValueError(f"the console's URL names no user; {form}")
    host = unquote(url.netloc.rpartition("@")[2].rpartition(":")[0] if port is not None else url.hostname or "")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError(f"the console's URL names no host; {form}")
    return ConsoleAddress(host, port or 6432, unquote(url.username), unquote(url.password or ""))
