"""What clients are told."""

from __future__ import annotations

from math import inf
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits import fields
from proxy.limits.fields import FieldRenderer
from proxy.limits.policy import Kind, LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.verdict import ALLOW, SHARED, Verdict

WALL = 1_760_000_000.25


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "200/min", **settings}), "test.yaml:1")


PER_IP, PER_USER = policy(), policy("per-user", rate="60/h", by="user")


def verdict(
    tightest: LimitPolicy = PER_IP,
    *,
    asked: tuple[LimitPolicy, ...] = (PER_IP,),
    remaining: int = 17,
    reset_s: float = 1.25,
    retry_after_s: float = 0.0,
    mode: str = SHARED,
) -> Verdict:
    violated = (tightest,) if retry_after_s else ()
    return Verdict(asked, [b"key"] * len(asked), tightest, b"key", remaining, reset_s, retry_after_s, violated, mode)


def lines(which: Verdict, **settings: Any) -> list[str]:
    block = FieldRenderer(LimiterSettings.model_validate(settings)).render(which, WALL)
    assert block == b"" or block.endswith(b"\r\n")
    return block.decode("ascii").split("\r\n")[:-1]


def test_an_admitted_request_is_told_what_is_left() -> None:
    assert lines(verdict()) == [
        "X-RateLimit-Limit: 200",
        "X-RateLimit-Remaining: 17",
        "X-RateLimit-Reset: 2",
        'RateLimit-Policy: "per-ip";q=200;w=60',
        'RateLimit: "per-ip";r=17;t=2',
    ]


def test_a_denied_request_is_told_when_to_come_back() -> None:
    told = lines(verdict(remaining=0, reset_s=30.2, retry_after_s=30.2))
    assert told[-2:] == ['RateLimit: "per-ip";r=0;t=31', "Retry-After: 31"]


def test_all_policies_are_listed_and_the_tightest_one_is_the_closest() -> None:
    assert lines(verdict(PER_USER, asked=(PER_IP, PER_USER), remaining=3)) == [
        "X-RateLimit-Limit: 60",
        "X-RateLimit-Remaining: 3",
        "X-RateLimit-Reset: 2",
        'RateLimit-Policy: "per-ip";q=200;w=60, "per-user";q=60;w=3600',
        'RateLimit: "per-user";r=3;t=2',
    ]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"]),
        ({"fields": ["x-ratelimit"]}, ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]),
        ({"fields": ["ietf"]}, ["RateLimit-Policy", "RateLimit"]),
        ({"fields": ["ietf", "x-ratelimit"]}, ["X-RateLimit-Limit", "X-RateLimit-Remaining"]),
        ({"fields": []}, []),
    ],
    ids=["default", "x-ratelimit", "ietf", "any order", "none"],
)
def test_the_operator_chooses_the_fields_and_a_denial_always_has_retry_after(
    settings: dict[str, Any], names: list[str]
) -> None:
    assert [line.split(":")[0] for line in lines(verdict(), **settings)][: len(names)] == names
    told = lines(verdict(remaining=0, reset_s=4.0, retry_after_s=4.0), **settings)
    assert told[-1] == "Retry-After: 4"


@pytest.mark.parametrize("chosen", [["x-ratelimit"], ["x-ratelimit", "ietf"]], ids=["alone", "with ietf"])
def test_the_reset_may_be_a_unix_time_and_the_draft_stays_in_seconds(chosen: list[str]) -> None:
    told = lines(verdict(reset_s=1.25), reset="epoch", fields=chosen)
    assert told[2] == "X-RateLimit-Reset: 1760000002"  # .25 + 1.25 is later than ...001
    assert ('RateLimit: "per-ip";r=17;t=2' in told) == ("ietf" in chosen)


@pytest.mark.parametrize(
    ("reset_s", "retry_after_s", "expected"),
    [
        (0.105, 0.105, "Retry-After: 1"),
        (1e-9, 1e-9, "Retry-After: 1"),
        (30.0, 30.0, "Retry-After: 30"),
        (30.000001, 30.000001, "Retry-After: 31"),
        (30.5, 2.0, "Retry-After: 31"),  # the draft: never before the end of `t`
        (2.0, 30.5, "Retry-After: 31"),
    ],
    ids=["rounded up", "never 0", "whole", "a little more", "not before t", "longer than t"],
)
def test_retry_after_is_whole_seconds_and_never_too_early(reset_s: float, retry_after_s: float, expected: str) -> None:
    assert lines(verdict(remaining=0, reset_s=reset_s, retry_after_s=retry_after_s))[-1] == expected


