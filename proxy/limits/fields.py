"""What a client is told about its quota: X-RateLimit-*, RateLimit-Policy, RateLimit and Retry-After.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers; what differs between its versions
is a row in `DRAFTS`. All enforced policies of the request are listed in RateLimit-Policy, and only the tightest limit
in RateLimit, as the draft's appendix B.1.2 advises for limits that share a unit. Limits in shadow are not told.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.limits.verdict import ALLOW

if TYPE_CHECKING:
    from proxy.limits.policy import LimitPolicy
    from proxy.limits.settings import LimiterSettings
    from proxy.limits.verdict import Verdict


class Draft(NamedTuple):
    """The parameter names of a RateLimit item in one version of the draft."""

    available: bytes
    window: bytes


DRAFTS: Final[dict[int, Draft]] = {11: Draft(available=b"r", window=b"t")}
CURRENT_DRAFT: Final = 11

_MOST_TEMPLATES: Final = 4096  # there is one for each (list of limits, tightest limit) that occurs


class FieldRenderer:
    """Turns verdicts into field lines. The constant parts are joined once for each list of limits."""

    __slots__ = ("_draft", "_is_epoch", "_shape", "_templates")

    def __init__(self, settings: LimiterSettings, draft: int = CURRENT_DRAFT) -> None:
        self._draft = DRAFTS[draft]
        self._shape = frozenset(settings.fields)
        self._is_epoch = settings.reset == "epoch"
        self._templates: dict[tuple[tuple[LimitPolicy, ...], LimitPolicy], _Template] = {}

    def render(self, verdict: Verdict, now_wall: float) -> bytes:
        """The field lines of a response, each ending in CRLF. None when nothing was counted."""
        if verdict.mode is ALLOW:
            return b""
        which = (verdict.policies, verdict.policy)
        template = self._templates.get(which) or self._join(*which)
        remaining = verdict.remaining
        reset_s = verdict.reset_s
        seconds = ceil(reset_s)
        legacy = ceil(now_wall + reset_s) if self._is_epoch else seconds
        retry_after_s = verdict.retry_after_s
        if retry_after_s <= 0.0 or retry_after_s == inf:
            return template.lines % template.values(remaining, seconds, legacy)
        # a client follows Retry-After before it looks at `t`: it must not end earlier, and never be 0
        wait_s = ceil(retry_after_s)
        if wait_s < seconds:
            wait_s = seconds
        if wait_s < 1:
            wait_s = 1
        numbers = remaining, seconds, legacy, wait_s
        if numbers != template.denied:  # who is refused asks again at once, so it is the same for a second
            lines = template.lines % template.values(remaining, seconds, legacy)
            template.denied_lines = b"%bRetry-After: %d\r\n" % (lines, wait_s)
            template.denied = numbers
        return template.denied_lines

    def _join(self, policies: tuple[LimitPolicy, ...], tightest: LimitPolicy) -> _Template:
        template = b""
        enforced = [policy for policy in policies if policy.is_enforced]
        shape: frozenset[str] = self._shape if tightest.is_enforced else frozenset()
        if "x-ratelimit" in shape:
            template += b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %%d\r\n" % tightest.quota
            template += b"" if tightest.is_held else b"X-RateLimit-Reset: %d\r\n"
        if "ietf" in shape:
            template += b"RateLimit-Policy: %b\r\n" % b", ".join([policy.item for policy in enforced])
            available, window = self._draft
            template += b'RateLimit: "%b";%b=%%d' % (tightest.name.encode("ascii"), available)
            template += b"\r\n" if tightest.is_held else b";%b=%%d\r\n" % window
        joined = _Template(template, _values(shape, tightest))
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[policies, tightest] = joined
        return joined


Values = Callable[[int, int, int], tuple[int, ...]]
"""(remaining, seconds, X-RateLimit-Reset) -> what the template takes."""


class _Template:
    """The lines of a list of limits with places for numbers, and the last denial that was written with them."""

    __slots__ = ("denied", "denied_lines", "lines", "values")

    def __init__(self, lines: bytes, values: Values) -> None:
        self.lines = lines
        self.values = values
        self.denied = (-1, -1, -1, -1)  # remaining, seconds, X-RateLimit-Reset, Retry-After
        self.denied_lines = b""


def _values(shape: frozenset[str], tightest: LimitPolicy) -> Values:
    if tightest.is_held:  # what is under way ends when it ends: there is no time to tell
        count = len(shape)
        return lambda remaining, seconds, legacy: (remaining,) * count
    unit_bytes = tightest.unit_bytes
    if unit_bytes > 1 and "ietf" in shape:  # the draft counts bytes; units of our own are for X-RateLimit-*
        if "x-ratelimit" in shape:
            return lambda remaining, seconds, legacy: (remaining, legacy, remaining * unit_bytes, seconds)
        return lambda remaining, seconds, legacy: (remaining * unit_bytes, seconds)
    return _VALUES[shape]


_VALUES: Final[dict[frozenset[str], Values]] = {
    frozenset(): lambda remaining, seconds, legacy: (),
    frozenset({"x-ratelimit"}): lambda remaining, seconds, legacy: (remaining, legacy),
    frozenset({"ietf"}): lambda remaining, seconds, legacy: (remaining, seconds),
    frozenset({"x-ratelimit", "ietf"}): lambda remaining, seconds, legacy: (remaining, legacy, remaining, seconds),
}
