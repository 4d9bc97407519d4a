"""From what wrk says to rows, ratios, targets and the table."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from benchmarks import load, report, targets
from benchmarks.cpu import CpuSpent
from benchmarks.load import Load, LoadError
from benchmarks.scenarios import SCENARIOS
from benchmarks.summary import Summary, count_errors, measure, summarise

WRK_OUTPUT = """\
Running 1s test @ http://127.0.0.1:8080/json
  45471 requests in 1.00s, 60.27MB read

{"requests": 45471, "duration": 1002000, "bytes": 63198000, "p50": 1300, "p90": 1700, "p95": 1900, "p99": 2230, \
"max": 9000, "refused": 3, "failed": 1}
"""
SEEN = load.parse(WRK_OUTPUT)


def row(scenario: str, peer: str, cpu_us: float, **others: Any) -> Summary:
    """A summary with nothing remarkable but what is given."""
    seen = dataclasses.replace(SEEN, requests=1_000_000, seconds=10.0, refused=0, failed=0)
    each = measure(SCENARIOS["get"], peer, 1, seen, CpuSpent(0, 0, cpu_us), 0)
    return dataclasses.replace(summarise([dataclasses.replace(each, scenario=scenario)])[0], **others)


def test_the_last_line_of_wrk_is_read_in_milliseconds_and_seconds() -> None:
    assert Load(45471, 1.002, 63198000, 1.3, 1.7, 1.9, 2.23, 9.0, 3, 1) == SEEN


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"], ids=["none", "words"])
def test_anything_else_is_an_error_that_shows_it(output: str) -> None:
    with pytest.raises(LoadError, match=output.strip() or "nothing"):
        load.parse(output)


def test_processor_time_is_divided_by_the_answered_requests() -> None:
    seen = dataclasses.replace(SEEN, requests=100_000, seconds=2.0)

    found = measure(SCENARIOS["get"], "weir", 1, seen, CpuSpent(1.0, 0.9, 1.8), core_busy_s=2.0)

    assert found.cpu_us == pytest.approx(18.0)
    assert found.requests_per_s == pytest.approx(50_000)
    assert found.proxy_busy == pytest.approx(0.9)
    assert found.others_busy == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("scenario", "refused", "failed", "errors"),
    [("get", 0, 0, 0), ("get", 7, 2, 9), ("denied", 1000, 0, 0), ("denied", 990, 1, 11)],
    ids=["all right", "refused though allowed, and broken", "all refused as wanted", "some let through, and broken"],
)
def test_an_error_is_an_answer_of_the_wrong_kind(scenario: str, refused: int, failed: int, errors: int) -> None:
    seen = dataclasses.replace(SEEN, requests=1000, refused=refused, failed=failed)

    assert count_errors(SCENARIOS[scenario], seen) == errors


def test_one_disturbed_round_does_not_move_the_median_but_is_shown() -> None:
    rounds = [
        measure(SCENARIOS["get"], "weir", number, SEEN, CpuSpent(0, 0, total_s), 0)
        for number, total_s in enumerate((1.0, 9.0, 1.1), 1)
    ]

    (found,) = summarise(rounds)

    each_us = 1e6 / SEEN.requests
    assert found.rounds == 3
    assert found.cpu_us == pytest.approx(1.1 * each_us)
    assert found.cpu_us_low == pytest.approx(1.0 * each_us)
    assert found.cpu_us_high == pytest.approx(9.0 * each_us)
    assert found.errors == 3 * 4


def test_rows_keep_the_order_in_which_they_were_measured() -> None:
    seen = [
        measure(SCENARIOS[name], peer, 1, SEEN, CpuSpent(0, 0, 1), 0) for name, peer in (("hit", "b"), ("get", "a"))
    ]

    assert [(each.scenario, each.peer) for each in summarise([*seen, *seen])] == [("hit", "b"), ("get", "a")]


@pytest.mark.parametrize(
    ("ours", "theirs", "text", "is_met"),
    [
        (row("hit", "weir", 10.0), row("hit", "nginx", 10.0), "hit <= 1x nginx", True),
        (row("hit", "weir", 10.1), row("hit", "nginx", 10.0), "hit <= 1x nginx", False),
        (row("get", "weir", 28.0), row("get", "envoy", 40.0), "get <= 0.7x envoy", True),
        (row("redis", "weir", 29.0), row("get", "weir", 20.0), "redis <= 1.4x weir get", False),
        (row("hit", "weir", 10.0), row("get", "nginx", 10.0), "hit <= 1x nginx", None),
    ],
    ids=["met to the last", "missed by a hair", "below a slower peer", "against itself", "the other was not measured"],
)
def test_a_target_compares_two_figures_of_one_run(
    ours: Summary, theirs: Summary, text: str, is_met: bool | None
) -> None:
    verdicts = {each.text: each for each in targets.judge([ours, theirs])}

    assert verdicts[text].is_met is is_met


@pytest.mark.parametrize(
    ("p95_ms", "errors", "is_met"),
    [(199.9, 0, True), (200.0, 0, False), (10.0, 1, False)],
    ids=["quick and whole", "too slow", "one error"],
)
def test_a_thousand_connections_must_be_quick_and_free_of_errors(p95_ms: float, errors: int, is_met: bool) -> None:
    found = targets.judge([row("many", "weir", 50.0, p95_ms=p95_ms, errors=errors)])[-1]

    assert found.is_met is is_met


def test_every_target_is_about_a_scenario_that_exists() -> None:
    assert {name for each in targets.TARGETS for name in (each.scenario, each.base)} <= SCENARIOS.keys()


def test_the_table_has_a_line_for_each_peer_with_its_ratios() -> None:
    text = report.table([row("get", "weir", 30.0), row("get", "nginx", 20.0), row("get", "envoy", 40.0)])

    title, head, weir, nginx, envoy = (line.split() for line in text.splitlines())
    assert " ".join(title) == "proxied GET 1 KB"
    assert [weir[0], *weir[3:5]] == ["weir", "1.50x", "0.75x"]
    assert [nginx[0], *nginx[3:5]] == ["nginx", "1.00x", "0.50x"]
    assert [envoy[0], *envoy[3:5]] == ["envoy", "2.00x", "1.00x"]
    assert "us/request" in head


def test_the_document_is_json_and_keeps_every_round() -> None:
    rounds = [measure(SCENARIOS["get"], "weir", number, SEEN, CpuSpent(0, 0, 1), 0) for number in (1, 2)]
    summaries = summarise(rounds)

    found = json.loads(json.dumps(report.document({"commit": "abc"}, summaries, targets.judge(summaries), rounds)))

    assert found["commit"] == "abc"
    assert [each["round"] for each in found["measurements"]] == [1, 2]
    assert found["summaries"][0]["rounds"] == 2


def test_a_core_that_others_used_is_pointed_out() -> None:
    quiet, noisy = row("get", "weir", 30.0, others_busy=0.02), row("get", "envoy", 30.0, others_busy=0.4)

    assert list(report.warnings([quiet])) == []
    (warning,) = report.warnings([quiet, noisy])
    assert "1 of 2" in warning
    assert "40%" in warning
