"""A group of requests as one call of `decide.lua`, and its reply as verdicts. Pure bytes; nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

from proxy.limits.policy import LimitPolicy
from proxy.limits.scripts import DECIDE, DECIDE_SHA
from proxy.limits.verdict import SHARED, Verdict


class Asked(Protocol):
    """What is asked of the store for one request."""

    @property
    def policies(self) -> tuple[LimitPolicy, ...]: ...
    @property
    def keys(self) -> Sequence[bytes]: ...
    @property
    def cost(self) -> int: ...


class Question(NamedTuple):
    """The plain form of it."""

    policies: tuple[LimitPolicy, ...]
    keys: Sequence[bytes]
    cost: int


_BY_SHA: Final = b"$7\r\nEVALSHA\r\n$%d\r\n%b\r\n" % (len(DECIDE_SHA), DECIDE_SHA)
_BY_SOURCE: Final = b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(DECIDE), DECIDE)


def encode(group: Sequence[Asked], *, with_source: bool = False) -> bytes:
    """The whole command in RESP. Written out here because packing each argument again costs twice as much."""
    shape = b""
    keys = []
    arguments = []
    for asked in group:
        policies = asked.policies
        shape += b"%d %d " % (len(policies), asked.cost)
        for key in asked.keys:
            keys.append(b"$%d\r\n%b\r\n" % (len(key), key))
        for policy in policies:
            arguments.append(policy.script_argument)
    count = b"%d" % len(keys)
    head = b"*%d\r\n%b$%d\r\n%b\r\n" % (
        4 + 2 * len(keys),
        _BY_SOURCE if with_source else _BY_SHA,
        len(count),
        count,
    )
    return b"".join([head, *keys, b"$%d\r\n%b\r\n" % (len(shape), shape), *arguments])


def verdicts(group: Sequence[Asked], reply: Sequence[int]) -> list[Verdict]:
    """One verdict for each request of the group, from the script's flat reply."""
    answers = []
    at = 0
    for asked in group:
        policies = asked.policies
        if len(policies) == 1:
            answers.append(_single(policies, asked.keys[0], reply[at], reply[at + 1], reply[at + 2]))
            at += 3
        else:
            end = at + 3 * len(policies)
            answers.append(_several(policies, asked.keys, reply[at:end]))
            at = end
    return answers


def _single(
    policies: tuple[LimitPolicy, ...], key: bytes, remaining: int, reset_us: int, retry_after_us: int
) -> Verdict:
    if retry_after_us == 0:
        return Verdict(policies, policies[0], key, remaining, reset_us * 1e-6, 0.0, (), SHARED)
    retry_after_s = _seconds(retry_after_us)
    return Verdict(policies, policies[0], key, remaining, reset_us * 1e-6, retry_after_s, policies, SHARED)


def _several(policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], numbers: Sequence[int]) -> Verdict:
    violated = []
    tightest = 0
    lowest = inf
    longest_s = 0.0
    for i, policy in enumerate(policies):
        retry_after_us = numbers[3 * i + 2]
        if retry_after_us != 0:
            violated.append(policy)
            retry_after_s = _seconds(retry_after_us)
            if retry_after_s > longest_s:
                longest_s = retry_after_s
                tightest = i
        elif not violated:
            if numbers[3 * i] < lowest:
                lowest = numbers[3 * i]
                tightest = i
    remaining, reset_us = numbers[3 * tightest], numbers[3 * tightest + 1]
    return Verdict(
        policies, policies[tightest], keys[tightest], remaining, reset_us * 1e-6, longest_s, tuple(violated), SHARED
    )


def _seconds(retry_after_us: int) -> float:
    return inf if retry_after_us < 0 else retry_after_us * 1e-6
