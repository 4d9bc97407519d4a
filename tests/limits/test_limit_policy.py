"""From what the operator writes to what is compiled."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.core.settings import FromText
from proxy.core.units import Rate
from proxy.limits.limit import Limit
from proxy.limits.policy import LimitPolicy, compile_limit, keep_stats
from proxy.limits.settings import InlineLimitSettings, LimiterSettings, LimitSettings


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate(settings, context=FromText()), "shop.yaml:3")


def limit(name: str, **settings: Any) -> Limit:
    return Limit(name, LimitSettings.model_validate(settings, context=FromText()), "shop.yaml:3")


def test_a_limit_needs_no_more_than_its_rate() -> None:
    limit = policy(rate="200/min")
    assert (limit.by, limit.algorithm, limit.burst, limit.missing, limit.on_store_error) == (
        *(("ip",), "gcra", 200, "ip", "local"),
    )
    assert (limit.name, limit.where, limit.rate) == ("per-ip", "shop.yaml:3", Rate(200, 60.0))
    assert repr(limit) == "<LimitPolicy per-ip: 200/min by ip, gcra>"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate": "5"}, "`5` has no period; write 5/s or 5/min"),
        ({"rate": "0/s"}, "admits nothing"),
        ({"rate": Rate(0, 1.0)}, "admits nothing"),
        ({"rate": "2000000/s"}, "`2000000/s` is more than a million a second, which is no limit; leave the limit out"),
        ({"rate": "5/s", "by": "adress"}, "`adress` is nothing to count by"),
        ({"rate": "5/s", "by": "header:"}, "`header:` is nothing to count by"),
        ({"rate": "5/s", "by": "header:a b"}, "`header:a b` is nothing to count by"),
        ({"rate": "5/s", "by": []}, "`by` is an empty list"),
        ({"rate": "5/s", "by": ["ip", "ip"]}, "`by` names something twice"),
        ({"rate": "5/s", "by": ["header:X-A", "header:x-a"]}, "`by` names something twice"),
        ({"rate": "5/s", "algorithm": "fixed", "burst": 3}, "`burst` has no meaning for the algorithm `fixed`"),
        ({"rate": "5/s", "burst": 0}, "greater than or equal to 1"),
        ({"rate": "5/s", "algorithm": "leaky"}, "'gcra', 'fixed', 'sliding', 'log' or 'inflight'"),
        ({"rate": "5/s", "missing": "allow"}, "'ip', 'skip' or 'deny'"),
        ({"rate": "5/s", "rates": "5/s"}, "Extra inputs"),
        ({}, "required"),
    ],
    ids=str,
)
def test_a_wrong_limit_is_refused_with_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        LimitSettings.model_validate(settings, context=FromText())
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", ["", "per ip", 'a"b', "a\r\nb", "ä", "-a", "x" * 65, "a:b"])
def test_a_name_that_could_not_stand_in_a_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a limit"):
        policy(name, rate="5/s")


def test_an_inline_limit_has_a_name_of_its_own() -> None:
    settings = InlineLimitSettings.model_validate({"name": "search", "rate": "60/min", "by": ["ip", "route"]})
    assert compile_limit(settings.name, settings, "shop.yaml:9").by == ("ip", "route")


@pytest.mark.parametrize(
    ("settings", "item"),
    [
        ({"rate": "200/min"}, b'"per-ip";q=200;w=60'),
        ({"rate": "100/min", "burst": 20}, b'"per-ip";q=100;w=60'),
        ({"rate": "10/s", "burst": 50}, b'"per-ip";q=50;w=5'),  # what remains may be 50: the quota says so
        ({"rate": "10/s", "burst": 55}, b'"per-ip";q=55;w=6'),
        ({"rate": "5/100ms"}, b'"per-ip";q=5;w=1'),
        ({"rate": "5/15min", "algorithm": "sliding"}, b'"per-ip";q=5;w=900'),
    ],
    ids=["plain", "small burst", "large burst", "rounded up", "below a second", "sliding"],
)
def test_a_policy_is_announced_with_its_quota_and_window(settings: dict[str, Any], item: bytes) -> None:
    assert policy(**settings).item == item


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"rate": "4/s"}, b"gcra 1 1 0.25 1.0 1.001953125 0.0"),
        ({"rate": "4/s", "burst": 2}, b"gcra 1 1 0.25 0.5 0.501953125 0.0"),
        ({"rate": "3/10s", "algorithm": "fixed"}, b"fixed 1 1 3 10.0"),
        ({"rate": "4/16s", "algorithm": "sliding"}, b"sliding 1 1 4 16.0 1.0"),
    ],
    ids=["gcra", "burst", "fixed", "sliding"],
)
def test_the_script_gets_the_same_numbers_as_the_step(settings: dict[str, Any], argument: bytes) -> None:
    limit = policy(**settings)
    assert limit.script_argument == b"$%d\r\n%b\r\n" % (len(argument), argument)
    assert argument.decode() == " ".join([limit.algorithm, "1", "1", *map(repr, limit.numbers)])


def test_policies_that_keep_their_name_keep_their_counters_over_a_reload() -> None:
    old = [limit("a", rate="5/s"), limit("gone", rate="5/s")]
    old[0].stats.allowed, old[0].stats.denied = 7, 3
    new = [limit("b", rate="5/s"), limit("a", rate="9/s", plans={"pro": "90/s"})]
    keep_stats(new, old)
    assert new[1].stats is new[1].live.stats is new[1].policies(b"k", "pro", None)[0].stats is old[0].stats
    assert new[1].box is new[1].live.box is old[0].box
    assert (new[0].stats.allowed, new[0].stats.denied) == (0, 0)


def test_the_limiter_has_defaults_for_everything() -> None:
    settings = LimiterSettings()
    assert (settings.store_timeout, settings.reset, settings.fields, settings.max_keys) == (
        *(0.025, "seconds", ("x-ratelimit", "ietf"), 100_000),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"store_timeout": "0s"},
        {"store_timeout": "1m"},
        {"max_keys": 10},
        {"fields": ["draft"]},
        {"reset": "minutes"},
        {"retries": 3},
    ],
    ids=str,
)
def test_a_wrong_limiter_section_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LimiterSettings.model_validate(settings, context=FromText())


def test_every_setting_is_described_for_the_reference() -> None:
    for model in (LimitSettings, InlineLimitSettings, LimiterSettings):
        for name, field in model.model_fields.items():
            assert field.description, name
        assert model.model_json_schema()["properties"]
