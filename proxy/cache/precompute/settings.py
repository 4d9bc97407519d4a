"""The `precompute:` section of a route: what the operator writes."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from proxy.cache.tags import MAX_TAG_BYTES
from proxy.core.settings import Duration, Model, Percent
from proxy.http.fields import OF_THE_HOP
from proxy.http.targets import BadTarget, canonical_host, canonical_path, split_target

__all__ = ["PrecomputeSettings", "split_origin"]

_SHORTEST_S: Final = 1.0
_MOST: Final = 64  # paths, or hosts, of one route
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
# Weir's own for each message, and what would make the answer a part, a "not modified" or somebody's alone
_NOT_OURS_TO_SAY: Final = OF_THE_HOP | {
    *(b"host", b"expect", b"date", b"content-length", b"cache-control", b"pragma"),
    *(b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"),
}


def split_origin(text: str) -> tuple[str, str]:
    """(scheme or nothing, authority) of `shop.example`, `shop.example:8443` or `https://shop.example`."""
    scheme, mark, authority = text.rpartition("://")
    return (scheme, authority) if mark else ("", text)


def _check_path(text: str) -> str:
    if text[:1] != "/" or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"`{text[:80]}` is sent as it is; write `/path?query`, escaped with % where that is needed")
    try:
        canonical_path(split_target(text.encode("ascii"))[1])
    except BadTarget as error:
        raise ValueError(f"`{text[:80]}` cannot be asked for: {error}") from error
    return text


def _check_origin(text: str) -> str:
    form = "write `shop.example`, with a port if clients write one, or `https://shop.example`"
    scheme, authority = split_origin(text)
    if scheme not in ("", "http", "https") or not authority.isascii() or "*" in authority or "/" in authority:
        raise ValueError(f"`{text[:80]}` is no host that can be asked for; {form}")
    try:
        canonical_host(authority.encode("ascii"))
    except BadTarget as error:
        raise ValueError(f"`{text[:80]}` is no host that can be asked for; {form}") from error
    return text


def _check_tag(tag: str) -> str:
    if not tag.isascii() or not tag.isprintable() or not tag or any(mark in tag for mark in " ,"):
        raise ValueError(f"`{tag[:40]}` is no tag; write one word of ASCII")
    if len(tag) > MAX_TAG_BYTES:
        raise ValueError(f"`{tag[:40]}...` is longer than {MAX_TAG_BYTES} bytes")
    return tag


def _check_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"`{name[:80]}` is not the name of a field")
    if name.lower().encode("ascii") in _NOT_OURS_TO_SAY:
        raise ValueError(f"`{name}` is written by Weir, or would make it another question")
    return name


def _check_value(value: str) -> str:
    value = value.strip(" \t")
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError("a field's value is printable ASCII, on one line")
    return value


class PrecomputeSettings(Model):
    """Responses that are fetched on a schedule, before anybody asks, and given at once, also while the backend is down.

    Such a response (200, 203 or 204) is fresh for `every` and `timeout` together, whatever it says of its lifetime, and
    is given stale after that until the next one is there, at most for `keep`. One with `no-store`, `private`,
    `no-cache` or a cookie is not stored: an error that shows.
    """

    every: Duration = Field(description="How often. From the start of one run to the start of the next.")
    paths: Annotated[tuple[Annotated[str, AfterValidator(_check_path)], ...], Field(max_length=_MOST)] = Field(
        (),
        description="What is fetched, with the query where there is one. Default: the path of the route, where it has "
        "no names and stars.",
    )
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], Field(max_length=_MOST)] = Field(
        (),
        description="Under which names, as clients write them: `shop.example`, `shop.example:8443`, or with the "
        "scheme, `https://shop.example`; without one, the schemes of the listeners. Each is a run and a "
        "response of its own. Default: the hosts of the route, else the addresses of the listeners.",
    )
    jitter: Percent = Field(0.1, description="Each interval is shorter by up to this share of `every`, drawn by lot.")
    timeout: Duration | None = Field(
        None, gt=0, description="For one run, its content included. Default: the `timeout` of the route."
    )
    keep: Duration = Field(
        24 * 3600.0, description="How long after its receipt a response may be given while no newer one could be had."
    )
    tags: tuple[Annotated[str, AfterValidator(_check_tag)], ...] = Field(
        (), description="Tags of these responses beside the backend's own, to purge them together."
    )
    fields: dict[
        Annotated[str, AfterValidator(_check_name)],
        Annotated[str, AfterValidator(_check_value)],
    ] = Field(
        default_factory=dict,
        description="Request fields of a run. A response that varies by a field is found by clients who send that one "
        "as it stands here.",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> PrecomputeSettings:
        if self.every < _SHORTEST_S:
            raise ValueError("`every` below 1s is no schedule; write `cache: {ttl: ...}` for that")
        if self.jitter > 0.5:
            raise ValueError("`jitter` above 50% makes it another schedule; write less")
        return self
