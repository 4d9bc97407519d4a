"""What a route adds to responses: the security preset, then CORS, then its own rules, which have the last word.

Most responses have none of the fields that this touches. They get the same lines as a response without any field, and
those are made once for each scheme and allowed origin. Only the others are gone through line by line.
"""

from __future__ import annotations

from typing import Final

from proxy.http.fields import render
from proxy.http.message import Field
from proxy.routing.cors import REPLACED, apply_cors
from proxy.routing.field_rules import apply
from proxy.routing.route import Route
from proxy.routing.security import apply_security

_REMEMBERED: Final = 64  # heads
_LONGEST_REMEMBERED: Final = 4096  # bytes of a head


class Decoration:
    """What `route` adds to responses over one scheme, to pages of one allowed origin (None: any other, or none)."""

    __slots__ = ("_lines", "_needles", "_origin", "_plain", "_recent", "_route", "_scheme", "_touched")

    def __init__(self, route: Route, scheme: str, origin: bytes | None) -> None:
        self._route = route
        self._scheme = scheme
        self._origin = origin
        self._plain = self._decorate([])
        self._lines = render(self._plain)
        touched = {line[0] for line in self._plain} | {rule[1] for rule in route.response_rules}
        self._touched = frozenset(touched | REPLACED) if route.cors is not None else frozenset(touched)
        self._needles = tuple(b"\r\n%b:" % name for name in self._touched)
        self._recent: dict[bytes, bytes] = {}

    def on_fields(self, fields: list[Field]) -> list[Field]:
        """A new list."""
        if self._touched.isdisjoint([line[0] for line in fields]):
            return [*fields, *self._plain]
        return self._decorate(fields)

    def on_block(self, block: bytes) -> bytes:
        """The same for a rendered head: status line and field lines. A head that comes again is remembered."""
        found = self._recent.get(block)
        if found is None:
            found = self._on_new_block(block)
            if len(block) <= _LONGEST_REMEMBERED:
                if len(self._recent) >= _REMEMBERED:
                    self._recent.clear()
                self._recent[block] = found
        return found

    def _on_new_block(self, block: bytes) -> bytes:
        lower = block.lower()
        for needle in self._needles:
            if needle in lower:
                break
        else:
            return block + self._lines
        status_line, *lines = block.removesuffix(b"\r\n").split(b"\r\n")
        fields = []
        for line in lines:
            name, _, value = line.partition(b":")
            fields.append((name.lower(), name, value.strip(b" \t")))
        return status_line + b"\r\n" + render(self._decorate(fields))

    def _decorate(self, fields: list[Field]) -> list[Field]:
        route = self._route
        if route.security_headers:
            fields = apply_security(fields, self._scheme)
        if route.cors is not None:
            fields = apply_cors(fields, route.cors, self._origin)
        return apply(fields, route.response_rules) if route.response_rules else fields
