"""What a plain scalar means, by the core schema of YAML 1.2 (§10.3.2).

`no`, `on`, `10:30` and `2026-01-01` are text, `010` is ten. A number of more than 40 digits is text: nobody means it.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["scalar_text", "scalar_value"]

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}")
_OCTAL: Final = re.compile(r"0o[0-7]{1,40}")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def scalar_value(text: str) -> Any:
    """None, a bool, an int, a float, or the text itself. Infinity and NaN stay text: nothing here takes them."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    return text


def scalar_text(value: Any) -> str:
    """The value as it would stand in YAML, for messages."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
