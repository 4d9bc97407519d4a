"""Bans, allowed keys, overrides and kill switches: what is in force when, and who is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.clients.client import Client
from proxy.core.units import Rate
from proxy.limits import controls as module
from proxy.limits.controls import LONGEST_S, PENALTY, Allow, Ban, Controls, ControlsFull, Entry, Kill, Override, Slot

KEY = b"weir:1:gcra:6:per-ip:{i203.0.113.7}"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def controls(clock: Clock) -> Controls:
    return Controls(clock)


def entry(kind: type[Any], until: float = 1060.0, **members: Any) -> Any:
    if kind is not Kill:
        members = {"limit": "per-ip", "key": KEY} | members
    if kind is Override:
        members = {"rate": Rate(5, 60.0)} | members
    return kind(since_wall=1000.0, until_wall=until, reason="why", who="alice", **members)


def client(user: str | None = None, tenant: str | None = None) -> Client:
    return Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7", user, tenant)


def test_nothing_is_in_force_at_first(controls: Controls) -> None:
    assert controls.is_empty
    assert controls.ban_of("per-ip", KEY) is None
    assert not controls.is_allowed("per-ip", KEY)
    assert controls.override_of("per-ip", KEY) is None
    assert controls.kill_for("search", client("alice", "acme")) is None
    assert controls.next_end_wall() is None


def test_what_is_decided_is_found_under_its_limit_and_key_only(controls: Controls) -> None:
    ban, override = entry(Ban), entry(Override, limit="daily")
    assert controls.decide(ban) is None
    controls.decide(override)
    assert controls.ban_of("per-ip", KEY) is ban
    assert controls.ban_of("daily", KEY) is None
    assert controls.ban_of("per-ip", KEY + b"0") is None
    assert controls.override_of("daily", KEY) is override
    assert controls.of_key("per-ip", KEY) == [ban]
    assert controls.entries() == [ban, override]
    assert not controls.is_empty


@pytest.mark.parametrize(
    ("scope", "name", "hits"),
    [
        pytest.param("all", "", {"alice", "bob", "nobody", "other route"}, id="all"),
        pytest.param("route", "search", {"alice", "bob", "nobody"}, id="a route"),
        pytest.param("tenant", "acme", {"alice", "bob"}, id="a tenant"),
        pytest.param("user", "alice", {"alice"}, id="a user"),
        pytest.param("user", "acme", set(), id="a user called like a tenant"),
        pytest.param("route", "acme", set(), id="a route called like a tenant"),
    ],
)
def test_a_kill_switch_stops_those_that_it_names(controls: Controls, scope: Any, name: str, hits: set[str]) -> None:
    controls.decide(entry(Kill, scope=scope, name=name))
    asked = {
        "alice": ("search", client("alice", "acme")),
        "bob": ("search", client("bob", "acme")),
        "nobody": ("search", client()),
        "other route": ("buy", client()),
    }
    assert {who for who, (route, person) in asked.items() if controls.kill_for(route, person)} == hits


def test_of_several_kill_switches_the_longest_counts(controls: Controls) -> None:
    controls.decide(entry(Kill, until=1010.0, scope="all"))
    longest = entry(Kill, until=1090.0, scope="user", name="alice")
    controls.decide(longest)
    controls.decide(entry(Kill, until=1050.0, scope="route", name="search"))
    assert controls.kill_for("search", client("alice")) is longest


def test_everything_ends_by_itself_and_not_before(controls: Controls) -> None:
    kinds = [entry(Ban, 1010.0), entry(Override, 1020.0), entry(Kill, 1030.0, scope="all")]
    for each in kinds:
        controls.decide(each)
    assert controls.next_end_wall() == 1010.0
    before = controls.generation
    assert controls.expire(1009.9) == []
    assert controls.generation == before
    assert controls.expire(1010.0) == [kinds[0]]
    assert controls.generation == before + 1
    assert controls.next_end_wall() == 1020.0
    assert controls.expire(1030.0) == kinds[1:]
    assert controls.is_empty
    assert controls.next_end_wall() is None


def test_a_longer_ban_outlives_the_end_of_the_one_it_replaced(controls: Controls) -> None:
    first, second = entry(Ban, 1010.0), entry(Ban, 1050.0)
    controls.decide(first)
    assert controls.decide(second) is first
    assert controls.expire(1020.0) == []
    assert controls.ban_of("per-ip", KEY) is second


def test_every_change_is_another_generation(controls: Controls) -> None:
    seen = [controls.generation]
    for change in (
        lambda: controls.decide(entry(Ban)),
        lambda: controls.decide(entry(Ban, 1070.0)),
        lambda: controls.revoke(("ban", "per-ip", KEY)),
        lambda: controls.learn([(("ban", "per-ip", KEY), entry(Ban))]),
        lambda: controls.replace({}),
        lambda: controls.touch(),
    ):
        change()
        seen.append(controls.generation)
    assert seen == sorted(set(seen))


def test_what_changes_nothing_is_not_another_generation(controls: Controls) -> None:
    ban = entry(Ban)
    controls.decide(ban)
    before = controls.generation
    assert controls.revoke(("ban", "per-ip", b"another")) is None
    controls.learn([(ban.slot, entry(Ban)), (("allow", "per-ip", KEY), None)])
    controls.expire(1001.0)
    assert controls.generation == before


@pytest.mark.parametrize(("kind", "other"), [(Ban, Allow), (Allow, Ban)], ids=["ban", "allow"])
def test_a_ban_and_an_allow_of_one_key_end_one_another(controls: Controls, kind: Any, other: Any) -> None:
    published: list[tuple[Slot, Entry | None]] = []
    controls.publish = lambda slot, entry: published.append((slot, entry))
    controls.decide(entry(other))
    new = entry(kind)
    controls.decide(new)
    assert controls.entries() == [new]
    assert published[1:] == [((entry(other).slot), None), (new.slot, new)]


def test_what_another_decided_is_not_published_again(controls: Controls) -> None:
    published: list[Any] = []
    controls.publish = lambda slot, entry: published.append(slot)
    controls.learn([(entry(Ban).slot, entry(Ban))])
    controls.replace({})
    assert published == []


def test_what_is_over_elsewhere_is_not_learnt(controls: Controls, clock: Clock) -> None:
    clock.now = 1060.0
    controls.learn([(entry(Ban).slot, entry(Ban, 1060.0))])
    assert controls.is_empty


@pytest.mark.parametrize(
    ("kind", "members", "is_generous"),
    [
        pytest.param(Ban, {}, False, id="a ban"),
        pytest.param(Allow, {}, False, id="an allow"),
        pytest.param(Override, {}, True, id="an override"),
        pytest.param(Kill, {"scope": "all"}, False, id="a kill switch"),
    ],
)
def test_who_remembers_denials_is_told_when_they_may_be_wrong(
    controls: Controls, kind: Any, members: dict[str, Any], is_generous: bool
) -> None:
    told: list[bool] = []
    controls.changed = told.append
    new = entry(kind, **members)
    controls.decide(new)
    controls.revoke(new.slot)
    controls.learn([(new.slot, new)])
    controls.expire(new.until_wall)
    assert told == [is_generous] * 4


def test_a_penalty_is_a_ban_that_ends(controls: Controls, clock: Clock) -> None:
    assert controls.ban("per-ip", KEY, 30.0, "10 denials within 1m")
    ban = controls.ban_of("per-ip", KEY)
    assert ban is not None
    assert (ban.since_wall, ban.until_wall, ban.who) == (1000.0, 1030.0, PENALTY)
    assert controls.counts() == {"ban": 0, "penalty": 1, "allow": 0, "override": 0, "kill": 0}
    controls.expire(1030.0)
    assert controls.counts()["penalty"] == 0


def test_a_penalty_does_not_shorten_what_is_in_force(controls: Controls) -> None:
    ban = entry(Ban, 1600.0)
    controls.decide(ban)
    assert not controls.ban("per-ip", KEY, 30.0, "penalty")
    assert controls.ban_of("per-ip", KEY) is ban


def test_a_penalty_does_not_hit_a_key_that_an_operator_allowed(controls: Controls) -> None:
    controls.decide(entry(Allow))
    assert not controls.ban("per-ip", KEY, 30.0, "penalty")
    assert controls.is_allowed("per-ip", KEY)


def test_a_penalty_is_at_most_thirty_days(controls: Controls) -> None:
    controls.ban("per-ip", KEY, 1e12, "penalty")
    ban = controls.ban_of("per-ip", KEY)
    assert ban is not None
    assert ban.until_wall == 1000.0 + LONGEST_S


def test_penalties_leave_room_for_the_operator(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 5)
    monkeypatch.setattr(module, "MAX_PENALTIES", 3)
    assert [controls.ban("per-ip", b"%d" % n, 30.0, "penalty") for n in range(5)] == [True, True, True, False, False]
    controls.decide(entry(Ban))
    controls.decide(entry(Allow, key=b"other"))
    with pytest.raises(ControlsFull):
        controls.decide(entry(Ban, key=b"one too many"))
    controls.decide(entry(Ban, 1070.0))  # what is there already can be changed
    assert len(controls) == 5


def test_ten_thousand_entries_cost_little_to_look_up() -> None:
    controls = Controls(Clock())
    for number in range(9000):
        controls.ban("per-ip", b"%d" % number, 30.0, "penalty")
    started = time.perf_counter()
    for _ in range(1000):
        controls.ban_of("per-ip", KEY)
    assert time.perf_counter() - started < 0.1


class Model(RuleBasedStateMachine):
    """Any order of decisions, ends and news: the lookups agree with a plain list of what should be in force."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.controls = Controls(self.clock)
        self.truth: dict[Slot, Entry] = {}

    keys = st.sampled_from([b"a", b"b", b"c"])
    kinds = st.sampled_from([Ban, Allow, Override])
    spans = st.integers(1, 40)

    @rule(kind=kinds, key=keys, span=spans, is_news=st.booleans())
    def decide(self, kind: Any, key: bytes, span: int, is_news: bool) -> None:
        new = entry(kind, self.clock.now + span, key=key)
        if is_news:
            self.controls.learn([(new.slot, new)])
        else:
            self.controls.decide(new)
            opposite = {"ban": "allow", "allow": "ban"}.get(new.slot[0], "")
            self.truth.pop((opposite, "per-ip", key), None)
        self.truth[new.slot] = new

    @rule(kind=st.sampled_from(["ban", "allow", "override"]), key=keys)
    def revoke(self, kind: str, key: bytes) -> None:
        assert self.controls.revoke((kind, "per-ip", key)) == self.truth.pop((kind, "per-ip", key), None)

    @rule(span=spans)
    def time_passes(self, span: int) -> None:
        self.clock.now += span
        over = self.controls.expire(self.clock.now)
        now = self.clock.now
        assert {each.slot for each in over} == {slot for slot, each in self.truth.items() if each.until_wall <= now}
        self.truth = {slot: each for slot, each in self.truth.items() if each.until_wall > self.clock.now}

    @precondition(lambda self: self.truth)
    @rule()
    def everything_anew(self) -> None:
        self.controls.replace(dict(self.truth))

    @invariant()
    def lookups_agree(self) -> None:
        assert sorted(self.controls.entries(), key=repr) == sorted(self.truth.values(), key=repr)
        for key in (b"a", b"b", b"c"):
            assert self.controls.ban_of("per-ip", key) == self.truth.get(("ban", "per-ip", key))
            assert self.controls.is_allowed("per-ip", key) is (("allow", "per-ip", key) in self.truth)
            assert self.controls.override_of("per-ip", key) == self.truth.get(("override", "per-ip", key))
        end = self.controls.next_end_wall()
        assert (end is None) is (not self.truth) or end is not None
        assert all(end is not None and end <= each.until_wall for each in self.truth.values())
        assert self.controls.is_empty is (not self.truth)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
