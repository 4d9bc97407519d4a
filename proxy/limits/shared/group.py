"""A group of questions as one call of `decide.lua`, and its reply as verdicts. Pure bytes; nothing is sent here.

Most questions are requests that want a decision. The others, errands, are about one key of one policy; they go along in
the order in which they came, so a correction is seen by every decision behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final, NamedTuple, Protocol

from proxy.core.clock import wall
from proxy.limits.policy import LimitPolicy
from proxy.limits.scripts import EPOCH_WALL, ERRANDS, NEEDS, SINGLE, argument_now, script
from proxy.limits.verdict import SHARED, Verdict


class Asked(Protocol):
    """What is asked of the store."""

    @property
    def policies(self) -> tuple[LimitPolicy, ...]: ...
    @property
    def keys(self) -> Sequence[bytes]: ...
    @property
    def member(self) -> bytes:
        """Who holds the leases, if one of the policies is held; else empty. No spaces and no colons."""

    @property
    def word(self) -> bytes:
        """Empty for a decision, else what the script is to do with the one key."""


class Question(NamedTuple):
    """The plain form of a request that wants a decision."""

    policies: tuple[LimitPolicy, ...]
    keys: Sequence[bytes]
    member: bytes = b""
    word: bytes = b""


class Errand(NamedTuple):
    """Something else to do, with one key of one policy."""

    policies: tuple[LimitPolicy, ...]
    keys: tuple[bytes, ...]
    word: bytes
    member: bytes = b""


def adjusting(policy: LimitPolicy, key: bytes, units: int, age_s: float) -> Errand:
    """Charge units without asking, or give them back (below zero), for what was admitted `age_s` ago."""
    return Errand((policy,), (key,), b"a:%d:%d" % (units, max(age_s, 0.0) * 1e6))


def renewing(policy: LimitPolicy, key: bytes, member: bytes) -> Errand:
    """Let a lease begin anew. Its verdict is denied if it had ended and there is no room to take it again."""
    return Errand((policy,), (key,), b"e:" + member)


def releasing(policy: LimitPolicy, key: bytes, member: bytes) -> Errand:
    """End a lease; one that is not there makes no difference."""
    return Errand((policy,), (key,), b"d:" + member)


def peeking(policy: LimitPolicy, key: bytes) -> Errand:
    """Its verdict is what a request would find: `remaining` does not count it."""
    return Errand((policy,), (key,), b"p")


def resetting(policy: LimitPolicy, key: bytes) -> Errand:
    """Forget the key."""
    return Errand((policy,), (key,), b"x")


_MOST_SETS: Final = 4096  # of limits, of which is kept what they add to a command
_sets: dict[tuple[LimitPolicy, ...], tuple[int, bytes, bytes]] = {}  # needs, arguments, word of a decision


def encode(group: Sequence[Asked], told: set[int], *, with_source: bool = False) -> bytes:
    """The whole command in RESP. Written out here because packing each argument again costs twice as much.

    `told`: the scripts whose source this connection has carried; the first call of one carries it, or every
    combination would begin with a round trip in vain.
    """
    words = []
    keys = []
    arguments = []
    needs = 0
    for asked in group:
        policies = asked.policies
        needed, argument, plain = _sets.get(policies) or _describe(policies)
        word = plain
        needs |= needed
        arguments.append(argument or b"".join([each.script_argument or _with_boundaries(each) for each in policies]))
        if asked.word:
            word = asked.word
            needs |= ERRANDS
        elif asked.member:
            word = b"%b:%b" % (word, asked.member)
        words.append(word)
        for key in asked.keys:
            keys.append(b"$%d\r\n%b\r\n" % (len(key), key))
    if len(words) == 1 and word is plain:
        needs |= SINGLE
    what = b" ".join(words)
    count = b"%d" % len(keys)
    made = script(needs)
    if needs not in told:
        told.add(needs)
        with_source = True
    head = b"*%d\r\n%b$%d\r\n%b\r\n" % (
        4 + 2 * len(keys),
        made.by_source if with_source else made.by_sha,
        len(count),
        count,
    )
    return b"".join([head, *keys, b"$%d\r\n%b\r\n" % (len(what), what), *arguments])


def _describe(policies: tuple[LimitPolicy, ...]) -> tuple[int, bytes, bytes]:
    """What these limits add to every command. No arguments where they depend on the day."""
    needs = 0
    for policy in policies:
        needs |= NEEDS[policy.algorithm]
    whole = all([policy.script_argument for policy in policies])
    arguments = b"".join([policy.script_argument for policy in policies]) if whole else b""
    if len(_sets) >= _MOST_SETS:
        _sets.clear()
    _sets[policies] = described = needs, arguments, b"%d" % len(policies)
    return described


def verdicts(group: Sequence[Asked], reply: Sequence[int | None]) -> list[Verdict | None]:
    """One verdict for each question of the group, from the script's flat reply; None where its numbers are None."""
    answers: list[Verdict | None] = []
    numbers: Any = reply
    at = 0
    for asked in group:
        policies = asked.policies
        remaining: Any = numbers[at]
        if remaining is None:  # then so are the others
            answers.append(None)
            at += 3 * len(policies)
        elif len(policies) == 1:
            answers.append(_single(policies, asked.keys, remaining, numbers[at + 1], numbers[at + 2]))
            at += 3
        else:
            end = at + 3 * len(policies)
            answers.append(_several(policies, asked.keys, numbers[at:end]))
            at = end
    return answers


