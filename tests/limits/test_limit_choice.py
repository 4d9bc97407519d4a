"""Which numbers hold for whom: plans, shadow, shares, candidates, lists, and what operators decide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.clients.client import Client
from proxy.core.clock import wall
from proxy.core.errors import ErrorKind
from proxy.core.settings import FromText
from proxy.core.units import Rate
from proxy.exchange import Exchange
from proxy.http.message import Request, Response
from proxy.limits.controls import Allow, Controls, Kill, Override
from proxy.limits.describe import describe
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.stage import Limiter, admit
from tests.snapshots import a_route, a_snapshot

IDENTIFIER = b"0192f0c1-2b3a-7000-9b1c-4dd7f0a1b2c3"


def limit(name: str = "api", **settings: Any) -> Limit:
    return Limit(name, LimitSettings.model_validate({"rate": "2/h", **settings}, context=FromText()), "test.yaml:1")


def client(address: str = "203.0.113.7", **names: Any) -> Client:
    return Client(address, address.encode(), address.encode(), **names)


class Line:
    """A limiter over memory, and requests to it."""

    def __init__(self, *limits: Limit, announces_limits: bool = True) -> None:
        self.route = a_route(limits=limits, announces_limits=announces_limits)
        self.store = MemoryStore(100_000)
        self.controls = Controls(wall)
        self.limiter = Limiter(LimiterSettings(), self.store, self.controls)
        self.last: Exchange

    def ask(self, who: Client, now: float = 100.0, fields: dict[bytes, bytes] | None = None) -> Response | None:
        request = Request(b"GET", b"/api", 1, [], fields or {})
        exchange = Exchange(request, a_snapshot(), None, who, False, IDENTIFIER, now)
        exchange.route = self.route
        self.last = exchange
        refusal = admit(exchange, self.limiter)
        assert refusal is None or isinstance(refusal, Response)
        return refusal

    def passes(self, who: Client, most: int = 50, now: float = 100.0) -> int:
        """How many requests of a client pass at once."""
        for count in range(most):
            if self.ask(who, now) is not None:
                return count
        return most


def document(response: Response | None) -> dict[str, Any]:
    assert response is not None
    assert isinstance(response.content, bytes)
    found: dict[str, Any] = json.loads(response.content)
    return found


# -- plans --


@pytest.mark.parametrize(("plan", "passes"), [(None, 2), ("pro", 6), ("team", 9), ("unheard-of", 2)], ids=str)
def test_the_verified_plan_chooses_the_numbers_and_any_other_plan_has_everybodys(plan: str | None, passes: int) -> None:
    line = Line(limit(plans={"pro": "6/h", "team": {"rate": "60/h", "burst": 9}}))
    assert line.passes(client(plan=plan)) == passes


def test_a_field_of_the_request_is_no_plan() -> None:
    line = Line(limit(plans={"pro": "6/h"}))
    fields = {b"x-plan": b"pro", b"plan": b"pro"}
    assert [line.ask(client(), fields=fields) is None for _ in range(3)] == [True, True, False]


def test_who_changes_the_plan_keeps_what_was_spent() -> None:
    line = Line(limit(algorithm="fixed", plans={"pro": "6/h"}))
    assert line.passes(client()) == 2
    assert line.passes(client(plan="pro")) == 4


def test_the_plans_numbers_are_announced() -> None:
    line = Line(limit(plans={"pro": "6/h"}))
    line.ask(client(plan="pro"))
    assert b'RateLimit-Policy: "api";q=6;w=3600\r\n' in line.last.decision.lines(0.0)


# -- shadow, shares, candidates --


def test_a_limit_in_shadow_counts_and_refuses_nobody_and_says_nothing() -> None:
    shadow = limit(mode="shadow")
    line = Line(shadow)
    assert line.passes(client()) == 50
    assert (shadow.stats.allowed, shadow.stats.would_deny, shadow.stats.denied) == (50, 48, 0)
    assert line.last.decision.lines(0.0) == b""


def test_a_limit_in_shadow_stays_out_of_the_fields_of_an_enforced_one() -> None:
    line = Line(limit("tight", mode="shadow"), limit("wide", rate="9/h", by=["ip", "route"]))
    assert line.passes(client()) == 9
    text = line.last.decision.lines(0.0)
    assert b'"wide";q=9' in text
    assert b"tight" not in text


def test_a_limit_that_is_off_is_not_asked() -> None:
    off = limit(mode="off")
    line = Line(off)
    assert line.passes(client()) == 50
    assert off.stats.allowed == 0
    assert len(line.store) == 0


def test_a_share_of_the_keys_is_enforced_and_always_the_same_ones() -> None:
    one, other = limit(enforce_share="10%"), limit(enforce_share="10%")
    keys = [b"weir:1:gcra:3:api:{i10.0.%d.%d}" % divmod(n, 256) for n in range(5000)]
    enforced = [one.is_enforced(key) for key in keys]
    assert 400 < sum(enforced) < 600
    assert enforced == [other.is_enforced(key) for key in keys]
    wider = limit(enforce_share="30%")
    assert all(wider.is_enforced(key) for key in keys if one.is_enforced(key)), "who is enforced stays so"


def test_the_others_are_in_shadow() -> None:
    shared = limit(enforce_share="50%")
    line = Line(shared)
    passed = {line.passes(client(f"10.0.0.{n}")) for n in range(40)}
    assert passed == {2, 50}
    assert shared.stats.would_deny > 0 < shared.stats.denied


def test_a_candidate_is_counted_beside_the_limit_and_refuses_nobody() -> None:
    tried = limit(rate="6/h", candidate={"rate": "4/h"})
    line = Line(tried)
    assert line.passes(client()) == 6
    assert (tried.stats.allowed, tried.stats.denied, tried.stats.candidate_denied) == (6, 1, 3)
    assert tried.stats.would_deny == 0


def test_a_looser_candidate_counts_what_it_would_have_let_pass_only_as_far_as_it_passed() -> None:
    tried = limit(rate="2/h", candidate={"rate": "4/h"})
    line = Line(tried)
    for _ in range(10):
        line.ask(client())
    assert (tried.stats.denied, tried.stats.candidate_denied) == (8, 0), "a refused request charges no candidate"


def test_who_has_a_plan_has_no_candidate() -> None:
    tried = limit(rate="6/h", candidate={"rate": "4/h"}, plans={"pro": "9/h"})
    assert [policy.is_candidate for policy in tried.policies(b"k", None, None)] == [False, True]
    assert [policy.is_candidate for policy in tried.policies(b"k", "pro", None)] == [False]


# -- allow and deny --


def test_who_is_on_the_allow_list_is_not_counted() -> None:
    line = Line(limit(allow=["10.0.0.0/8", "user:alice"]))
    assert line.passes(client("10.1.1.1")) == line.passes(client(user="alice")) == 50
    assert line.passes(client(user="bob")) == 2


def test_who_is_on_the_deny_list_gets_a_403_and_is_counted_nowhere() -> None:
    strict, wide = limit("strict", deny=["user:mallory"]), limit("wide", rate="9/h", by="user")
    line = Line(strict, wide)
    response = line.ask(client(user="mallory"))
    assert response is not None
    assert (response.status, response.error, line.last.error) == (403, ErrorKind.FORBIDDEN, ErrorKind.FORBIDDEN)
    assert document(response)["violated-policies"] == ["strict"]
    assert strict.stats.blocked == 1
    assert len(line.store) == 0


def test_a_name_that_was_not_verified_is_on_no_list() -> None:
    line = Line(limit(allow=["user:alice"]))
    fields = {b"x-user": b"alice", b"user": b"alice"}
    assert [line.ask(client(), fields=fields) is None for _ in range(3)] == [True, True, False]


# -- operators --


def test_a_kill_switch_stops_whom_it_is_for_until_it_ends() -> None:
    line = Line(limit(rate="99/h"))
    ana, bob = client(user="ana"), client(user="bob")
    assert line.ask(ana) is None
    now = wall()
    line.controls.decide(Kill(scope="user", name="ana", since_wall=now, until_wall=now + 30, reason="x", who="op"))
    response = line.ask(ana)
    assert response is not None
    assert (response.status, line.last.error) == (503, ErrorKind.SWITCHED_OFF)
    said = document(response)
    assert said["type"].endswith("#temporary-reduced-capacity")
    assert said["violated-policies"] == ["kill-switch"]
    assert 29 <= int(response.get(b"retry-after") or 0) <= 30
    assert line.ask(bob) is None
    line.controls.revoke(("kill", "user", b"ana"))
    assert line.ask(ana) is None


def test_a_kill_switch_holds_on_a_route_without_limits() -> None:
    line = Line()
    line.controls.decide(Kill(scope="all", since_wall=wall(), until_wall=wall() + 30, reason="x", who="op"))
    assert not line.controls.is_empty
    response = line.ask(client())
    assert response is not None
    assert response.status == 503


def test_a_ban_of_a_key_is_a_429_of_its_own() -> None:
    banning = limit()
    line = Line(banning)
    who = client()
    assert line.ask(who) is None
    line.controls.ban("api", line.last.decision.key, 60.0, "scraping", "op")
    response = line.ask(who)
    assert response is not None
    assert (response.status, line.last.error, line.last.decision) == (429, ErrorKind.BLOCKED, None)
    said = document(response)
    assert said["type"].endswith("#abnormal-usage-detected")
    assert said["violated-policies"] == ["api"]
    assert 59 <= int(response.get(b"retry-after") or 0) <= 60
    assert banning.stats.blocked == 1
    assert line.ask(client("203.0.113.8")) is None


def test_an_override_changes_the_numbers_of_one_key_and_keeps_what_was_spent() -> None:
    line = Line(limit(algorithm="fixed", rate="2/h"))
    who = client()
    assert line.passes(who) == 2
    key = line.last.decision.key
    until = wall() + 600
    line.controls.decide(
        Override(limit="api", key=key, rate=Rate(5, 3600.0), since_wall=wall(), until_wall=until, reason="x", who="op")
    )
    assert line.passes(who) == 3
    assert line.passes(client("203.0.113.8")) == 2


def test_a_key_that_is_allowed_is_not_counted() -> None:
    line = Line(limit())
    who = client()
    line.ask(who)
    key = line.last.decision.key
    line.controls.decide(Allow(limit="api", key=key, since_wall=wall(), until_wall=wall() + 9, reason="x", who="op"))
    assert line.passes(who) == 50


def test_an_override_that_lets_nothing_pass_is_no_error() -> None:
    line = Line(limit(cost=2))
    who = client()
    line.ask(who)
    key = line.last.decision.key
    line.controls.decide(
        Override(
            limit="api", key=key, rate=Rate(1, 60.0), since_wall=wall(), until_wall=wall() + 9, reason="x", who="op"
        )
    )
    assert line.passes(who) == 0


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log", "inflight", "calendar"])
def test_every_algorithm_takes_an_override(algorithm: str) -> None:
    settings: dict[str, Any] = {"algorithm": algorithm}
    if algorithm == "inflight":
        settings = {"algorithm": algorithm, "rate": None, "limit": 2}
    elif algorithm == "calendar":
        settings = {"algorithm": "fixed", "rate": "2/d", "time_zone": "UTC"}
    overridden = limit(**settings)
    line = Line(overridden)
    who = client()
    line.ask(who)
    key = line.last.decision.key
    line.controls.decide(
        Override(
            limit="api", key=key, rate=Rate(7, 86400.0), since_wall=wall(), until_wall=wall() + 9, reason="x", who="op"
        )
    )
    assert line.passes(who) >= 4


# -- penalties --


def test_who_is_denied_again_and_again_is_blocked_and_the_block_is_a_ban() -> None:
    boxed = limit(penalty={"after": 3, "within": "1m", "block": "5m"})
    line = Line(boxed)
    who = client()
    answers = [line.ask(who) for _ in range(6)]
    assert [answer is None for answer in answers] == [True, True, False, False, False, False]
    kinds = [document(answer)["type"].partition("#")[2] for answer in answers[2:]]
    assert kinds == ["quota-exceeded", "quota-exceeded", "abnormal-usage-detected", "abnormal-usage-detected"]
    assert answers[4] is not None
    assert int(answers[4].get(b"retry-after") or 0) == 300
    assert (boxed.stats.denied, boxed.stats.blocked) == (3, 2)
    assert line.controls.counts()["penalty"] == 1
    assert line.ask(client("203.0.113.8")) is None


def test_denials_in_shadow_are_held_against_nobody() -> None:
    boxed = limit(mode="shadow", penalty={"after": 1, "within": "1m", "block": "5m"})
    line = Line(boxed)
    assert line.passes(client()) == 50
    assert line.controls.is_empty


# -- what is told --


def test_a_route_that_announces_nothing_keeps_retry_after_on_a_429() -> None:
    line = Line(limit(), announces_limits=False)
    assert line.ask(client()) is None
    assert line.last.decision.lines(0.0) == b""
    line.ask(client())
    response = line.ask(client())
    assert response is not None
    assert response.status == 429
    assert line.last.decision.lines(0.0) == b"Retry-After: 1800\r\n"


def test_most_of_a_quota_used_is_near() -> None:
    near = limit(rate="10/h")
    line = Line(near)
    for _ in range(10):
        assert line.ask(client()) is None
    assert near.stats.near == 3, "2, 1 and 0 left"


def test_what_is_remembered_ends_with_the_next_change_of_the_controls() -> None:
    line = Line(limit(rate="99/h"))
    who = client()
    line.ask(who)
    first = who.limit_keys
    line.ask(who)
    assert who.limit_keys is first
    line.controls.touch()
    line.ask(who)
    assert who.limit_keys is not first


@pytest.mark.parametrize(
    ("settings", "who", "words"),
    [
        ({"plans": {"pro": "6/h"}}, client(plan="pro"), ["The numbers are those of the plan pro."]),
        ({"plans": {"pro": "6/h"}}, client(), ["The client has no plan: the numbers are those for everybody."]),
        ({"mode": "shadow"}, client(), ["In shadow: it counts and refuses nobody."]),
        ({"candidate": {"rate": "9/h"}}, client(), ["A candidate of 9/h is counted beside it and refuses nobody."]),
        ({"cost": 2}, client(), ["Costs 2."]),
        (
            {"rate": "99/h", "cost": {"response_field": "X-Cost", "most": 50}},
            client(),
            ["Costs 1 at first, then what it was by the response's X-Cost, at most 50."],
        ),
        (
            {"cost": {"response_bytes": "64KiB"}},
            client(),
            ["Costs 1 at first, then what it was by the content, one for every 64KiB, at most 2."],
        ),
        (
            {"count_if": "status in (401)"},
            client(),
            ["Counts only if status in (401); what does not is given back after the response."],
        ),
        (
            {"penalty": {"after": 10, "block": "5m"}},
            client(),
            [
                "After 10 denials within 1m the key is blocked for 5m, 2 times longer each time, at most 1d.",
            ],
        ),
        (
            {"on_limit": ["stale", "delay(200ms)"]},
            client(),
            ["Over the limit: stale, then delay up to 200ms, then 429."],
        ),
        ({"accuracy": "local"}, client(), ["Each process counts alone, whatever the store."]),
        (
            {"algorithm": "fixed", "rate": "9/d", "time_zone": "Europe/Berlin"},
            client(),
            ["Each day of the calendar in Europe/Berlin is a window."],
        ),
        (
            {"rate": None, "limit": 4, "algorithm": "inflight"},
            client(),
            ["A lease of 30s is renewed while the request is under way."],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_explain_tells_whatever_else_there_is_to_a_limit(
    settings: dict[str, Any], who: Client, words: list[str]
) -> None:
    said = describe(limit(**settings), who, Request(b"GET", b"/", 1, [], {}), a_route())
    assert list(said.notes) == words


def test_explain_tells_who_is_on_a_list() -> None:
    request = Request(b"GET", b"/", 1, [], {})
    listed = limit(allow=["user:alice"], deny=["10.0.0.0/8"])
    exempt = describe(listed, client(user="alice"), request, a_route())
    assert (exempt.applies, exempt.denies, exempt.reason) == (
        *(False, False, "On its allow list as user:alice: not counted."),
    )
    refused = describe(listed, client("10.0.0.9"), request, a_route())
    assert (refused.applies, refused.denies, refused.reason) == (
        *(False, True, "On its deny list as 10.0.0.0/8: refused."),
    )


@pytest.mark.parametrize(("share", "mode"), [("100%", "enforce"), ("0.000001%", "shadow")])
def test_explain_tells_whether_the_key_is_enforced(share: str, mode: str) -> None:
    said = describe(limit(enforce_share=share), client(), Request(b"GET", b"/", 1, [], {}), a_route())
    assert said.mode == mode
