"""What a route may say about requests: which ones it is for, and what changes on the way."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Duration, Model
from proxy.http.fields import OF_THE_HOP
from proxy.http.targets import BadTarget, canonical_host
from proxy.routing.pattern import literal_form, parse_pattern

__all__ = ["CorsSettings", "FieldRulesSettings", "MatchSettings", "RewriteSettings"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 §5.6.2
_PLACE: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
# Written by Weir for every message, or meaningless without its framing. A rule on them would smuggle or be lost.
_OURS: Final = OF_THE_HOP | {b"host", b"expect", b"date"}
_PATTERN_SCHEMA = {"type": "string", "pattern": "^/", "examples": ["/api/search", "/api/items/{id}", "/static/**"]}


def _check_pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _check_method(method: str) -> str:
    if not _TOKEN.fullmatch(method) or len(method) > 32:
        raise ValueError(f"`{method[:40]}` is not a method")
    if method in ("CONNECT", "TRACE"):
        raise ValueError(f"{method} is refused everywhere, so no route can be for it")
    if method != method.upper():
        raise ValueError(f"methods are case-sensitive; write {method.upper()}")
    return method


def _check_host(host: str) -> str:
    name = host[2:] if host[:2] == "*." else host
    hint = "write shop.example.com or *.example.com"
    if not name.isascii():
        raise ValueError(f"`{host[:80]}` is not ASCII; write the name in its xn-- form")
    try:
        canonical = canonical_host(name.encode("ascii"))
    except BadTarget as error:
        raise ValueError(f"`{host[:80]}` is not a host; {hint}") from error
    if "*" in canonical:
        raise ValueError(f"in `{host[:80]}` the `*` is not a whole first label; {hint}")
    if canonical != name.lower().rstrip("."):
        raise ValueError(f"`{host[:80]}` has a port, and a route is for all of them; write `{canonical}`")
    return host[: len(host) - len(name)] + canonical


def _check_path(path: str) -> str:
    """A literal path: no place-holders, no query, nothing that could end a line or begin a host."""
    if path[:1] != "/":
        raise ValueError(f"`{path[:80]}` does not begin with `/`")
    if path != "/":
        for segment in path.removesuffix("/")[1:].split("/"):
            literal_form(segment, path)
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"`{path[:80]}` is sent as it is; write it in ASCII, without spaces, escaped with %")
    return path


def _check_prefix(path: str) -> str:
    return _check_path(path).removesuffix("/")


def _check_template(path: str) -> str:
    plain = _PLACE.sub("x", path)
    if "{" in plain or "}" in plain:
        raise ValueError(f"`{path[:80]}` has a brace that is not part of a {{name}}")
    _check_path(plain)
    return path


def _check_field_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"`{name[:80]}` is not the name of a field")
    if name.lower().encode() in _OURS:
        raise ValueError(f"`{name}` is written by Weir for each message; no rule can change it")
    return name


def _check_field_value(value: str) -> str:
    # Line ends and other controls could begin a field, or a message, of somebody else's making.
    value = value.strip(" \t")
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError("a field's value is printable ASCII, on one line")
    return value


def _check_token(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name == "*":
        raise ValueError(f"`{name[:80]}` is not a name; list each one")
    return name


def _check_origin(origin: str) -> str:
    if origin == "*":
        return origin
    form = "write https://shop.example.com, with a port if it is not the usual one"
    try:
        url = urlsplit(origin)
        port = url.port
    except ValueError:
        raise ValueError(f"`{origin[:80]}` is not an origin; {form}") from None
    if origin == "null":
        raise ValueError("every sandboxed page and local file has the origin `null`; it cannot be allowed")
    if not url.scheme or not url.hostname or not origin.isascii() or "*" in origin or "@" in url.netloc:
        raise ValueError(f"`{origin[:80]}` is not an origin; {form}")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(f"`{origin[:80]}` has more than an origin; {form}")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    usual = {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


PathPattern = Annotated[str, AfterValidator(_check_pattern), WithJsonSchema(_PATTERN_SCHEMA)]
Method = Annotated[str, AfterValidator(_check_method), WithJsonSchema({"type": "string", "examples": ["GET"]})]
HostPattern = Annotated[
    str,
    AfterValidator(_check_host),
    WithJsonSchema({"type": "string", "examples": ["shop.example.com", "*.example.com"]}),
]
PathPrefix = Annotated[str, AfterValidator(_check_prefix), WithJsonSchema({"type": "string", "pattern": "^/"})]
PathTemplate = Annotated[
    str, AfterValidator(_check_template), WithJsonSchema({"type": "string", "pattern": "^/", "examples": ["/new/{id}"]})
]
FieldName = Annotated[str, AfterValidator(_check_field_name), WithJsonSchema({"type": "string"})]
FieldValue = Annotated[str, AfterValidator(_check_field_value), WithJsonSchema({"type": "string"})]
Token = Annotated[str, AfterValidator(_check_token), WithJsonSchema({"type": "string"})]
Origin = Annotated[
    str,
    AfterValidator(_check_origin),
    WithJsonSchema({"type": "string", "examples": ["https://shop.example.com", "*"]}),
]


class MatchSettings(Model):
    """Which requests a route is for. All of it must fit."""

    path: PathPattern = Field(
        "/**", description="Literal segments, `{name}` and `*` for one segment, `**` at the end for the rest."
    )
    methods: tuple[Method, ...] = Field((), description="Methods; GET brings HEAD. Default: any.")
    hosts: tuple[HostPattern, ...] = Field((), description="Hosts, or `*.suffix` for all below it. Default: any.")


class RewriteSettings(Model):
    """The path that the backend sees. The query stays as it is."""

    strip_prefix: PathPrefix | None = Field(None, description="Taken off the front, by whole segments.")
    add_prefix: PathPrefix | None = Field(None, description="Put on the front, after `strip_prefix`.")
    path: PathTemplate | None = Field(None, description="A whole new path, with the `{name}`s of the route's path.")

    @model_validator(mode="after")
    def _check(self) -> RewriteSettings:
        if self.path is not None and (self.strip_prefix is not None or self.add_prefix is not None):
            raise ValueError("`path` is a whole new path; `strip_prefix` and `add_prefix` cannot be beside it")
        if self.path is None and self.strip_prefix is None and self.add_prefix is None:
            raise ValueError("a rewrite needs `strip_prefix`, `add_prefix` or `path`")
        return self


class FieldRulesSettings(Model):
    """Fields that are set or removed. Case makes no difference in their names."""

    set: dict[FieldName, FieldValue] = Field(
        default_factory=dict, description="Fields with their values; lines of the same name are replaced."
    )
    remove: tuple[FieldName, ...] = Field((), description="Fields that are dropped.")

    @model_validator(mode="after")
    def _check(self) -> FieldRulesSettings:
        seen: dict[str, str] = {}
        for name in (*self.set, *self.remove):
            if (earlier := seen.setdefault(name.lower(), name)) is not name:
                raise ValueError(f"`{earlier}` and `{name}` are one field, which can have one rule")
        return self


class CorsSettings(Model):
    """What pages of other origins may do (Fetch standard, CORS protocol). Weir answers preflights itself."""

    origins: tuple[Origin, ...] = Field(min_length=1, description='Origins such as https://shop.example.com, or "*".')
    methods: tuple[Method, ...] = Field((), description="Methods pages may use. Default: the route's, or the usual.")
    headers: tuple[Token, ...] = Field((), description="Request fields pages may set. Default: those they ask for.")
    expose: tuple[Token, ...] = Field((), description="Response fields pages may read.")
    credentials: bool = Field(False, description="Let pages send cookies and certificates.")
    max_age: Duration = Field(600.0, le=86400, description="How long a browser may keep the answer to a preflight.")

    @model_validator(mode="after")
    def _check(self) -> CorsSettings:
        if "*" in self.origins and len(self.origins) > 1:
            raise ValueError('"*" is every origin; leave out the others')
        if "*" in self.origins and self.credentials:
            raise ValueError("with `credentials`, every page in the world could act as the user: list the origins")
        return self