def _single(
    policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], remaining: int, reset_us: int, passed: int
) -> Verdict:
    policy = policies[0]
    if passed == 0:
        return Verdict(policies, keys, policy, keys[0], remaining, reset_us * 1e-6, 0.0, (), SHARED)
    if passed < -1:
        delay_s = (-1 - passed) * 1e-6 if policy.is_enforced else 0.0
        return Verdict(policies, keys, policy, keys[0], remaining, reset_us * 1e-6, 0.0, (), SHARED, (), delay_s)
    if not policy.is_enforced:
        return Verdict(policies, keys, policy, keys[0], remaining, reset_us * 1e-6, 0.0, (), SHARED, policies)
    return Verdict(policies, keys, policy, keys[0], remaining, reset_us * 1e-6, _seconds(passed), policies, SHARED)


def _several(policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], numbers: Sequence[int]) -> Verdict:
    if not any(numbers[2::3]):  # nearly always: all of them admit it, and at once
        left = numbers[::3]
        tightest = left.index(min(left))
        policy = policies[tightest]
        if policy.is_enforced:
            reset_s = numbers[3 * tightest + 1] * 1e-6
            return Verdict(policies, keys, policy, keys[tightest], left[tightest], reset_s, 0.0, (), SHARED)
    violated: list[LimitPolicy] = []
    would_deny: list[LimitPolicy] = []
    tightest = -1
    lowest = inf
    longest_s = delay_s = 0.0
    for i, policy in enumerate(policies):
        passed = numbers[3 * i + 2]
        if not policy.is_enforced:
            if passed > 0 or passed == -1:
                would_deny.append(policy)
        elif passed == 0 or passed < -1:
            if numbers[3 * i] < lowest and not violated:
                lowest = float(numbers[3 * i])
                tightest = i
            if passed:
                delay_s = max(delay_s, (-1 - passed) * 1e-6)
        else:
            violated.append(policy)
            retry_after_s = _seconds(passed)
            if retry_after_s > longest_s:
                longest_s = retry_after_s
                tightest = i
    if violated:
        delay_s = 0.0
    elif tightest < 0:  # none is enforced
        tightest = min(range(len(policies)), key=lambda i: numbers[3 * i])
    return Verdict(
        policies,
        keys,
        policies[tightest],
        keys[tightest],
        numbers[3 * tightest],
        numbers[3 * tightest + 1] * 1e-6,
        longest_s,
        tuple(violated),
        SHARED,
        tuple(would_deny),
        delay_s,
    )


def _seconds(retry_after_us: int) -> float:
    return inf if retry_after_us < 0 else retry_after_us * 1e-6


def _with_boundaries(policy: LimitPolicy) -> bytes:
    """The argument of a policy with windows of a calendar: which ends are next depends on the day.

    The server's clock decides which of them it is, so ours may be a window ahead or behind.
    """
    assert policy.calendar is not None
    ends = [end - EPOCH_WALL for end in policy.calendar.ends(wall())]
    return argument_now(policy.algorithm, (*policy.numbers, *ends), policy.cost, policy.is_enforced)
