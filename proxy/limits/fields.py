"""What a client is told about its quota: X-RateLimit-*, RateLimit-Policy, RateLimit and Retry-After.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers; what differs between its versions
is a row in `DRAFTS`. All enforced policies of the request are listed in RateLimit-Policy, and only the tightest limit
in RateLimit, as the draft's appendix B.1.2 advises for limits that share a unit. Limits in shadow are not told.
"""

from __future__ import annotations

import math
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.http.decimal import decimal
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
_END: Final = b"\r\n"
_ceil: Final = math.ceil  # Final: found without a look-up by what is compiled


class FieldRenderer:
    """Turns verdicts into field lines. The constant parts are joined once for each list of limits."""

    __slots__ = ("_draft", "_is_epoch", "_last", "_shape", "_templates")

    def __init__(self, settings: LimiterSettings, draft: int = CURRENT_DRAFT) -> None:
        self._draft = DRAFTS[draft]
        self._shape = frozenset(settings.fields)
        self._is_epoch = settings.reset == "epoch"
        self._templates: dict[tuple[tuple[LimitPolicy, ...], LimitPolicy], _Template] = {}
        self._last: _Template | None = None  # used: often the next one too, and found without a hash of all policies

    def render(self, verdict: Verdict, now_wall: float) -> bytes:
        """The field lines of a response, each ending in CRLF. None when nothing was counted."""
        if verdict.mode is ALLOW:
            return b""
        template = self._last
        if template is None or template.policies is not verdict.policies or template.tightest is not verdict.policy:
            self._last = template = self._template(verdict.policies, verdict.policy)
        remaining = verdict.remaining
        reset_s = verdict.reset_s
        seconds: int = _ceil(reset_s)
        legacy: int = _ceil(now_wall + reset_s) if self._is_epoch else seconds
        retry_after_s = verdict.retry_after_s
        if retry_after_s <= 0.0 or retry_after_s == inf:
            return template.lines(remaining, seconds, legacy)
        # a client follows Retry-After before it looks at `t`: it must not end earlier, and never be 0
        wait_s: int = _ceil(retry_after_s)
        if wait_s < seconds:
            wait_s = seconds
        if wait_s < 1:
            wait_s = 1
        numbers = remaining, seconds, legacy, wait_s
        if numbers != template.denied:  # who is refused asks again at once, so it is the same for a second
            lines = template.lines(remaining, seconds, legacy)
            template.denied_lines = b"%bRetry-After: %d\r\n" % (lines, wait_s)
            template.denied = numbers
        return template.denied_lines

    def _template(self, policies: tuple[LimitPolicy, ...], tightest: LimitPolicy) -> _Template:
        found = self._templates.get((policies, tightest))
        if found is not None:
            return found
        shape: frozenset[str] = self._shape if tightest.is_enforced else frozenset()
        joined = _Template(policies, tightest)
        if "x-ratelimit" in shape:
            joined.legacy = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: " % tightest.quota
        if "ietf" in shape:
            items = b", ".join([policy.item for policy in policies if policy.is_enforced])
            available, window = self._draft
            name = tightest.name.encode("ascii")
            joined.current = b'RateLimit-Policy: %b\r\nRateLimit: "%b";%b=' % (items, name, available)
            joined.window = b";%b=" % window
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[policies, tightest] = joined
        return joined


class _Template:
    """The lines of a list of limits up to each of their numbers, and the last denial that was written with them."""

    __slots__ = (
        "current",
        "denied",
        "denied_lines",
        "is_held",
        "legacy",
        "policies",
        "tightest",
        "unit_bytes",
        "window",
    )

    def __init__(self, policies: tuple[LimitPolicy, ...], tightest: LimitPolicy) -> None:
        self.policies = policies
        self.tightest = tightest
        self.legacy = b""  # X-RateLimit-*; empty: they are not told
        self.current = b""  # RateLimit-Policy and RateLimit; empty: they are not told
        self.window = b""
        self.is_held = tightest.is_held  # what is under way ends when it ends: there is no time to tell
        # the draft counts bytes; units of our own are for X-RateLimit-*
        self.unit_bytes = 1 if tightest.is_held else tightest.unit_bytes
        self.denied = (-1, -1, -1, -1)  # remaining, seconds, X-RateLimit-Reset, Retry-After
        self.denied_lines = b""

    def lines(self, remaining: int, seconds: int, reset: int) -> bytes:
        """`reset`: the value of X-RateLimit-Reset."""
        left = decimal(remaining)
        parts = []
        if self.legacy and self.is_held:
            parts = [self.legacy, left, _END]
        elif self.legacy:
            parts = [self.legacy, left, b"\r\nX-RateLimit-Reset: ", decimal(reset), _END]
        if self.current:
            if self.unit_bytes != 1:
                left = decimal(remaining * self.unit_bytes)
            parts += (
                [self.current, left, _END]
                if self.is_held
                else [self.current, left, self.window, decimal(seconds), _END]
            )
        return b"".join(parts)
