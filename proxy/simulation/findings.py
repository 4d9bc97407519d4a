"""What a simulation has found, as values: what is printed, written as JSON, and drawn in the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """A key of a limit that was denied."""

    key: str
    requests: int
    denied: int
    good_denied: int
    longest_blocked_s: float  # from the first denial in a row to the last
    longest_blocked_at: str  # UTC


@dataclass(frozen=True, slots=True)
class RateFinding:
    """A rate that the limit could have had, and what it alone would have denied of the same requests."""

    rate: str
    burst: int | None  # None where it is the rate's own count, or the algorithm has none
    denied: int
    denied_share: float
    keys_denied: int
    keys_denied_share: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The smallest counts, in the limit's own period, that keep denials at one in a thousand."""

    for_requests: RateFinding  # at most 0.1 % of the requests are denied
    for_keys: RateFinding  # at most 0.1 % of the keys are ever denied
    one_key_of: int  # 1: exact; else estimated from one key in so many


@dataclass(frozen=True, slots=True)
class LimitFinding:
    """One limit."""

    name: str
    where: str
    rate: str
    by: tuple[str, ...]
    algorithm: str
    mode: str  # enforce, shadow or off
    requests: int
    denied: int  # by the limit, with what it would have denied where it is not enforced
    would_deny: int  # of them, where it is not enforced
    candidate_denied: int  # what its candidate in the configuration would have denied
    good_denied: int
    keys: int
    keys_denied: int
    worst: tuple[KeyFinding, ...]
    now: RateFinding | None  # the limit as it is, alone; None where no rate can be tried
    suggestion: Suggestion | None
    candidates: tuple[RateFinding, ...]
    note: str  # why something is missing, or an empty string
    requests_over_time: tuple[int, ...]
    denied_over_time: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RouteFinding:
    """One route."""

    name: str
    requests: int
    denied: int
    good_denied: int


@dataclass(frozen=True, slots=True)
class ClientFinding:
    """A client that was denied."""

    client: str
    requests: int
    denied: int
    good_denied: int
    longest_blocked_s: float
    longest_blocked_at: str
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it."""

    configuration: str
    files: dict[str, str]  # name -> format
    lines: int
    rubbish: int
    rubbish_samples: tuple[tuple[str, str, str], ...]  # (where, why, beginning)
    late: int
    no_requests: int
    refused: dict[str, int]  # status of Weir's answer -> requests that no route was found for
    first_at: str
    last_at: str
    requests: int
    good: int
    denied: int
    denied_share: float
    good_denied: int
    good_denied_share: float
    limits: tuple[LimitFinding, ...]
    routes: tuple[RouteFinding, ...]
    clients: tuple[ClientFinding, ...]
    start_wall: float  # of the slots below and of those of the limits
    slot_s: float
    requests_over_time: tuple[int, ...]
    denied_over_time: tuple[int, ...]
    notes: tuple[str, ...]  # what to know before believing the numbers
