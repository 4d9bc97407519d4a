"""Where an endpoint listens, read strictly.

Only what names a place is taken: a path, a query or a password in an address has a better home elsewhere. Hosts that
two readers take in two ways ("127.1", "0x7f.1", "2130706433") are refused rather than resolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

__all__ = ["Address", "is_name", "parse_address"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")  # "_": container names have it
_MAX_UNIX_PATH_BYTES: Final = 103  # sun_path of macOS, its final NUL excluded; Linux takes 107
_FORMS: Final = "write http://host:port, https://host:port or unix:/path"


@dataclass(frozen=True, slots=True)
class Address:
    """One place to connect to. With `unix_path`, `host` is empty and `port` is 0."""

    scheme: str  # "http" or "https"
    host: str  # lower case; an IPv6 address without its brackets
    port: int
    unix_path: str
    authority: bytes = field(compare=False)  # Host when the upstream says `host: upstream`; default ports left out
    label: str = field(compare=False)  # for metrics and logs: "127.0.0.1:3000", "unix:/run/app.sock"
    name: str = ""  # what `host` was looked up by; a certificate is for this

    @property
    def tls_host(self) -> str:
        """Whom a certificate must be for."""
        return self.name or self.host

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"


def parse_address(text: str) -> Address:
    """An address from `http://host:port`, `https://host`, `unix:/path`. Raises ValueError with one sentence."""
    if text.startswith("unix:"):
        return _parse_unix(text[5:])
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if "@" in rest:  # before anything echoes the text: a password must not reach a log
        raise ValueError("an endpoint's address has no user or password; set an Authorization field in the route")
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError(f"`{_short(text)}` is not the address of an endpoint; {_FORMS}")
    rest = rest.removesuffix("/")  # RFC 9110 §4.2.3: an empty path and "/" are the same
    if any(character in "/?#\\" for character in rest):
        raise ValueError(f"`{_short(text)}` has more than a host and a port; paths are rewritten in a route")
    host, port_text = _split_port(rest, text)
    port = _parse_port(port_text, text) if port_text is not None else _DEFAULT_PORTS[scheme]
    return _tcp(scheme, _parse_host(host, text), port)


def is_name(address: Address) -> bool:
    """Its host has to be looked up."""
    return bool(address.host) and ":" not in address.host and not _is_number(address.host.rpartition(".")[2])


def _tcp(scheme: str, host: str, port: int) -> Address:
    name = f"[{host}]" if ":" in host else host
    authority = name.removesuffix(".") if port == _DEFAULT_PORTS[scheme] else f"{name.removesuffix('.')}:{port}"
    return Address(scheme, host, port, "", authority.encode("ascii"), f"{name}:{port}")


def _parse_unix(path: str) -> Address:
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError("a unix socket is written with its absolute path, such as unix:/run/app.sock")
    if not path.isprintable() or len(path.encode()) > _MAX_UNIX_PATH_BYTES:
        raise ValueError(f"the path of a unix socket is at most {_MAX_UNIX_PATH_BYTES} printable bytes")
    return Address("http", "", 0, path, b"localhost", f"unix:{path}")


def _split_port(rest: str, text: str) -> tuple[str, str | None]:
    """Host as written (with brackets) and the digits of the port, None when there is no colon."""
    if rest.startswith("["):
        host, bracket, after = rest.partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise ValueError(f"`{_short(text)}` has a malformed IPv6 address; write http://[::1]:3000")
        return host + "]", after[1:] if after else None
    if rest.count(":") > 1:
        raise ValueError(f"`{_short(text)}` has an IPv6 address without brackets; write http://[::1]:3000")
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def _parse_port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise ValueError(f"`{_short(text)}` has no valid port; a port is a number from 1 to 65535")
    return int(digits)


def _parse_host(host: str, text: str) -> str:
    try:
        if host.startswith("["):
            if "%" in host:
                raise ValueError(f"`{_short(text)}` has an IPv6 zone, which is not supported")
            return str(IPv6Address(host[1:-1]))
        host = host.lower()
        labels = host.removesuffix(".").split(".")
        if _is_number(labels[-1]):  # the rule of the URL standard: a host that ends in a number is an IPv4 address
            return str(IPv4Address(host))
    except AddressValueError:
        raise ValueError(f"`{_short(text)}` has a malformed IP address; write all of it, such as 127.0.0.1") from None
    if len(host) > 253 or not all(_is_label(label) for label in labels):
        raise ValueError(f"`{_short(text)}` has a malformed host name; names are ASCII (IDNs in their xn-- form)")
    return host


def _is_number(label: str) -> bool:
    if label.startswith("0x"):
        return all(character in "0123456789abcdef" for character in label[2:])
    return label.isascii() and label.isdigit()


def _is_label(label: str) -> bool:
    return 1 <= len(label) <= 63 and _NAME_CHARACTERS.issuperset(label) and label[0] != "-" and label[-1] != "-"


def _short(text: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 80 else printable[:77] + "..."
