"""What a client is told about its quota: X-RateLimit-*, RateLimit-Policy, RateLimit and Retry-After.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers; what differs between its versions
is a row in `DRAFTS`. All policies of the request are listed in RateLimit-Policy, and only the tightest limit in
RateLimit, as the draft's appendix B.1.2 advises for limits that share a unit.
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

    __slots__ = ("_draft", "_is_epoch", "_shape", "_templates", "_values")

    def __init__(self, settings: LimiterSettings, draft: int = CURRENT_DRAFT) -> None:
        self._draft = DRAFTS[draft]
        self._shape = frozenset(settings.fields)
        self._is_epoch = settings.reset == "epoch"
        self._values = _VALUES[self._shape]
        self._templates: dict[tuple[tuple[LimitPolicy, ...], LimitPolicy], bytes] = {}

    def render(self, verdict: Verdict, now_wall: float) -> bytes:
        """The field lines of a response, each ending in CRLF. None when nothing was counted."""
        if verdict.mode is ALLOW:
            return b""
        which = (verdict.policies, verdict.policy)
        template = self._templates.get(which)
        if template is None:
            template = self._join(*which)
        reset_s = verdict.reset_s
        seconds = ceil(reset_s)
        legacy = ceil(now_wall + reset_s) if self._is_epoch else seconds
        lines = template % self._values(verdict.remaining, seconds, legacy)
        retry_after_s = verdict.retry_after_s
        if retry_after_s > 0.0 and retry_after_s != inf:
            # a client follows Retry-After before it looks at `t`: it must not end earlier, and never be 0
            return b"%bRetry-After: %d\r\n" % (lines, max(ceil(retry_after_s), seconds, 1))
        return lines

    def _join(self, policies: tuple[LimitPolicy, ...], tightest: LimitPolicy) -> bytes:
        template = b""
        if "x-ratelimit" in self._shape:
            template += b"X-RateLimit-Limit: %d\r\n" % tightest.quota
            template += b"X-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n"
        if "ietf" in self._shape:
            template += b"RateLimit-Policy: %b\r\n" % b", ".join([policy.item for policy in policies])
            template += b'RateLimit: "%b";%b=%%d;%b=%%d\r\n' % (tightest.name.encode("ascii"), *self._draft)
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[policies, tightest] = template
        return template


Values = Callable[[int, int, int], tuple[int, ...]]

_VALUES: Final[dict[frozenset[str], Values]] = {
    frozenset(): lambda remaining, seconds, legacy: (),
    frozenset({"x-ratelimit"}): lambda remaining, seconds, legacy: (remaining, legacy),
    frozenset({"ietf"}): lambda remaining, seconds, legacy: (remaining, seconds),
    frozenset({"x-ratelimit", "ietf"}): lambda remaining, seconds, legacy: (remaining, legacy, remaining, seconds),
}
