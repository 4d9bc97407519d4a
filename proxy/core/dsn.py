"""The address of one Postgres server, as a URL. Nothing here repeats a password."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

_FORM = "write postgresql://user@host:5432/name"


def check_dsn(text: str) -> str:
    """The text itself. Raises ValueError with one sentence when it cannot be one server."""
    try:
        url = urlsplit(text)
        hosts = url.hostname or parse_qs(url.query).get("host")
        _ = url.port
    except ValueError:
        raise ValueError(f"the address of the database is not a URL; {_FORM}") from None
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"the address of the database has another scheme; {_FORM}")
    if not hosts:
        raise ValueError(f"the address of the database has no host; {_FORM}")
    if "," in url.netloc.rpartition("@")[2] or any("," in host for host in hosts):
        raise ValueError("the address of the database names several servers; each of them is asked by itself")
    return text


def label_of(dsn: str) -> str:
    """Host, port and database: what may be printed."""
    url = urlsplit(dsn)
    options = parse_qs(url.query)
    host = url.hostname or (options.get("host") or [""])[0]
    port = url.port or (options.get("port") or ["5432"])[0]
    name = url.path.removeprefix("/") or (options.get("dbname") or options.get("database") or [""])[0]
    return f"{host}:{port}/{name}" if name else f"{host}:{port}"
