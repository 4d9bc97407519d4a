"""What may stand in a log: no secrets, no control characters, nothing endless.

Pure functions. A value that looks secret is replaced whole; a harmless one too many costs nothing, a leaked one does.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

MAX_TEXT: Final = 1024  # characters of one logged value
MAX_PARAMETERS: Final = 32  # of one query; more are cut off, so that a hostile query costs a bounded time
HIDDEN: Final = "***"

# Names are compared as letters only and in lower case: "api-key[]", "API_KEY2" and "apikey" are all "apikey".
_SECRET_ANYWHERE: Final = (
    *("token", "passw", "passphrase", "pwd", "secret", "signature"),
    *("credential", "session", "jwt", "bearer", "authoriz", "cookie"),
)
_SECRET_AT_THE_END: Final = ("key", "keys", "sig", "pass", "auth", "otp")
_SECRET_NAMES: Final = frozenset(("code", "sid", "pin"))
_JWT_START: Final = "eyj"  # base64url of '{"', as every JWT begins, in lower case


def clean(text: str) -> str:
    """`text` on one line: at most MAX_TEXT characters, everything that does not print written as an escape."""
    if len(text) <= MAX_TEXT and text.isprintable():
        return text
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 3] + "..."
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)[:MAX_TEXT]


def redact_query(query: str) -> str:
    """`query` (without "?") with the values of secret-looking parameters hidden, cut to MAX_TEXT characters.

    Names are decoded before they are judged, twice, and so are names inside a value: `to=%2Fcb%3Ftoken%3Dabc` hides
    what follows `to=`.
    """
    query = query[:MAX_TEXT]  # before the work: a value is only ever printed when its whole name was seen
    return _redact_parameters(query) if _may_hide(_decoded(query).lower()) else query


def redact_path(path: str) -> str:
    """`path` with the values of secret-looking path parameters hidden, such as `/cart;jsessionid=***/items`."""
    if ";" not in path or "=" not in path:
        return path
    return "/".join(
        ";".join(_redact_parameters(part) if place else part for place, part in enumerate(segment.split(";")))
        for segment in path[:MAX_TEXT].split("/")
    )


def hide_credentials(text: str) -> str:
    """`text` with the user information of every URL in it hidden: `redis://***@store:6379/0`."""
    if "://" not in text or "@" not in text:
        return text
    first, *parts = text.split("://")
    return "://".join((first, *map(_hide_user, parts)))


def _hide_user(rest: str) -> str:
    """What follows "://", up to the next white space or quote; a password may contain nearly everything else."""
    end = min((at for at in map(rest.find, " \t\r\n\"'") if at >= 0), default=len(rest))
    at = rest.rfind("@", 0, end)
    return rest if at < 0 else HIDDEN + rest[at:]


def _may_hide(q: str) -> bool:
    """Whether a decoded query in lower case has anything that could be a secret's name; nearly all have nothing.

    Written out, it takes 0.2 us; a loop over the words takes twice that, and `any` three times.
    """
    return (
        "token" in q
        or "pass" in q
        or "pwd" in q
        or "secret" in q
        or "sig" in q
        or "credential" in q
        or "session" in q
        or "jwt" in q
        or "bearer" in q
        or "auth" in q
        or "cookie" in q
        or "key" in q
        or "otp" in q
        or "code" in q
        or "sid" in q
        or "pin" in q
        or _JWT_START in q
    )


def _redact_parameters(query: str) -> str:
    shown: list[str] = []
    for parameter in query.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        name, equals, _ = parameter.partition("=")
        shown.append(name + equals + HIDDEN if equals and _is_secret(parameter) else parameter)
    if query.count("&") >= MAX_PARAMETERS:
        shown.append("...")
    return "&".join(shown)


def _is_secret(parameter: str) -> bool:
    parameter = _decoded(parameter)
    if _JWT_START in parameter.lower():
        return True
    for separator in ";?#":
        parameter = parameter.replace(separator, "&")
    return any(_is_secret_name(part.rpartition("=")[0]) for part in parameter.split("&", MAX_PARAMETERS))


def _decoded(text: str) -> str:
    for _ in range(2):
        if "%" in text:
            text = unquote(text)
    return text


def _is_secret_name(name: str) -> bool:
    word = "".join(filter(str.isalpha, name)).lower()
    return word in _SECRET_NAMES or word.endswith(_SECRET_AT_THE_END) or any(part in word for part in _SECRET_ANYWHERE)


def _escape(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
