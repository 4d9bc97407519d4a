"""Structured Fields: dictionaries, read strictly (RFC 9651 §4.2.2). One wrong octet and the field says nothing.

Only what caching needs is kept of a member: its bare value. Inner lists become `INNER_LIST`; parameters are checked and
dropped.
"""

from __future__ import annotations

from typing import Final

__all__ = ["INNER_LIST", "Bare", "parse_dictionary"]


class Text(str):
    """A String, or a Display String; as unlike a Token as the grammar has it."""

    __slots__ = ()


class Token(str):
    """A Token."""

    __slots__ = ()


class Date(int):
    """A Date: an Integer behind an `@`."""

    __slots__ = ()


class InnerList:
    """A parenthesised list: there, and of no use to anybody here."""

    __slots__ = ()


INNER_LIST: Final = InnerList()
Bare = bool | int | float | bytes | Text | Token | Date | InnerList
"""Boolean, Integer, Decimal, Byte Sequence, String, Token, Date or an inner list."""

_LOWER: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_DIGITS: Final = frozenset(b"0123456789")
_ALPHA: Final = _LOWER | frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_KEY: Final = _LOWER | _DIGITS | frozenset(b"_-.*")
_TOKEN: Final = _ALPHA | _DIGITS | frozenset(b"!#$%&'*+-.^_`|~:/")
_BASE64: Final = _ALPHA | _DIGITS | frozenset(b"+/=")
_MAX_INTEGER_DIGITS: Final = 15
_MAX_DECIMAL: Final = (12, 3)  # digits before and behind the point


def parse_dictionary(value: bytes) -> dict[bytes, Bare] | None:
    """The members of a dictionary, all lines of the field joined with ", ". None when it does not parse.

    Of a member that comes twice the last counts, as the grammar has it. Empty is a dictionary without members.
    """
    reader = _Reader(value)
    try:
        return reader.dictionary()
    except _Malformed:
        return None


class _Malformed(Exception):
    """Something is not as the grammar says."""


class _Reader:
    """Reads from left to right; the functions are the sections of the RFC."""

    __slots__ = ("at", "end", "text")

    def __init__(self, value: bytes) -> None:
        self.text = value.strip(b" ")
        self.at = 0
        self.end = len(self.text)

    def dictionary(self) -> dict[bytes, Bare]:
        members: dict[bytes, Bare] = {}
        while self.at < self.end:
            key = self._key()
            members.pop(key, None)
            members[key] = self._member()
            self._skip(b" \t")
            if self.at == self.end:
                return members
            self._expect(0x2C)
            self._skip(b" \t")
            if self.at == self.end:
                raise _Malformed  # a comma at the end
        return members

    def _member(self) -> Bare:
        value: Bare = True
        if self._next() == 0x3D:
            self.at += 1
            value = self._inner_list() if self._next() == 0x28 else self._bare()
        self._parameters()
        return value

    def _inner_list(self) -> Bare:
        self.at += 1
        while self.at < self.end:
            self._skip(b" ")
            if self._next() == 0x29:
                self.at += 1
                return INNER_LIST
            self._bare()
            self._parameters()
            if self._next() not in (0x20, 0x29):
                raise _Malformed
        raise _Malformed

    def _parameters(self) -> None:
        while self._next() == 0x3B:
            self.at += 1
            self._skip(b" ")
            self._key()
            if self._next() == 0x3D:
                self.at += 1
                self._bare()

    def _key(self) -> bytes:
        if self._next() not in _LOWER and self._next() != 0x2A:
            raise _Malformed
        return self._while(_KEY)

    def _bare(self) -> Bare:
        first = self._next()
        if first == 0x22:
            return Text(self._string())
        if first == 0x2D or first in _DIGITS:
            return self._number()
        if first == 0x3F:
            return self._boolean()
        if first == 0x3A:
            return self._bytes()
        if first == 0x40:
            self.at += 1
            seconds = self._number()
            if isinstance(seconds, float):
                raise _Malformed
            return Date(seconds)
        if first == 0x25:
            return self._display_string()
        if first in _ALPHA or first == 0x2A:
            return Token(self._while(_TOKEN).decode("ascii"))
        raise _Malformed

    def _number(self) -> int | float:
        sign = 1
        if self._next() == 0x2D:
            sign = -1
            self.at += 1
        whole = self._while(_DIGITS)
        if not whole:
            raise _Malformed
        if self._next() != 0x2E:
            if len(whole) > _MAX_INTEGER_DIGITS:
                raise _Malformed
            return sign * int(whole)
        self.at += 1
        fraction = self._while(_DIGITS)
        if not fraction or len(whole) > _MAX_DECIMAL[0] or len(fraction) > _MAX_DECIMAL[1]:
            raise _Malformed
        return sign * float(b"%b.%b" % (whole, fraction))

    def _string(self) -> str:
        self.at += 1
        found = bytearray()
        while self.at < self.end:
            octet = self.text[self.at]
            self.at += 1
            if octet == 0x22:
                return found.decode("ascii")
            if octet == 0x5C:
                octet = self._next()
                self.at += 1
                if octet not in (0x22, 0x5C):
                    raise _Malformed
            elif not 0x20 <= octet < 0x7F:
                raise _Malformed
            found.append(octet)
        raise _Malformed

    def _display_string(self) -> Text:
        if self.text[self.at : self.at + 2] != b'%"':
            raise _Malformed
        self.at += 2
        found = bytearray()
        while self.at < self.end:
            octet = self.text[self.at]
            self.at += 1
            if octet == 0x22:
                try:
                    return Text(found.decode("utf-8"))
                except UnicodeDecodeError:
                    raise _Malformed from None
            if octet == 0x25:
                digits = self.text[self.at : self.at + 2]
                self.at += 2
                if len(digits) != 2 or not frozenset(b"0123456789abcdef").issuperset(digits):
                    raise _Malformed
                octet = int(digits, 16)
            elif not 0x20 <= octet < 0x7F:
                raise _Malformed
            found.append(octet)
        raise _Malformed

    def _bytes(self) -> bytes:
        self.at += 1
        found = self._while(_BASE64)
        self._expect(0x3A)
        return found  # still in base64: nobody reads it

    def _boolean(self) -> bool:
        self.at += 1
        digit = self._next()
        self.at += 1
        if digit not in (0x30, 0x31):
            raise _Malformed
        return digit == 0x31

    def _while(self, octets: frozenset[int]) -> bytes:
        start = self.at
        while self.at < self.end and self.text[self.at] in octets:
            self.at += 1
        return self.text[start : self.at]

    def _skip(self, blanks: bytes) -> None:
        while self.at < self.end and self.text[self.at] in blanks:
            self.at += 1

    def _next(self) -> int:
        """The next octet, or -1 at the end."""
        return self.text[self.at] if self.at < self.end else -1

    def _expect(self, octet: int) -> None:
        if self._next() != octet:
            raise _Malformed
        self.at += 1
