"""What clients are told to do with a response, where that is not what the origin told us."""

from __future__ import annotations

from typing import Final

from proxy.http.directives import parse_directives
from proxy.http.message import Field

_COUNTED: Final = frozenset({b"max-age", b"s-maxage"})


class DownstreamControl:
    """A Cache-Control of the operator's, in place of the origin's.

    A client subtracts the Age from max-age (RFC 9111 §4.2), and the Age is true: it counts from the origin. So that the
    client may use the response for as long as the operator says, max-age and s-maxage go out with the Age added.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = tuple(_part(name, value) for name, value in parse_directives(text.encode("ascii")).items())

    def value(self, age_s: int) -> bytes:
        """The value of the field for a response of this age."""
        return b", ".join([part if seconds is None else part % (seconds + age_s) for part, seconds in self._parts])

    def line(self, age_s: int) -> bytes:
        return b"Cache-Control: %b\r\n" % self.value(age_s)

    def removed(self, fields: list[Field]) -> list[Field]:
        """A new list without what this speaks instead of. Expires goes too: it would say something else."""
        return [line for line in fields if line[0] != b"cache-control" and line[0] != b"expires"]

    def replaced(self, fields: list[Field], age_s: int) -> list[Field]:
        """A new list with this Cache-Control."""
        return [*self.removed(fields), (b"cache-control", b"Cache-Control", self.value(age_s))]


def _part(name: bytes, value: bytes | None) -> tuple[bytes, int | None]:
    if value is None:
        return name, None
    if name in _COUNTED:
        return name + b"=%d", int(value)
    return b"%b=%b" % (name, value), None
