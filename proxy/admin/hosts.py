"""Which Host fields the admin listener answers: the defence against DNS rebinding.

A page in the operator's browser can make a name of its own point at 127.0.0.1 and then read what is served there; but
its requests carry that name. So names are refused unless nobody outside can own them. Addresses cannot be rebound.
"""

from __future__ import annotations

from ipaddress import ip_address


def configured_hosts(address: str) -> frozenset[str]:
    """The names that the configured admin address ("ops.example:9901", "127.0.0.1:9901", "unix:/path") adds."""
    if address.startswith("unix:"):
        return frozenset()
    name = _without_port(address.lower())
    return frozenset((name,)) if name else frozenset()


def is_allowed_host(value: str | None, configured: frozenset[str]) -> bool:
    """Whether a request with this Host field is answered.

    None (HTTP/1.0 probes; browsers always send one), IP addresses, `localhost` and names under it, names without a
    dot (a container's service name: nobody can register one) and the configured name.
    """
    if value is None:
        return True
    name = _without_port(value.lower()).removesuffix(".")
    if not name:
        return False
    return name in configured or name == "localhost" or name.endswith(".localhost") or _is_local(name)


def _is_local(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return all(letter.isalnum() or letter in "-_" for letter in name)  # so it has no dot
    return True


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        name, closed, rest = authority[1:].partition("]")
        return name if closed and (not rest or _is_port(rest)) else ""
    name, colon, port = authority.partition(":")
    return name if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and (text[1:].isdigit() or text == ":")
