"""The `for` parameters of a Forwarded field (RFC 7239 §4)."""

from __future__ import annotations


def forwarded_for(value: str) -> list[str] | None:
    """What each element says it was forwarded for, in order; "" where it does not say. None when it is malformed.

    Quotes are read first: a comma inside them separates nothing. An element that says `for` twice says nothing.
    """
    elements = _split(value, ",")
    if elements is None:
        return None
    return [_for(element) for element in elements if element.strip(" \t")]


def _for(element: str) -> str:
    found = ""
    for pair in _split(element, ";") or ():
        name, equals, text = pair.strip(" \t").partition("=")
        if equals and name.lower() == "for":  # RFC 7239 §4: parameter names are case-insensitive
            if found:
                return ""
            found = _unquoted(text)
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace("\\", "")  # RFC 9110 §5.6.4: quoted-pair; no address has a backslash
    return "" if '"' in text else text


def _split(value: str, separator: str) -> list[str] | None:
    """Split outside quoted strings. None when a quote is never closed."""
    if '"' not in value:
        return value.split(separator)
    parts, start, is_quoted, is_escaped = [], 0, False, False
    for at, character in enumerate(value):
        if is_escaped:
            is_escaped = False
        elif is_quoted and character == "\\":
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
        elif character == separator and not is_quoted:
            parts.append(value[start:at])
            start = at + 1
    parts.append(value[start:])
    return None if is_quoted else parts
