"""`${NAME}`, `${NAME:-default}` and `${file:/run/secrets/x}` in a scalar; `$$` is one `$`.

What comes out is always text. It may be a secret, so nothing here and nothing after puts it into a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["Substitution", "SubstitutionError"]

MAX_FILE_BYTES: Final = 64 * 1024  # a secret, a key in PEM form; not a data file
_PLACE: Final = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_NAME: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


class SubstitutionError(ValueError):
    """One `${...}` cannot be resolved. The message names what is written, never what it stands for."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Substitution:
    """Resolves the scalars of one file: relative paths start at its folder."""

    def __init__(self, environment: Mapping[str, str], file: str) -> None:
        self._environment = environment
        self._folder = Path(file).parent

    def resolve(self, text: str) -> str:
        """Raises SubstitutionError. Text that was resolved is not looked at again."""
        return _PLACE.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        inner, closing = match[1], match[2]
        if inner is None:
            return "$"
        if not closing:
            raise SubstitutionError("`${` is not closed", "write ${NAME}, or $${ for the text itself")
        if inner.startswith("file:"):
            return self._file(inner.removeprefix("file:"))
        name = _NAME.fullmatch(inner)
        if name is None:
            raise SubstitutionError(
                f"`${{{inner}}}` is not a substitution", "write ${NAME}, ${NAME:-default} or ${file:/path}"
            )
        return self._variable(name["name"], name["default"])

    def _variable(self, name: str, default: str | None) -> str:
        value = self._environment.get(name)
        if default is not None:
            return value or default  # as in a shell: `:-` also replaces an empty value
        if value is None:
            raise SubstitutionError(
                f"the environment variable `{name}` is not set", f"set it, or write ${{{name}:-default}}"
            )
        return value

    def _file(self, path: str) -> str:
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            text = data.decode("utf-8")
        except OSError as error:
            raise SubstitutionError(f"cannot read `{path}`: {(error.strerror or 'error').lower()}") from None
        except (UnicodeDecodeError, ValueError):
            raise SubstitutionError(f"`{path}` is not UTF-8 text") from None
        if len(data) > MAX_FILE_BYTES:
            raise SubstitutionError(f"`{path}` is larger than 64 KiB")
        return text.rstrip("\r\n")  # editors and `echo` end a file with a line break that nobody means
