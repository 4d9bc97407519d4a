"""Hash slots of a cluster: which part of it holds a key, and what a group of questions becomes when it is taken apart.

The script of one call may touch one slot only. So a group becomes one call for each slot, and a request whose limits
live in several slots is decided in several calls that do not know of one another. What they charged is given back when
the request was refused, or not decided, elsewhere: charged everywhere or nowhere, but for a moment.

The rule is the cluster specification's: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Final

from proxy.limits.shared.group import Asked, Errand, Question, adjusting, releasing

SLOTS: Final = 16384


def slot_of(key: bytes) -> int:
    """CRC16 of what stands between the first `{` and the next `}`, if that is anything; else of the whole key."""
    begin = key.find(b"{") + 1
    if begin:
        end = key.find(b"}", begin)
        if end > begin:
            key = key[begin:end]
    return crc_hqx(key, 0) & 0x3FFF  # crc_hqx is the CRC16 meant: polynomial 0x1021, from 0


class Part:
    """What of a group lives in one slot, in the group's order."""

    __slots__ = ("asked", "places", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.asked: list[Asked] = []
        self.places: list[int] = []  # for each of its limits: which one it is in the group


class Split:
    """A request whose limits live in several slots."""

    __slots__ = ("asked", "first", "slots")

    def __init__(self, asked: Asked, first: int, slots: list[int]) -> None:
        self.asked = asked
        self.first = first  # the place of its first limit
        self.slots = slots  # of each of its limits


def take_apart(group: Sequence[Asked]) -> tuple[list[Part], list[Split]]:
    parts: dict[int, Part] = {}
    splits: list[Split] = []
    place = 0
    for asked in group:
        keys = asked.keys
        slot = slot_of(keys[0])
        if len(keys) > 1 and (slots := [slot_of(key) for key in keys]).count(slot) != len(slots):
            splits.append(Split(asked, place, slots))
            _distribute(asked, slots, place, parts)
        else:
            part = parts.get(slot)
            if part is None:
                part = parts[slot] = Part(slot)
            part.asked.append(asked)
            part.places.extend(range(place, place + len(keys)))
        place += len(keys)
    return list(parts.values()), splits


def put_together(numbers: list[int | None], part: Part, reply: Sequence[int]) -> None:
    """Write a part's reply to where it belongs in the reply to the group."""
    for i, place in enumerate(part.places):
        numbers[3 * place : 3 * place + 3] = reply[3 * i : 3 * i + 3]


def settle(split: Split, numbers: list[int | None], age_s: float) -> list[Errand]:
    """What is to be given back. A request that one slot did not decide becomes undecided as a whole."""
    begin, end = 3 * split.first, 3 * (split.first + len(split.slots))
    verdicts = numbers[begin + 2 : end : 3]
    policies = split.asked.policies
    refusing = {
        slot
        for slot, verdict, policy in zip(split.slots, verdicts, policies, strict=True)
        if verdict is None or (policy.is_enforced and not _has_passed(verdict))
    }
    if not refusing:
        return []
    if None in verdicts:
        numbers[begin:end] = [None] * (end - begin)
    return [
        _giving_back(split.asked, i, age_s)
        for i, verdict in enumerate(verdicts)
        if verdict is not None and _has_passed(verdict) and split.slots[i] not in refusing
    ]


def settle_late(split: Split, part: Part, reply: Sequence[int], age_s: float) -> list[Errand]:
    """The same for one slot whose reply came when the request was over already."""
    limits = range(len(split.slots))
    verdicts = {place - split.first: reply[3 * i + 2] for i, place in enumerate(part.places)}
    here = [i for i in limits if split.slots[i] == part.slot]
    policies = split.asked.policies
    if any(policies[i].is_enforced and not _has_passed(verdicts[i]) for i in here):
        return []
    return [_giving_back(split.asked, i, age_s) for i in here if _has_passed(verdicts[i])]


def _distribute(asked: Asked, slots: list[int], place: int, parts: dict[int, Part]) -> None:
    for slot in dict.fromkeys(slots):
        here = [i for i, other in enumerate(slots) if other == slot]
        part = parts.setdefault(slot, Part(slot))
        policies = tuple([asked.policies[i] for i in here])
        part.asked.append(Question(policies, [asked.keys[i] for i in here], asked.member))
        part.places.extend([place + i for i in here])


def _has_passed(verdict: int) -> bool:
    return verdict == 0 or verdict < -1


def _giving_back(asked: Asked, i: int, age_s: float) -> Errand:
    policy, key = asked.policies[i], asked.keys[i]
    if policy.is_held:
        return releasing(policy, key, asked.member)
    return adjusting(policy, key, -policy.cost, age_s)
