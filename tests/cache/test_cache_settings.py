"""What the operator writes about the cache, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.cache.policy import CachePolicy, compile_cache, describe_cache
from proxy.cache.settings import CacheRouteSettings, CacheSettings
from proxy.core.settings import FromText


def test_an_empty_section_obeys_the_origin() -> None:
    policy = compile_cache(CacheRouteSettings())
    assert policy is not None
    assert policy.ttl_s is None
    assert policy.stale_while_revalidate_s is None
    assert policy.stale_if_error_s is None
    assert policy.set_cookie == "bypass"
    assert policy.honours_request_directives


def test_off_is_no_policy() -> None:
    assert compile_cache("off") is None


def test_a_whole_section_from_a_file() -> None:
    settings = CacheRouteSettings.model_validate(
        {
            "ttl": "60s",
            "stale_while_revalidate": "30s",
            "stale_if_error": "10m",
            "set_cookie": "strip",
            "vary": ["X-Device", "Accept", "accept"],
            "ignore_query": ["utm_source"],
            "honour_request_directives": False,
            "x-remark": "free",
        },
        context=FromText(),
    )
    policy = compile_cache(settings)
    assert policy is not None
    assert (policy.ttl_s, policy.stale_while_revalidate_s, policy.stale_if_error_s) == (60.0, 30.0, 600.0)
    assert policy.vary == (b"x-device", b"accept")
    assert policy.ignored_parameters == frozenset({b"utm_source"})
    assert not policy.honours_request_directives


@pytest.mark.parametrize(
    ("section", "says"),
    [
        pytest.param({"ttl": 60}, "unit", id="a number without its unit"),
        pytest.param({"set_cookie": "keep"}, "'bypass', 'strip' or 'store'", id="unknown word"),
        pytest.param({"vary": ["*"]}, "cache: off", id="vary on everything"),
        pytest.param({"vary": ["X Device"]}, "not a field name", id="no field name"),
        pytest.param({"ignore_query": ["a=b"]}, "not the name of a query parameter", id="a value with the name"),
        pytest.param({"ignore_query": [""]}, "not the name of a query parameter", id="empty name"),
        pytest.param({"lifetime": "5s"}, "Extra inputs", id="unknown key"),
    ],
)
def test_a_wrong_route_section_is_refused(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CacheRouteSettings.model_validate(section, context=FromText())


def test_sizes_are_read_and_bounded() -> None:
    assert CacheSettings().disk is None
    settings = CacheSettings.model_validate({"memory": "1MiB", "max_entry": "64KiB"}, context=FromText())
    assert (settings.memory, settings.max_entry) == (1024 * 1024, 64 * 1024)
    with pytest.raises(ValidationError, match="`max_entry` is larger than `memory`"):
        CacheSettings.model_validate({"memory": "1MiB"}, context=FromText())


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        pytest.param(None, ["Nothing is stored."], id="off"),
        pytest.param(CachePolicy(), ["as long as the response says"], id="empty"),
        pytest.param(
            CachePolicy(
                ttl_s=60.0,
                stale_while_revalidate_s=30.0,
                stale_if_error_s=600.0,
                set_cookie="strip",
                vary=(b"x-device",),
                ignored_parameters=frozenset({b"utm_source"}),
            ),
            ["1m", "30s", "10m", "strip", "x-device", "utm_source"],
            id="everything",
        ),
    ],
)
def test_a_policy_is_described_for_people(policy: CachePolicy | None, words: list[str]) -> None:
    text = describe_cache(policy)
    assert text.endswith(".")
    assert all(word in text for word in words)


@pytest.mark.parametrize(
    ("disk", "largest"),
    [
        ({"size": "10GiB"}, 1024**3),
        ({"size": "1GiB"}, 512 * 1024**2),
        ({"size": "1GiB", "max_entry": "1GiB"}, 1024**3),
    ],
)
def test_the_largest_of_all_is_what_a_file_may_have(disk: dict[str, str], largest: int) -> None:
    settings = CacheSettings.model_validate({"disk": {"path": "d", **disk}}, context=FromText())
    assert settings.largest_bytes == largest
    assert CacheSettings().largest_bytes == CacheSettings().max_entry


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"max_entry": "255KiB", "disk": {"size": "1GiB"}}, "`max_entry` is at least 256KiB"),
        ({"disk": {"size": "16MiB"}}, "nothing would go to the `disk`"),
        ({"disk": {"size": "1GiB", "max_entry": "2GiB"}}, "`max_entry` of `disk` is larger than its `size`"),
        ({"disk": {"size": "1GiB", "threads": 0}}, "greater than or equal to 1"),
        ({"disk": {}}, "Field required"),
    ],
)
def test_a_disk_that_would_be_of_no_use_is_refused(said: dict[str, Any], problem: str) -> None:
    said["disk"]["path"] = "d"
    with pytest.raises(ValidationError, match=problem):
        CacheSettings.model_validate(said, context=FromText())