def test_nobody_is_told_to_wait_for_what_never_comes() -> None:
    assert not [line for line in lines(verdict(remaining=0, reset_s=60, retry_after_s=inf)) if "Retry" in line]


def test_what_was_not_counted_is_not_announced() -> None:
    assert lines(verdict(mode=ALLOW)) == []


@given(
    remaining=st.integers(0, 200),
    reset_s=st.floats(0.0, 1e6),
    retry_after_s=st.one_of(st.just(0.0), st.floats(1e-6, 1e6)),
)
def test_the_fields_are_structured_fields_that_any_parser_reads(
    remaining: int, reset_s: float, retry_after_s: float
) -> None:
    told = lines(
        verdict(PER_USER, asked=(PER_IP, PER_USER), remaining=remaining, reset_s=reset_s, retry_after_s=retry_after_s)
    )
    values = dict([line.split(": ", 1) for line in told])
    policies = http_sf.parse(values["RateLimit-Policy"].encode(), tltype="list")
    assert policies == [("per-ip", {"q": 200, "w": 60}), ("per-user", {"q": 60, "w": 3600})]
    ((name, parameters),) = http_sf.parse(values["RateLimit"].encode(), tltype="list")
    assert name == "per-user"
    assert parameters["r"] == remaining
    assert reset_s <= parameters["t"] <= reset_s + 1
    if retry_after_s:
        assert int(values["Retry-After"]) >= max(parameters["t"], retry_after_s, 1)


@pytest.mark.parametrize(
    ("settings", "policy_parameters", "parameters"),
    [
        ({"rate": None, "algorithm": "inflight", "limit": 40}, {"q": 40, "qu": "concurrent-requests"}, {"r": 17}),
        (
            *({"cost": {"response_bytes": "1KiB"}}, {"q": 204_800, "qu": "content-bytes", "w": 60}),
            {"r": 17 * 1024, "t": 2},
        ),
        ({"algorithm": "fixed", "rate": "9/month", "time_zone": "UTC"}, {"q": 9, "w": 2_629_746}, {"r": 17, "t": 2}),
    ],
    ids=["inflight", "bytes", "calendar"],
)
def test_other_units_are_told_as_such(
    settings: dict[str, Any], policy_parameters: dict[str, Any], parameters: dict[str, Any]
) -> None:
    limit = policy(**settings)
    values = dict([line.split(": ", 1) for line in lines(verdict(limit, asked=(limit,)))])
    assert http_sf.parse(values["RateLimit-Policy"].encode(), tltype="list") == [("per-ip", policy_parameters)]
    assert http_sf.parse(values["RateLimit"].encode(), tltype="list") == [("per-ip", parameters)]
    refused = verdict(limit, asked=(limit,), remaining=0, reset_s=9.5, retry_after_s=9.5)
    assert lines(refused)[-1] == "Retry-After: 10"


def test_what_is_not_enforced_is_not_announced() -> None:
    shadow = compile_limit("shadow", LimitSettings(rate="9/min"), "test.yaml:1", Kind(is_enforced=False))  # type: ignore[arg-type]
    assert lines(verdict(shadow, asked=(shadow,))) == []
    told = lines(verdict(asked=(shadow, PER_IP)))
    assert 'RateLimit-Policy: "per-ip";q=200;w=60' in told


def test_a_version_of_the_draft_is_a_row_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fields.DRAFTS, 99, fields.Draft(available=b"a", window=b"w"))
    block = FieldRenderer(LimiterSettings(), draft=99).render(verdict(), WALL)
    assert b'RateLimit: "per-ip";a=17;w=2\r\n' in block


def test_the_templates_do_not_grow_without_bound() -> None:
    renderer = FieldRenderer(LimiterSettings())
    for _ in range(2):
        for _ in range(5000):
            once = policy()
            assert renderer.render(verdict(once, asked=(once,)), WALL)
    assert len(renderer._templates) <= 4096
