"""What clients are told, on real responses of every algorithm, shared and without the store."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import http_sf
import pytest

from tests.fleet.conftest import POLICIES, StartFleet, settings
from tests.fleet.load import Shot, evenly, fire
from tests.fleet.member import Member
from tests.fleet.recorder import Recorder

pytestmark = pytest.mark.alone

LIMIT = 20
NAMES = {"/gcra": ["gcra"], "/burst": ["burst"], "/fixed": ["fixed"], "/sliding": ["sliding"]}
NAMES["/three"] = ["also-gcra", "also-fixed", "sliding"]


@pytest.fixture(scope="module")
def answers(four: list[Member], start_fleet: StartFleet, recorder: Recorder) -> dict[str, list[dict[str, str]]]:
    """The fields of the responses, with `:status`: first those of a shared store, then those without one."""
    found: dict[str, list[dict[str, str]]] = {path: [] for path in NAMES}
    (alone,) = start_fleet(1, settings("unix:///nowhere/weir", recorder) + POLICIES)
    for weir in (four[0], alone):
        shots = [shot for path in NAMES for shot in evenly(60, 1.3, [weir.port], path, f"fields{path}")]
        for shot in fire(shots, keep_heads=True).wait():
            found[shot.target].append(fields_of(shot))
    return found


def fields_of(shot: Shot) -> dict[str, str]:
    found = {":status": str(shot.status)}
    for line in shot.head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        assert name.lower() not in found or name.lower() not in ("ratelimit", "ratelimit-policy", "retry-after")
        found[name.lower()] = value.strip()
    return found


def items(value: str) -> list[tuple[str, dict[str, Any]]]:
    """A list of strings with parameters, read by somebody else's parser of structured fields."""
    found: Any = http_sf.parse(value.encode(), tltype="list")
    assert all(isinstance(name, str) for name, _ in found)
    return list(found)


@pytest.mark.parametrize("path", NAMES)
def test_the_fields_are_structured_fields_with_the_drafts_parameters(
    answers: dict[str, list[dict[str, str]]], path: str
) -> None:
    assert {answer[":status"] for answer in answers[path]} == {"200", "429"}
    for answer in answers[path]:
        policies = items(answer["ratelimit-policy"])
        assert [name for name, _ in policies] == NAMES[path]
        for _, parameters in policies:
            assert set(parameters) <= {"q", "w", "qu", "pk"}
            assert isinstance(parameters["q"], int)
            assert isinstance(parameters["w"], int)
            assert parameters["w"] >= 1
        quotas = {name: parameters["q"] for name, parameters in policies}
        for name, parameters in items(answer["ratelimit"]):
            assert set(parameters) <= {"r", "t", "pk"}
            assert isinstance(parameters["r"], int)
            assert 0 <= parameters["r"] < quotas[name], "this request has been counted"
            assert isinstance(parameters["t"], int)
            assert parameters["t"] >= 0


@pytest.mark.parametrize("path", NAMES)
def test_a_refusal_never_tells_a_client_to_come_before_the_end_of_t(
    answers: dict[str, list[dict[str, str]]], path: str
) -> None:
    refused = [answer for answer in answers[path] if answer[":status"] == "429"]
    assert refused
    for answer in refused:
        (limit,) = items(answer["ratelimit"])
        assert int(answer["retry-after"]) >= max(limit[1]["t"], 1)
        assert answer["cache-control"] == "no-store"
    assert not any("retry-after" in answer for answer in answers[path] if answer[":status"] == "200")


@pytest.mark.parametrize("path", ["/gcra", "/fixed", "/sliding"])
def test_what_is_said_to_remain_counts_down_one_by_one(answers: dict[str, list[dict[str, str]]], path: str) -> None:
    said = [int(answer["x-ratelimit-remaining"]) for answer in answers[path][: LIMIT // 2]]
    # a bucket drips at a third of the rate that empties it
    assert all(before - after in ((0, 1) if path == "/gcra" else (1,)) for before, after in pairwise(said))
    assert said[0] == LIMIT - 1
