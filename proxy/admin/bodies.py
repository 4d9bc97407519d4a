"""What an operator sends: JSON bodies, durations and reasons, each refused with one sentence."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from aiohttp import web

from proxy.admin.answers import Refusal
from proxy.core.units import Rate, parse_duration, parse_rate
from proxy.limits.controls import LONGEST_S

LONGEST_REASON: Final = 200
MAX_PER_SECOND: Final = 1_000_000
_SHORTEST_S: Final = 1.0


class Term(msgspec.Struct, forbid_unknown_fields=True, rename={"for_": "for"}):
    """`{"for": "15m", "reason": "credential stuffing"}`: how long, and why."""

    for_: str
    reason: str

    @property
    def for_s(self) -> float:
        try:
            seconds = parse_duration(self.for_)
        except ValueError as error:
            raise Refusal(400, f"for: {error}") from None
        if not _SHORTEST_S <= seconds <= LONGEST_S:
            raise Refusal(400, "for: write 1s to 30d; nothing is for ever, so that nothing is forgotten")
        return seconds


class NewNumbers(Term, forbid_unknown_fields=True, rename={"for_": "for"}):
    """And `{"rate": "600/min", "burst": 50}`.

    What a key has spent is kept in time, not in requests: one that had to wait a minute under the old numbers waits it
    under the new ones too. `"reset": true` gives it everything back as well.
    """

    rate: str
    burst: int | None = None
    reset: bool = False

    @property
    def parsed_rate(self) -> Rate:
        try:
            rate = parse_rate(self.rate)
        except ValueError as error:
            raise Refusal(400, f"rate: {error}") from None
        if rate.count > MAX_PER_SECOND * rate.period_s:
            raise Refusal(400, "rate: this is more than a million a second, which is no limit; use `allow`")
        if self.burst is not None and not 1 <= self.burst <= 1_000_000_000:
            raise Refusal(400, "burst: write 1 to 1000000000")
        return rate


T = TypeVar("T", bound=Term)


async def read_body(request: web.Request, kind: type[T]) -> T:
    """The body as `kind`, its reason checked. Raises Refusal."""
    try:
        body = msgspec.json.decode(await request.read(), type=kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, 'The body is not JSON; send {"for": "15m", "reason": "..."}.') from None
    body.reason = checked_reason(body.reason)
    return body


def reason_of(request: web.Request) -> str | None:
    """Why something is taken back: `?reason=`, which may be left out there."""
    given = request.query.get("reason")
    return checked_reason(given) if given else None


def checked_reason(text: str) -> str:
    text = text.strip()
    if not text:
        raise Refusal(400, "reason: say why; it is what others will read when they wonder")
    if len(text) > LONGEST_REASON or not text.isprintable():
        raise Refusal(400, f"reason: write one line of at most {LONGEST_REASON} characters")
    return text


def count_of(request: web.Request, name: str, default: int, most: int) -> int:
    """A number in the query, such as `?most=50`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise Refusal(400, f"{name}: write 1 to {most}")
    return int(text)
