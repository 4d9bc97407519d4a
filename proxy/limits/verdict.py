"""Verdict: what was decided for one request, with every number that will be printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limits.fields import FieldRenderer
    from proxy.limits.policy import LimitPolicy

SHARED: Final = "shared"  # decided in the shared store
LOCAL: Final = "local"  # decided in this process
ALLOW: Final = "allow"  # the store is away, and the policies say: let pass
DENY: Final = "deny"  # the store is away, or the key is missing, and a policy says: deny


class Verdict:
    """One request against all its limits. Plain slots: one is built for every limited request.

    `policy`, `key`, `remaining`, `reset_s` and `retry_after_s` are those of the tightest enforced limit: of the
    violated one with the longest wait when denied, else of the one that has the fewest left. (If none is enforced, of
    the one that has the fewest left of all.) `remaining` counts this request when it was admitted. `retry_after_s` is
    0.0 when admitted and infinite when waiting will never help.
    """

    __slots__ = (
        "delay_s",
        "denied",
        "fields",
        "key",
        "keys",
        "mode",
        "policies",
        "policy",
        "remaining",
        "reset_s",
        "retry_after_s",
        "told",
        "told_by",
        "violated",
        "would_deny",
    )

    fields: FieldRenderer  # set by the stage: how the limits are announced
    told: bytes  # the field lines, once they were asked for
    told_by: FieldRenderer | None

    def __init__(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        policy: LimitPolicy,
        key: bytes,
        remaining: int,
        reset_s: float,
        retry_after_s: float,
        violated: tuple[LimitPolicy, ...],
        mode: str,
        would_deny: tuple[LimitPolicy, ...] = (),
        delay_s: float = 0.0,
    ) -> None:
        self.denied = True if violated else False  # a call of bool() costs 20 ns more
        self.policies = policies  # all that were asked
        self.keys = keys  # the one of each
        self.policy = policy
        self.key = key
        self.remaining = remaining
        self.reset_s = reset_s
        self.retry_after_s = retry_after_s
        self.violated = violated  # empty when admitted
        self.mode = mode
        self.would_deny = would_deny  # those that are not enforced and would have refused
        self.delay_s = delay_s  # admitted, but must wait that long before it goes on
        self.told_by = None

    def lines(self, now_wall: float) -> bytes:
        """The field lines that tell the client, each ending in CRLF. `now_wall` only matters for `reset: epoch`.

        Rendered once: a denial that holds for others too (deny_cache.py) says the same to all of them.
        """
        if self.told_by is not self.fields:
            self.told, self.told_by = self.fields.render(self, now_wall), self.fields
        return self.told

    def diverted(self) -> Verdict:
        """The same for who got something better than a refusal after all: the fields tell the quota and no wait.

        Another one, because other requests may have got this.
        """
        other = Verdict(
            self.policies,
            self.keys,
            self.policy,
            self.key,
            self.remaining,
            self.reset_s,
            0.0,
            self.violated,
            self.mode,
            self.would_deny,
            self.delay_s,
        )
        other.denied = self.denied
        other.fields = self.fields
        return other

    def __repr__(self) -> str:
        what = f"denied for {self.retry_after_s:.3f}s" if self.denied else f"admitted, {self.remaining} left"
        return f"<Verdict {what} by {self.policy.name} ({self.mode})>"
