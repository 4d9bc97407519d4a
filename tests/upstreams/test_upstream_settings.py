from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.core.settings import FromText
from proxy.upstreams.adaptive import AdaptiveRules
from proxy.upstreams.ejection import EjectionRules
from proxy.upstreams.hold import HoldRules
from proxy.upstreams.retry import RetryRules
from proxy.upstreams.settings import UpstreamSettings
from proxy.upstreams.shed import ShedRules
from proxy.upstreams.upstream import Fallback, HealthRules, PoolNumbers, compile_upstream

APP = "http://127.0.0.1:3000"


def read(**section: Any) -> UpstreamSettings:
    return UpstreamSettings.model_validate(section, context=FromText())


def test_one_address_is_a_whole_upstream() -> None:
    upstream = compile_upstream(read(primary=APP), "app")
    assert [address.label for address in upstream.primary] == ["127.0.0.1:3000"]
    assert upstream.replicas == ()
    assert upstream.pool == PoolNumbers()
    assert (upstream.name, upstream.select, upstream.health, upstream.tls, upstream.passes_host) == (
        "app",
        "round_robin",
        None,
        None,
        True,
    )


def test_everything_said_arrives_compiled() -> None:
    upstream = compile_upstream(
        read(
            primary=[APP, "unix:/run/app.sock"],
            replicas=["http://127.0.0.1:3001"],
            select="least_requests",
            pool={
                "max_in_flight": 8,
                "min_idle": 1,
                "max_idle": 4,
                "idle_timeout": "4s",
                "max_lifetime": "1m",
                "connect_timeout": "250ms",
                "queue": 0,
                "queue_timeout": "1s",
                "queue_bytes": "1MiB",
                "max_in_flight_total": 9,
            },
            health={"path": "/healthz?deep=1", "interval": "500ms", "timeout": "1s", "rise": 1, "fall": 5},
            host="upstream",
        ),
        "app",
    )
    assert [address.label for address in upstream.primary] == ["127.0.0.1:3000", "unix:/run/app.sock"]
    assert [address.label for address in upstream.replicas] == ["127.0.0.1:3001"]
    assert upstream.pool == PoolNumbers(8, 1, 4, 4.0, 60.0, 0.25, 0, 1.0, 1 << 20, 9)
    assert upstream.health == HealthRules("/healthz?deep=1", 0.5, 1.0, 1, 5)
    assert upstream.select == "least_requests"
    assert not upstream.passes_host


POOLS = [
    pytest.param({}, None, None, id="neither by default"),
    pytest.param({"adaptive": {"mode": "off"}, "shed": "off"}, None, None, id="off"),
    pytest.param({"adaptive": {"mode": "observe"}}, AdaptiveRules(False, 8, 1.5, 60.0), None, id="observed"),
    pytest.param(
        {"adaptive": {"mode": "enforce", "min": 3, "tolerance": 2, "measure": "10s"}},
        AdaptiveRules(True, 3, 2.0, 10.0),
        None,
        id="enforced",
    ),
    pytest.param({"shed": {}}, None, ShedRules(0.5, 0.8), id="classes"),
    pytest.param({"shed": {"background": "20%", "normal": "off"}}, None, ShedRules(0.2, None), id="one class"),
    pytest.param({"queue": 0, "adaptive": {"mode": "observe"}}, AdaptiveRules(False), None, id="without a line"),
]


@pytest.mark.parametrize(("pool", "adaptive", "shed"), POOLS)
def test_limits_that_move_and_classes_that_make_way(
    pool: dict[str, object], adaptive: AdaptiveRules | None, shed: ShedRules | None
) -> None:
    numbers = compile_upstream(UpstreamSettings.model_validate({"primary": APP, "pool": pool}), "app").pool
    assert (numbers.adaptive, numbers.shed) == (adaptive, shed)


