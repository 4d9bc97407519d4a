"""The path that the backend sees. Only path and query of a request can change here, never where it goes.

What comes out begins with exactly one slash, so that no backend reads `//evil` as an authority, and holds nothing that
was not in the target or in the configuration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.http.targets import canonical_path
from proxy.routing.pattern import matching_form, parse_pattern

if TYPE_CHECKING:
    from proxy.routing.settings import RewriteSettings

_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SLASHES: Final = b"/\\"  # some backends read a backslash as a slash


class Rewrite:
    """A compiled rewrite: either a prefix taken off and one put on, or a whole new path."""

    __slots__ = ("_add", "_pieces", "_strip", "_strip_segments")

    def __init__(self, strip_prefix: str = "", add_prefix: str = "", path: str | None = None) -> None:
        self._strip = strip_prefix.encode("ascii")
        self._strip_segments = [matching_form(segment) for segment in strip_prefix.split("/")[1:]]
        self._add = add_prefix.encode("ascii")
        # literals at even places, names at odd ones
        self._pieces = _PLACE.split(path) if path is not None else None

    def apply(self, target: bytes, params: dict[str, str] | None) -> bytes:
        """The target for the backend, from the one received (origin-form) and the route's `{name}` segments.

        The query stays as it is, byte for byte. Never fails: the names were checked when it was compiled.
        """
        path, mark, query = target.partition(b"?")
        if self._pieces is not None:
            path = self._filled(self._pieces, params or {})
        else:
            rest = self._stripped(path) if self._strip else path
            path = self._add + (b"/" + rest.lstrip(_SLASHES) if rest or not self._add else b"")
        return path + mark + query

    def _filled(self, pieces: list[str], params: dict[str, str]) -> bytes:
        parts = [params[piece] if at % 2 else piece for at, piece in enumerate(pieces)]
        return "".join(parts).encode("ascii")

    def _stripped(self, path: bytes) -> bytes:
        """What follows the prefix, by whole segments; the path itself when it does not begin with it."""
        rest = path[len(self._strip) :]
        if path.startswith(self._strip) and (not rest or rest[0] == 0x2F):
            return rest
        # another spelling of the prefix, such as //%61pi: the route saw through it, so this must too
        _, *segments = canonical_path(path).split("/")
        count = len(self._strip_segments)
        if [matching_form(segment) for segment in segments[:count]] != self._strip_segments:
            return path
        return "".join("/" + segment for segment in segments[count:]).encode("ascii")


def compile_rewrite(settings: RewriteSettings, pattern: str) -> Rewrite:
    """Raises ValueError when the new path uses a name that the route's path does not have."""
    if settings.path is not None:
        names = {name for _, name in parse_pattern(pattern).names}
        for name in _PLACE.findall(settings.path):
            if name not in names:
                raise ValueError(f"the new path uses `{{{name}}}`, which the route's path `{pattern}` does not have")
    return Rewrite(settings.strip_prefix or "", settings.add_prefix or "", settings.path)
