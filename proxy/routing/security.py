"""The `security_headers` preset: fields that browsers obey, where the backend sends none of its own.

The values are those that break the least: pages may still be framed by their own site, open windows for a login
elsewhere, and say where they link from without the path.
"""

from __future__ import annotations

from typing import Final

from proxy.http.message import Field, field

_ALWAYS: Final[tuple[Field, ...]] = (
    field("X-Content-Type-Options", b"nosniff"),
    field("X-Frame-Options", b"SAMEORIGIN"),
    field("Referrer-Policy", b"strict-origin-when-cross-origin"),
    field("Permissions-Policy", b"camera=(), geolocation=(), microphone=()"),
    field("Cross-Origin-Opener-Policy", b"same-origin-allow-popups"),
)
# RFC 6797 §7.2: never over plain http. Without includeSubDomains: other hosts are not ours to promise for.
_OVER_TLS: Final[tuple[Field, ...]] = (*_ALWAYS, field("Strict-Transport-Security", b"max-age=31536000"))
_NAMES: Final = frozenset(line[0] for line in _OVER_TLS)


def apply_security(fields: list[Field], scheme: str) -> list[Field]:
    """A new list with the preset's fields that `fields` does not have."""
    preset = _OVER_TLS if scheme == "https" else _ALWAYS
    present = _NAMES.intersection([line[0] for line in fields])
    if not present:
        return [*fields, *preset]
    return [*fields, *[line for line in preset if line[0] not in present]]
