"""Limits as clients meet them, counted in memory."""

from __future__ import annotations

import time

import http_sf
import pytest

from tests.line.backend import Backend
from tests.line.client import Answer, at_once
from tests.line.conftest import Configure
from tests.line.process import Weir

CONFIG = """
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}}}}}
identity: {{user: {{header: X-User}}}}
include: [policies/*.yaml]
"""
POLICY = """
limits:
  wide: {rate: 100/h, by: ip}
  narrow: {rate: 3/h, by: user}
routes:
  - {name: rest, upstream: app}
  - {name: ip, upstream: app, match: {path: /ip}, limits: [{name: per-ip, rate: 3/min, by: ip}]}
  - {name: user, upstream: app, match: {path: /user}, limits: [{name: per-user, rate: 2/h, by: user, missing: skip}]}
  - {name: members, upstream: app, match: {path: /members}, limits: [{name: m, rate: 9/h, by: user, missing: deny}]}
  - {name: pair, upstream: app, match: {path: /pair}, limits: [{name: pair, rate: 1/h, by: [user, "header:X-Device"]}]}
  - {name: both, upstream: app, match: {path: /both/**}, limits: [wide, narrow]}
  - {name: window, upstream: app, match: {path: /fixed}, limits: [{name: fx, rate: 2/h, by: ip, algorithm: fixed}]}
  - {name: slide, upstream: app, match: {path: /sliding}, limits: [{name: sl, rate: 2/h, by: ip, algorithm: sliding}]}
  - {name: exact, upstream: app, match: {path: /exact}, limits: [{name: exact, rate: 20/h, by: global}]}
  - {name: refill, upstream: app, match: {path: /refill}, limits: [{name: rf, rate: 2/s, by: ip, burst: 1}]}
"""


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend) -> Weir:
    return configure_module(CONFIG.format(app=app.url), {"policies/limits.yaml": POLICY})


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def from_ip(weir: Weir, path: str, ip: str, user: str | None = None, **more: str) -> Answer:
    fields = {"X-Forwarded-For": ip} | ({"X-User": user} if user else {}) | more
    return weir.get(path, fields)


def test_each_address_has_its_own_quota_and_the_fields_count_it_down(weir: Weir, app: Backend) -> None:
    answers = [from_ip(weir, "/ip", "203.0.113.1") for _ in range(4)]
    assert statuses(answers) == [200, 200, 200, 429]
    assert [answer.get("x-ratelimit-limit") for answer in answers] == ["3"] * 4
    assert [answer.get("x-ratelimit-remaining") for answer in answers] == ["2", "1", "0", "0"]
    assert from_ip(weir, "/ip", "203.0.113.2").status == 200
    assert len(app.asked("/ip")) == 4, "a denied request does not reach the backend"


def test_a_denial_says_why_when_to_come_back_and_nothing_else(weir: Weir) -> None:
    for _ in range(3):
        from_ip(weir, "/ip", "203.0.113.3")
    denied = from_ip(weir, "/ip", "203.0.113.3")
    assert (denied.status, denied.reason) == (429, "rate_limited")
    document = denied.json()
    assert document["violated-policies"] == ["per-ip"]
    assert document["instance"] == f"urn:uuid:{denied.get('x-request-id')}"
    assert document["type"].startswith("https://iana.org/assignments/http-problem-types#")
    assert denied.get("cache-control") == "no-store"
    assert 1 <= int(denied.get("retry-after") or 0) <= 60
    assert int(denied.get("x-ratelimit-reset") or 0) <= int(denied.get("retry-after") or 0)
    assert "127.0.0.1" not in denied.content.decode()
    said = weir.logged(denied)
    assert (said["reason"], said["status"], said["attempts"]) == ("rate_limited", 429, 0)
    assert said["limit"] == {"policy": "per-ip", "remaining": 0}
    assert weir.metric("weir_limit_decisions_total", policy="per-ip", decision="denied") >= 1


