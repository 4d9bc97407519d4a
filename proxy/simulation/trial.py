"""A test is tried: its requests are played on a clock of its own, and each is held against what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as default
from math import ceil, inf
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.config.diagnostics import Diagnostic
from proxy.config.document import Path
from proxy.core.errors import ProxyError
from proxy.core.units import format_duration
from proxy.http.message import Field, Request, field
from proxy.limits.verdict import Verdict
from proxy.simulation.cases import Case
from proxy.simulation.engine import Engine, Played, at_address, named
from proxy.simulation.key_text import key_text
from proxy.simulation.settings import ExpectSettings, StepSettings

if TYPE_CHECKING:
    from proxy.snapshot import Snapshot

START_WALL: Final = 1767225600.0  # 2026-01-01T00:00:00Z
_CODE: Final = "WEIR0503"


@dataclass(slots=True)
class Trial:
    """What came of a test."""

    failures: list[Diagnostic] = default(default_factory=list)
    lines: list[str] = default(default_factory=list)  # one for each step, for who wants to see them

    @property
    def holds(self) -> bool:
        return not self.failures


class _Came:
    """What became of one request."""

    __slots__ = ("admitted", "error", "key", "played", "status", "verdict")

    def __init__(self, played: Played | None, backend_status: int, error: ProxyError | None = None) -> None:
        self.played = played
        self.error = error
        self.verdict: Verdict | None = played.exchange.decision if played is not None else None
        self.admitted = played is not None and played.stage not in ("route", "admit")
        if error is not None:
            self.status = error.kind.status
        else:
            assert played is not None
            self.status = backend_status if played.answer is None else played.answer.status

    @property
    def refusers(self) -> tuple[str, ...]:
        return self.played.refusers if self.played is not None else ()

    @property
    def route(self) -> str | None:
        route = self.played.exchange.route if self.played is not None else None
        return None if route is None else route.name

    @property
    def retry_after_s(self) -> float:
        return self.played.retry_after_s if self.played is not None else 0.0

    def __str__(self) -> str:
        if self.error is not None:
            return f"refused with {self.status} ({self.error.detail})"
        assert self.played is not None
        if self.played.stage == "route":
            return f"answered with {self.status}: no route"
        if not self.admitted:
            by = f" by {' and '.join(self.refusers)}" if self.refusers else ""
            return f"denied{by} with {self.status}{_wait(self.retry_after_s)}"
        left = f", {self.verdict.remaining} left of {self.verdict.policy.name}" if self.verdict is not None else ""
        asked_who = " (401: the route requires a user)" if self.played.stage == "identify" else ""
        return f"admitted{left}{asked_who}"


def try_case(case: Case, snapshot: Snapshot) -> Trial:
    """Play one test on fresh counts, to its end: every expectation that does not hold is told."""
    trial = Trial()
    engine = Engine(snapshot, START_WALL if case.start_wall is None else case.start_wall)
    for at, step, place in case.instants():
        came = _play(engine, step, at)
        _hold(trial, case, place, engine, step, came)
        trial.lines.append(_line(at, step, came))
    return trial


def _play(engine: Engine, step: StepSettings, at: float) -> list[_Came]:
    url = urlsplit(step.target)
    target = step.target if not url.netloc else (url.path or "/") + (f"?{url.query}" if url.query else "")
    fields = [field(name, value) for name, value in step.headers.items()]
    host = url.netloc or ("" if any(lower == b"host" for lower, _, _ in fields) else "localhost")
    peer = at_address(step.ip)
    known = named(peer, step.user, step.tenant, step.api_key, step.plan) if step.says_who else None
    answers: list[Field] = [field(name, value) for name, value in step.response.items()]
    came = []
    for number in range(step.times):
        now = at + number * step.every
        try:
            request: Request = engine.read(step.method.encode(), target.encode(), host.encode(), fields)
        except ProxyError as error:
            came.append(_Came(None, 0, error))
            continue
        played = engine.play(request, peer, now, known)
        one = _Came(played, step.status)
        if one.admitted:
            engine.end(played, now + step.takes, one.status, step.bytes, answers)
        came.append(one)
    return came


def _hold(
    trial: Trial,
    case: Case,
    place: Path,
    engine: Engine,
    step: StepSettings,
    came: list[_Came],
) -> None:
    expected = step.expected
    if expected is None:
        return
    for number, one in enumerate(came):
        missed = _missed_by_each(one, expected)
        if missed is not None:
            _fail(trial, case, place, step, number, one, missed)
            return
    missed = _missed_by_last(engine, came[-1], expected)
    if missed is not None:
        _fail(trial, case, place, step, len(came) - 1, came[-1], missed)


_Missed = tuple[str, str]
"""What was expected and did not come: the key that says it, and words for it."""


def _missed_by_each(came: _Came, expected: ExpectSettings) -> _Missed | None:
    if expected.admitted is not None and came.admitted != expected.admitted:
        return "admitted", "admitted" if expected.admitted else "denied"
    refusers = expected.refusers
    if refusers is not None and set(came.refusers) != set(refusers):
        return "denied_by", f"denied by {' and '.join(refusers)}"
    if expected.route is not None and came.route != expected.route:
        return "route", f"route {expected.route}"
    if expected.status is not None and came.status != expected.status:
        return "status", f"status {expected.status}"
    return None


def _missed_by_last(engine: Engine, came: _Came, expected: ExpectSettings) -> _Missed | None:
    if expected.retry_after is not None and ceil(came.retry_after_s - 1e-6) != ceil(expected.retry_after):
        return "retry_after", f"retry after {format_duration(expected.retry_after)}"
    if isinstance(expected.remaining, int):
        left = came.verdict.remaining if came.verdict is not None else None
        if left != expected.remaining:
            return "remaining", f"{expected.remaining} left"
    elif expected.remaining is not None:
        for name, wanted in expected.remaining.items():
            left = _left(engine, came, name)
            if left != wanted:
                return "remaining", f"{wanted} left of {name}" + (f" (there are {left})" if left is not None else "")
    return None


def _left(engine: Engine, came: _Came, name: str) -> int | None:
    """What is left of a limit under the key of the request; None when it was not asked."""
    verdict = came.verdict
    if verdict is None or came.played is None:
        return None
    for policy, key in zip(verdict.policies, verdict.keys, strict=True):
        if policy.name == name and not policy.is_candidate:
            return engine.store.peek(policy, key, came.played.exchange.received_at).remaining
    return None


def _fail(trial: Trial, case: Case, place: Path, step: StepSettings, number: int, came: _Came, missed: _Missed) -> None:
    key, expected = missed
    which = f"request {number + 1} of {step.times}" if step.times > 1 else "the request"
    trial.failures.append(
        case.document.report(
            _CODE,
            f"{case.name}: expected {expected}; {which} was {came}",
            (*place, "expect", key),
            hint=f"expected {expected}",
            note=_state(came),
        )
    )


def _state(came: _Came) -> str:
    """The limits that were asked, with their keys and what is left."""
    verdict = came.verdict
    if verdict is None:
        return f"route {came.route}, no limit was asked" if came.route else ""
    asked = []
    for policy, key in zip(verdict.policies, verdict.keys, strict=True):
        text = f"{policy.name} ({policy.label} by {' + '.join(policy.by)}) counts {key_text(key, policy.by)}"
        if policy is verdict.policy:
            text += f": {verdict.remaining} left, {_back(verdict)}"
        asked.append(text)
    return f"route {came.route}; " + "; ".join(asked)


def _back(verdict: Verdict) -> str:
    what = "all" if verdict.remaining else "the first"
    return "nothing is spent" if not verdict.reset_s else f"{what} back in {_seconds(verdict.reset_s)}"


def _line(at: float, step: StepSettings, came: list[_Came]) -> str:
    who = f", user {step.user}" if step.user is not None else ""
    what = f"{step.method} {step.target} from {step.ip}{who}"
    if len(came) == 1:
        return f"{format_duration(at):>8}  {what}: {came[0]}"
    admitted = sum(one.admitted for one in came)
    return (
        f"{format_duration(at):>8}  {what}, {len(came)} times: {admitted} admitted, {len(came) - admitted} not; "
        f"the last {came[-1]}"
    )


def _wait(seconds: float) -> str:
    return f", retry after {_seconds(seconds)}" if 0.0 < seconds < inf else ", never to pass" if seconds else ""


def _seconds(seconds: float) -> str:
    return format_duration(float(ceil(seconds - 1e-6)))