def test_how_many_endpoints_a_name_has_is_not_known_so_its_least_limit_is_not_refused() -> None:
    pool = {"max_in_flight": 4, "adaptive": {"mode": "enforce"}}
    settings = UpstreamSettings.model_validate({"primary": "http://app.internal:3000", "resolve": "5s", "pool": pool})
    assert settings.pool.adaptive.min == 8


def test_an_address_may_be_primary_and_replica() -> None:
    upstream = compile_upstream(read(primary=APP, replicas=[APP, "http://127.0.0.1:3001"]), "app")
    assert upstream.primary[0] == upstream.replicas[0]


def test_https_is_verified_without_a_word_in_the_configuration() -> None:
    upstream = compile_upstream(read(primary="https://app.internal"), "app")
    assert upstream.tls is not None
    assert upstream.tls.context.check_hostname
    assert upstream.tls.name_for("app.internal") == "app.internal"


WRONG = {
    "no primary": ({}, "Field required"),
    "empty primary": ({"primary": []}, "primary lists no address"),
    "a path in an address": ({"primary": APP + "/api"}, "more than a host and a port"),
    "a short ipv4": ({"primary": "http://127.1:3000"}, "write all of it"),
    "the same place twice": ({"primary": [APP, APP + "/"]}, "primary lists 127.0.0.1:3000 twice"),
    "a replica twice": ({"primary": APP, "replicas": ["http://a", "http://A:80"]}, "replicas lists a:80 twice"),
    "unknown key": ({"primary": APP, "retries": 3}, "Extra inputs"),
    "unknown policy": ({"primary": APP, "select": "random"}, "round_robin"),
    "unknown pool key": ({"primary": APP, "pool": {"size": 3}}, "Extra inputs"),
    "a duration without unit": ({"primary": APP, "pool": {"idle_timeout": 4}}, "has no unit"),
    "no slots": ({"primary": APP, "pool": {"max_in_flight": 0}}, "greater than or equal to 1"),
    "no time to connect": ({"primary": APP, "pool": {"connect_timeout": "0s"}}, "greater than 0"),
    "no time in the queue": ({"primary": APP, "pool": {"queue_timeout": "0s"}}, "greater than 0"),
    "more kept than allowed": (
        {"primary": APP, "pool": {"min_idle": 33, "max_idle": 32}},
        r"min_idle \(33\) is above max_idle \(32\)",
    ),
    "more kept than slots": (
        {"primary": APP, "pool": {"min_idle": 3, "max_in_flight": 2}},
        r"min_idle \(3\) is above max_in_flight \(2\)",
    ),
    "more kept than all may use": (
        {"primary": APP, "pool": {"min_idle": 3, "max_in_flight_total": 2}},
        r"min_idle \(3\) is above max_in_flight_total \(2\)",
    ),
    "more for one than for all": (
        {"primary": APP, "pool": {"max_in_flight": 3, "max_in_flight_total": 2}},
        r"max_in_flight \(3\) is above max_in_flight_total \(2\)",
    ),
    "a least limit at the slots": (
        {"primary": [APP, "http://127.0.0.1:3001"], "pool": {"max_in_flight": 4, "adaptive": {"mode": "observe"}}},
        r"min \(8\) leaves the limit no room below 8 slots; write min: 2",
    ),
    "a least limit above a bound of all": (
        {
            "primary": "http://app.internal:3000",
            "resolve": "10s",
            "pool": {"max_in_flight_total": 20, "adaptive": {"mode": "enforce", "min": 21}},
        },
        r"min \(21\) leaves the limit no room",
    ),
    "a limit without a line": (
        {"primary": APP, "pool": {"queue": 0, "adaptive": {"mode": "enforce"}}},
        "nowhere to let requests wait",
    ),
    "a measurement that nobody makes": (
        {"primary": APP, "pool": {"adaptive": {"mode": "observe", "measure": "30s"}}},
        "no effect with mode: observe",
    ),
    "a limit that is off": ({"primary": APP, "pool": {"adaptive": {"min": 3}}}, "no effect with mode: off"),
    "classes of a line that is none": ({"primary": APP, "pool": {"queue": 0, "shed": {}}}, "shed has no effect"),
    "nothing for all": ({"primary": APP, "pool": {"max_in_flight_total": 0}}, "greater than or equal to 1"),
    "health without path": ({"primary": APP, "health": {}}, "Field required"),
    "health path relative": ({"primary": APP, "health": {"path": "healthz"}}, "begins with /"),
    "health path with a line break": ({"primary": APP, "health": {"path": "/x\r\nHost: y"}}, "begins with /"),
    "health without pause": ({"primary": APP, "health": {"path": "/", "interval": "0s"}}, "greater than 0"),
    "tls without https": ({"primary": APP, "tls": {"verify": False}}, "tls is for https:// endpoints"),
    "key without cert": ({"primary": "https://a", "tls": {"key": "k.pem"}}, "key has no cert"),
    "ca that is not looked at": ({"primary": "https://a", "tls": {"ca": "a.pem", "verify": False}}, "no effect"),
    "unknown host mode": ({"primary": APP, "host": "app.internal"}, "'pass' or 'upstream'"),
}