def test_the_ietf_fields_are_structured_fields(weir: Weir) -> None:
    answer = from_ip(weir, "/both/sf", "203.0.113.4", "sf-user")
    policies = http_sf.parse((answer.get("ratelimit-policy") or "").encode(), tltype="list")
    assert {item: (params["q"], params["w"]) for item, params in policies} == {"wide": (100, 3600), "narrow": (3, 3600)}
    limit = http_sf.parse((answer.get("ratelimit") or "").encode(), tltype="list")
    assert [(item, params["r"]) for item, params in limit] == [("narrow", 2)]
    assert 0 < limit[0][1]["t"] <= 3600


def test_a_limit_by_user_counts_users_wherever_they_come_from(weir: Weir) -> None:
    answers = [from_ip(weir, "/user", f"203.0.113.{n}", "alice") for n in range(10, 13)]
    assert statuses(answers) == [200, 200, 429]
    assert from_ip(weir, "/user", "203.0.113.10", "bob").status == 200
    assert statuses([from_ip(weir, "/user", "203.0.113.10") for _ in range(4)]) == [200] * 4, "missing: skip"


def test_a_limit_may_deny_those_without_a_key(weir: Weir) -> None:
    denied = from_ip(weir, "/members", "203.0.113.5")
    assert (denied.status, denied.reason) == (429, "rate_limited")
    assert denied.json()["violated-policies"] == ["m"]
    assert from_ip(weir, "/members", "203.0.113.5", "alice").status == 200


def test_a_composite_key_counts_each_combination(weir: Weir) -> None:
    def one(user: str, device: str) -> int:
        return weir.get("/pair", {"X-User": user, "X-Device": device}).status

    assert [one("u1", "a"), one("u1", "b"), one("u2", "a"), one("u1", "a")] == [200, 200, 200, 429]
    assert [one("u1a", ""), one("u", "1a")] == [200, 200], "parts of a key do not run together"


def test_a_request_is_charged_to_all_of_its_limits_or_to_none(weir: Weir) -> None:
    ip = "203.0.113.20"
    answers = [from_ip(weir, "/both/all", ip, "all-or-none") for _ in range(8)]
    assert statuses(answers) == [200] * 3 + [429] * 5
    assert answers[-1].json()["violated-policies"] == ["narrow"]
    other = from_ip(weir, "/both/all", ip, "somebody-else")
    policy = http_sf.parse((other.get("ratelimit") or "").encode(), tltype="list")
    assert policy[0][0] == "narrow"
    # the first user's three and this one were charged to `wide`, and none of the five that were denied
    spent = [from_ip(weir, "/both/all", ip, f"u{n}") for n in range(96)]
    assert statuses(spent) == [200] * 96
    last = from_ip(weir, "/both/all", ip, "one-more")
    assert (last.status, last.json()["violated-policies"]) == (429, ["wide"])


@pytest.mark.parametrize(("path", "longest_s"), [("/fixed", 3600), ("/sliding", 3600 * 17 / 16)])
def test_windows_deny_beyond_their_rate(weir: Weir, path: str, longest_s: float) -> None:
    # a sliding window moves in sixteen steps: what was spent comes back when its whole step has left
    answers = [from_ip(weir, path, "203.0.113.30") for _ in range(3)]
    assert statuses(answers) == [200, 200, 429]
    assert 1 <= int(answers[-1].get("retry-after") or 0) <= longest_s


def test_requests_that_come_at_once_are_counted_exactly(weir: Weir) -> None:
    answers = at_once(*[lambda: weir.get("/exact") for _ in range(40)])
    assert sorted(statuses(answers)) == [200] * 20 + [429] * 20


def test_who_waits_as_long_as_it_was_told_is_admitted(weir: Weir) -> None:
    ip = "203.0.113.40"
    assert statuses([from_ip(weir, "/refill", ip) for _ in range(2)]) == [200, 429]
    denied = from_ip(weir, "/refill", ip)
    time.sleep(int(denied.get("retry-after") or 9))
    assert from_ip(weir, "/refill", ip).status == 200


def test_an_answer_without_limits_has_no_fields_about_them(weir: Weir) -> None:
    answer = weir.get("/anything")
    assert not [name for name, _ in answer.fields if "ratelimit" in name]
