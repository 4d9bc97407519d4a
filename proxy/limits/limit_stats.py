"""What one limit has counted: plain slots, written by the line and read when somebody scrapes."""

from __future__ import annotations

from proxy.limits.offenders import Offenders


class LimitStats:
    """Plain counters of one limit, read by observe/. A request counts once on each limit that it was asked of."""

    __slots__ = (
        "allowed",
        "blocked",
        "candidate_denied",
        "delayed",
        "denied",
        "diverted",
        "near",
        "offenders",
        "settled",
        "would_deny",
    )

    def __init__(self) -> None:
        self.allowed = 0  # requests that passed all their limits
        self.denied = 0  # requests that this limit was one to refuse
        self.would_deny = 0  # requests that this limit would have refused, had it been enforced for them
        self.candidate_denied = 0  # requests that its candidate would have refused
        self.near = 0  # requests that passed, with this limit the tightest and most of its quota used
        self.blocked = 0  # requests of somebody who is banned, in the penalty box or on the deny list
        self.delayed = 0  # requests that passed after a wait
        self.diverted = 0  # requests over this limit that got a stored response or a replica's
        self.settled = 0  # charges that were corrected after the response
        self.offenders = Offenders()  # which keys were denied most