@pytest.mark.parametrize(("section", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_section_is_refused_with_its_reason(section: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        read(**section)
    assert caught.value.error_count() == 1


def test_free_keys_are_free() -> None:
    assert read(primary=APP, **{"x-owner": "shop"}, pool={"x-why": 1}).pool.max_in_flight == 64


def test_every_key_is_described() -> None:
    schema = UpstreamSettings.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    missing = [
        name
        for section in sections
        for name, entry in section.get("properties", {}).items()
        if "description" not in entry
    ]
    assert missing == []
    assert schema["properties"]["primary"]["anyOf"][0]["type"] == "string"


# Failure


def test_what_is_not_said_of_failure_has_the_defaults_of_the_rules() -> None:
    upstream = compile_upstream(read(primary=APP), "app")
    assert upstream.eject == EjectionRules()
    assert upstream.retry == RetryRules()
    assert upstream.hold == HoldRules()
    assert (upstream.slow_start_s, upstream.fallback) == (30.0, None)


def test_everything_said_of_failure_arrives_compiled() -> None:
    upstream = compile_upstream(
        read(
            primary=APP,
            eject={
                "consecutive": 3,
                "ratio": "30%",
                "min_requests": 10,
                "statuses": [500, 503],
                "base": "5s",
                "max": "1m",
                "panic": "0%",
                "open": "2s",
                "open_max": "10s",
            },
            retry={
                "attempts": 2,
                "on": ["reset", 503],
                "base": "10ms",
                "max": "1s",
                "retry_after": "5s",
                "again_within": "2s",
                "budget": "10%",
                "floor": "60/min",
            },
            slow_start="1m",
            hold_on_refused="5s",
            hold_requests=10,
            hold_bytes="1MiB",
            fallback={"status": 200, "content_type": "text/plain", "body": "Später."},
        ),
        "app",
    )
    assert upstream.eject == EjectionRules(3, 0.3, 10, 5.0, 60.0, 0.0, frozenset({500, 503}), 2.0, 10.0)
    assert upstream.retry == RetryRules(2, False, True, frozenset({503}), 0.01, 1.0, 5.0, 2.0, 0.1, 1.0)
    assert upstream.hold == HoldRules(5.0, 10, 1024 * 1024)
    assert upstream.slow_start_s == 60.0
    assert upstream.fallback == Fallback(200, b"text/plain", "Später.".encode())


def test_ejection_and_retries_can_be_switched_off() -> None:
    upstream = compile_upstream(read(primary=APP, eject="off", retry="off", hold_on_refused="0s"), "app")
    assert upstream.eject is None
    assert upstream.retry.attempts == 0
    assert upstream.hold.on_refused_s == 0.0
