"""Policy tests in YAML: what holds, what fails and how that is told, and what is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proxy.simulation.cases import Case, CaseFile, check_names, find_files, read_cases
from proxy.simulation.trial import Trial, try_case
from tests.simulation.conftest import snapshot_of

CONFIGURATION = """
trusted_proxies: [10.0.0.0/8]
identity: {user: {header: X-User}, plan: {header: X-Plan}}
limits:
  per-ip: {rate: 10/min, algorithm: fixed}
  per-user: {rate: 3/min, by: user, algorithm: fixed, missing: skip, plans: {pro: 6/min}}
  login: {rate: 2/15min, algorithm: fixed, count_if: "status in (401)"}
  flight: {algorithm: inflight, limit: 1, lease: 10s}
  weight: {rate: 10/min, algorithm: fixed, cost: {response_field: X-Cost}}
  daily: {rate: 1/day, algorithm: fixed, time_zone: Europe/Berlin}
  strict: {rate: 1/s, algorithm: fixed, penalty: {after: 2, within: 1m, block: 5m}}
  smooth: {rate: 1/s, burst: 1, on_limit: ["delay(2s)", reject]}
routes:
  - {name: login, upstream: app, limits: [login], match: {path: /login, methods: [POST]}}
  - {name: slow, upstream: app, limits: [flight], match: {path: /slow}}
  - {name: weighed, upstream: app, limits: [weight], match: {path: /weighed}}
  - {name: daily, upstream: app, limits: [daily], match: {path: /daily}}
  - {name: strict, upstream: app, limits: [strict], match: {path: /strict}}
  - {name: smooth, upstream: app, limits: [smooth], match: {path: /smooth}}
  - {name: private, upstream: app, limits: [per-ip], require_user: true, match: {path: /private}}
  - {name: free, upstream: app, match: {path: /free}}
  - {name: api, upstream: app, limits: [per-ip, per-user], match: {path: /api/**}}
"""

Try = Callable[..., Trial]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], CaseFile]:
    def start(text: str) -> CaseFile:
        file = tmp_path / "a.test.yaml"
        file.write_text(text)
        return read_cases(str(file), {})

    return start


@pytest.fixture
def attempt(read: Callable[[str], CaseFile]) -> Try:
    def start(*steps: str, start: str = "2026-04-10T12:00:00Z") -> Trial:
        lines = "".join(f"      - {step}\n" for step in steps)
        file = read(f"tests:\n  - name: it holds\n    start: {start}\n    steps:\n{lines}")
        assert file.is_good, file.diagnostics
        snapshot = snapshot_of(CONFIGURATION)
        assert check_names(file.cases[0], snapshot), file.diagnostics
        return try_case(file.cases[0], snapshot)

    return start


@pytest.mark.parametrize(
    "steps",
    [
        ["{request: GET /api/x, times: 10, expect: admitted}", "{request: GET /api/x, expect: {denied_by: per-ip}}"],
        [
            "{request: GET /api/x, times: 11}",
            "{at: 59s, request: GET /api/x, expect: {retry_after: 1s}}",
            "{at: 60s, request: GET /api/x, expect: {remaining: 9}}",
        ],
        ["{request: GET /api/x, times: 20, every: 10s, expect: admitted}"],
        [
            "{request: GET /api/x, times: 10}",
            "{request: GET /api/x, ip: 203.0.113.9, expect: admitted}",
            "{request: GET /api/x, ip: '2001:db8::1', times: 10}",
            "{request: GET /api/x, ip: '2001:db8::2', expect: denied}",
        ],
        [
            "{request: GET /api/x, user: alice, times: 3, expect: {remaining: {per-user: 0, per-ip: 7}}}",
            "{request: GET /api/x, user: alice, expect: {denied_by: [per-user]}}",
            "{request: GET /api/x, user: bob, expect: admitted}",
        ],
        [
            "{request: GET /api/x, user: alice, plan: pro, times: 6, expect: admitted}",
            "{request: GET /api/x, user: alice, plan: pro, expect: {denied_by: per-user}}",
        ],
        [
            "{request: GET /api/x, ip: 10.0.0.1, headers: {X-User: eve, X-Forwarded-For: 198.51.100.1}, times: 3}",
            "{request: GET /api/x, ip: 10.0.0.2, headers: {X-User: eve}, expect: {denied_by: per-user}}",
            "{request: GET /api/x, ip: 192.0.2.2, headers: {X-User: eve}, expect: admitted}",
        ],
        [
            "{request: POST /login, times: 9, status: 200, expect: admitted}",
            "{request: POST /login, times: 2, status: 401, expect: admitted}",
            "{request: POST /login, status: 200, expect: {denied_by: login, status: 429, retry_after: 15m}}",
        ],
        [
            "{request: GET /slow, takes: 30s, expect: admitted}",
            "{at: 20s, request: GET /slow, expect: {denied_by: flight}}",
            "{at: 31s, request: GET /slow, expect: admitted}",
            "{at: 31s, request: GET /slow, expect: admitted}",
        ],
        [
            "{request: GET /weighed, response: {X-Cost: 8}, expect: admitted}",
            "{request: GET /weighed, response: {X-Cost: 8}, expect: {remaining: 1}}",
            "{request: GET /weighed, expect: {denied_by: weight}}",
        ],
        [
            "{request: GET /daily, expect: admitted}",
            "{at: 9h59m, request: GET /daily, expect: {denied_by: daily, retry_after: 1m}}",
            "{at: 10h, request: GET /daily, expect: admitted}",
        ],
        [
            "{request: GET /strict, expect: admitted}",
            "{request: GET /strict, times: 2, expect: {denied_by: strict}}",
            "{at: 4m50s, request: GET /strict, expect: {denied_by: strict, status: 429, retry_after: 10s}}",
            "{at: 5m1s, request: GET /strict, expect: admitted}",
        ],
        [
            "{request: GET /smooth, times: 3, expect: admitted}",
            "{request: GET /smooth, expect: {denied_by: smooth}}",
        ],
        [
            "{request: GET /private, expect: {status: 401, admitted: true, route: private}}",
            "{request: GET /private, user: alice, status: 204, expect: {status: 204}}",
        ],
        [
            "{request: GET /free, times: 100, expect: admitted}",
            "{request: POST http://other.example/free?q=1, expect: {route: free}}",
            "{request: GET /nowhere, expect: {status: 404, admitted: false}}",
            "{request: GET /api/../x, expect: {status: 400}}",
            "{request: /free, expect: {status: 200}}",
        ],
    ],
    ids=[
        *("limit", "window", "spread", "addresses", "users", "plans", "trust", "outcomes", "in-flight", "costs"),
        *("calendar", "penalty", "delay", "challenge", "routes"),
    ],
)
def test_what_is_so_holds(attempt: Try, steps: Sequence[str]) -> None:
    trial = attempt(*steps)
    assert trial.holds, [str(failure) for failure in trial.failures] + trial.lines


@pytest.mark.parametrize(
    ("steps", "line", "message", "note"),
    [
        (
            ["{request: GET /api/x, times: 11, expect: admitted}"],
            5,
            "it holds: expected admitted; request 11 of 11 was denied by per-ip with 429, retry after 1m",
            "route api; per-ip (10/min by ip) counts 203.0.113.1: 0 left, the first back in 1m",
        ),
        (
            ["{request: GET /api/x}", "{request: GET /api/x, expect: {denied_by: per-ip}}"],
            6,
            "it holds: expected denied by per-ip; the request was admitted, 8 left of per-ip",
            "route api; per-ip (10/min by ip) counts 203.0.113.1: 8 left, all back in 1m",
        ),
        (
            ["{request: GET /api/x, user: alice, times: 4, expect: {denied_by: per-ip}}"],
            5,
            "it holds: expected denied by per-ip; request 1 of 4 was admitted, 2 left of per-user",
            "per-user (3/min by user) counts user alice: 2 left",
        ),
        (
            ["{request: GET /api/x, expect: {remaining: 3}}"],
            5,
            "expected 3 left; the request was admitted, 9 left of per-ip",
            "route api",
        ),
        (
            ["{request: GET /api/x, user: a, expect: {remaining: {per-user: 0}}}"],
            5,
            "expected 0 left of per-user (there are 2); the request was",
            "per-user",
        ),
        (
            ["{request: GET /api/x, times: 11}", "{at: 10s, request: GET /api/x, expect: {retry_after: 12s}}"],
            6,
            "expected retry after 12s; the request was denied by per-ip with 429, retry after 50s",
            "0 left, the first back in 50s",
        ),
        (
            ["{request: GET /free, expect: {route: api}}"],
            5,
            "expected route api; the request was admitted",
            "route free, no limit was asked",
        ),
        (
            ["{request: GET /nowhere, expect: admitted}"],
            5,
            "expected admitted; the request was answered with 404: no route",
            "",
        ),
        (
            ["{request: GET /x/../y, expect: admitted}"],
            5,
            "expected admitted; the request was refused with 400",
            "",
        ),
        (
            ["{request: GET /private, expect: {status: 200}}"],
            5,
            "expected status 200; the request was admitted, 9 left of per-ip (401: the route requires a user)",
            "",
        ),
    ],
    ids=["admitted", "denied", "other", "left", "named", "wait", "route", "nowhere", "malformed", "challenge"],
)
def test_what_is_not_so_is_told_with_its_line_and_the_state_of_the_limit(
    attempt: Try, steps: Sequence[str], line: int, message: str, note: str
) -> None:
    (failure,) = attempt(*steps).failures
    assert message in failure.message
    assert note in failure.note
    assert (failure.code, failure.line) == ("WEIR0503", line)
    assert failure.file.endswith("a.test.yaml")
    assert "expect" in failure.excerpt


def test_every_failing_step_is_told(attempt: Try) -> None:
    trial = attempt("{request: GET /free, expect: denied}", "{request: GET /free, expect: denied}")
    assert [failure.line for failure in trial.failures] == [5, 6]


def test_each_test_begins_with_fresh_counts(read: Callable[[str], CaseFile]) -> None:
    one = "  - {name: NAME, steps: [{request: GET /api/x, times: 10, expect: admitted}]}\n"
    file = read("tests:\n" + one.replace("NAME", "a") + one.replace("NAME", "b"))
    snapshot = snapshot_of(CONFIGURATION)
    assert all(try_case(case, snapshot).holds for case in file.cases)


def test_a_penalty_of_one_test_is_none_of_the_next(read: Callable[[str], CaseFile]) -> None:
    one = (
        "  - {name: a, steps: [{request: GET /strict, times: 2}, {at: 30s, request: GET /strict, expect: admitted}]}\n"
    )
    file = read("tests:\n" + one * 3)
    snapshot = snapshot_of(CONFIGURATION)
    assert [try_case(case, snapshot).holds for case in file.cases] == [True] * 3


def test_every_step_has_a_line_for_who_wants_to_see_it(attempt: Try) -> None:
    trial = attempt("{request: GET /api/x, times: 12}", "{at: 90s, request: GET /api/x, user: alice}")
    assert trial.lines == [
        "      0s  GET /api/x from 203.0.113.1, 12 times: 10 admitted, 2 not; "
        "the last denied by per-ip with 429, retry after 1m",
        "   1m30s  GET /api/x from 203.0.113.1, user alice: admitted, 2 left of per-user",
    ]


STEP = "tests: [{name: a, steps: [%s]}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tests: []", "`tests` is empty"),
        ("tests: [{name: a, steps: []}]", "`steps` is empty"),
        ("tests: [{steps: [{request: GET /}]}]", "`name`"),
        ("test: [{name: a}]", "unknown key `test`"),
        (STEP % "{request: GET x}", "`GET x` is not a request"),
        (STEP % "{request: 'GET /a b'}", "is not a request"),
        (STEP % "{ip: 192.0.2.1}", "`request`"),
        (STEP % "{request: GET /, at: 5}", "`5` has no unit"),
        (STEP % "{request: GET /, ip: nobody}", "`nobody` is not an address"),
        (STEP % "{request: GET /, times: 0}", "out of bounds"),
        (STEP % "{request: GET /, status: 700}", "out of bounds"),
        (STEP % "{request: GET /, expect: admited}", "admited"),
        (STEP % "{request: GET /, expect: {}}", "`expect` says nothing"),
        (STEP % "{request: GET /, expect: {denied_bye: x}}", "unknown key `denied_bye`"),
        (STEP % "{request: GET /, expect: {admitted: true, denied_by: x}}", "denied by nobody"),
        (STEP % "{request: GET /, headers: {'a b': c}}", "is not the name of a field"),
        (STEP % '{request: GET /, headers: {a: "b\\nc"}}', "no request could carry"),
        (STEP % "{request: GET /, at: 5s}, {request: GET /, at: 4s}", "time does not go back"),
        (STEP % "{request: GET /, times: 3, every: 5s}, {request: GET /, at: 9s}", "time does not go back"),
        ("tests: [{name: a, start: yesterday, steps: [{request: GET /}]}]", "`yesterday` is no time"),
        ("tests: [{name: a, steps: [{request: GET /}", "not closed"),
    ],
)
def test_a_bad_file_is_explained(read: Callable[[str], CaseFile], text: str, message: str) -> None:
    file = read(text + "\n")
    assert not file.is_good
    assert file.cases == ()
    assert message in " ".join(str(diagnostic) for diagnostic in file.diagnostics)
    assert all(diagnostic.line > 0 for diagnostic in file.diagnostics)


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("{denied_by: per-pi}", "there is no limit `per-pi`; did you mean `per-ip`?"),
        ("{denied_by: [per-ip, nothing]}", "there is no limit `nothing`"),
        ("{remaining: {per-usr: 3}}", "there is no limit `per-usr`; did you mean `per-user`?"),
        ("{route: lgin}", "there is no route `lgin`; did you mean `login`?"),
    ],
)
def test_names_that_do_not_exist_are_errors_of_the_file(
    read: Callable[[str], CaseFile], expect: str, message: str
) -> None:
    case: Case = read(STEP % f"{{request: GET /, expect: {expect}}}").cases[0]
    assert not check_names(case, snapshot_of(CONFIGURATION))
    (diagnostic,) = case.document.diagnostics
    assert message in str(diagnostic)
    assert (diagnostic.code, diagnostic.line) == ("WEIR0501", 1)


def test_files_are_found_beside_and_below(tmp_path: Path) -> None:
    for name in (
        "b.test.yaml",
        "policies/a.test.yaml",
        ".hidden/x.test.yaml",
        "env/lib/y.test.yaml",
        "policies/z.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert find_files(str(tmp_path)) == [str(tmp_path / "b.test.yaml"), str(tmp_path / "policies/a.test.yaml")]


def test_a_configuration_is_named_from_the_folder_of_the_file(read: Callable[[str], CaseFile], tmp_path: Path) -> None:
    steps = "steps: [{request: GET /}]"
    text = f"given: ../proxy.yaml\ntests: [{{name: a, {steps}}}, {{name: b, given: b.yaml, {steps}}}]"
    assert [case.given for case in read(text).cases] == [str(tmp_path / "../proxy.yaml"), str(tmp_path / "b.yaml")]
