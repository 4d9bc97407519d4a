"""Single values with a form of their own: names, addresses, networks, the URL of the store."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator
from pydantic.json_schema import WithJsonSchema

from proxy.config.addresses import parse_address

__all__ = ["Cidr", "ListenText", "Name", "StoreUrl", "check_store"]

_NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_STORE_PATTERN: Final = "^(unix|rediss?([+](sentinel|cluster))?)://"
_STORE_FORM: Final = "write redis://, rediss://, unix://, redis+sentinel://host:26379/NAME or redis+cluster://host:7000"


def _check_name(text: str) -> str:
    if not re.fullmatch(_NAME_PATTERN[1:-1], text):
        raise ValueError(f"`{text[:80]}` is not a name; write at most 64 letters, digits, `-`, `_` and `.`")
    return text


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _as_text(value: Any) -> Any:
    """`listen: 8080` gets the sentence about addresses, not one about types."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_network(text: str) -> str:
    if text == "unix":
        return text
    try:
        ip_network(text)
    except ValueError:
        raise ValueError(_why_not_a_network(text)) from None
    return text


def _why_not_a_network(text: str) -> str:
    try:
        return f"`{text}` has bits set beyond its prefix; write {ip_network(text, strict=False)}"
    except ValueError:
        return f"`{text}` is not a network; write 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or unix"


def check_store(text: str) -> str:
    """The password in it never gets into a message."""
    from proxy.store.url import parse_store_url  # redis-py takes its time, and `memory` needs none of it

    try:
        parse_store_url(text)
    except ValueError as error:
        form = "" if ";" in str(error) else f"; {_STORE_FORM}"
        raise ValueError(f"{error}{form}") from None
    return text


Name = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})]
"""A name for metrics, logs and keys."""

ListenText = Annotated[
    str,
    BeforeValidator(_as_text),
    AfterValidator(_check_address),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080", "[::]:8080", "unix:/run/weir.sock"]}),
]
"""`host:port` or `unix:/path`; `addresses.parse_address` takes it apart."""

Cidr = Annotated[
    str,
    AfterValidator(_check_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32"]}),
]
"""A network, one address, or `unix` for peers on a unix socket."""

StoreUrl = Annotated[
    str,
    AfterValidator(check_store),
    WithJsonSchema({"type": "string", "pattern": _STORE_PATTERN, "examples": ["redis://127.0.0.1:6379/0"]}),
]
"""The URL of a Redis or Valkey. It may hold a password."""
