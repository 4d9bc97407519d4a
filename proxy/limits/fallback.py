"""While the shared store is away: what each policy's `on_store_error` says, and never an error."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy
from proxy.limits.verdict import ALLOW, DENY, Verdict


def decide_without_store(
    local: MemoryStore,
    policies: tuple[LimitPolicy, ...],
    keys: Sequence[bytes],
    cost: int,
    now: float,
    back_in_s: float,
) -> Verdict:
    """`deny` beats all; then those that say `local` are counted here, all or none; the others let pass.

    `back_in_s`: when the store is looked for again, which is what a denied client is told to wait.
    """
    denying = tuple([policy for policy in policies if policy.on_store_error == "deny"])
    if denying:
        key = keys[policies.index(denying[0])]
        wait_s = max(back_in_s, 1.0)
        return Verdict(policies, denying[0], key, 0, wait_s, wait_s, denying, DENY)
    counted = [i for i, policy in enumerate(policies) if policy.on_store_error == "local"]
    if len(counted) == len(policies):
        return local.decide(policies, keys, cost, now)
    if not counted:
        return Verdict(policies, policies[0], keys[0], 0, 0.0, 0.0, (), ALLOW)
    return local.decide(tuple([policies[i] for i in counted]), [keys[i] for i in counted], cost, now)
