"""Who is skipped for what it answers, for how long, and how it comes back. Time is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.ejection import WINDOW_S, Ejection, EjectionRules, State, Totals

RULES = EjectionRules()


class Subject:
    """An ejection with the counters that an endpoint keeps for it."""

    def __init__(self, rules: EjectionRules = RULES, *, is_last: bool = False, jitter: float = 0.0) -> None:
        self.rules = rules
        self.is_last = is_last
        self.jitter = jitter
        self.ejection = Ejection(0.0)
        self.requests = self.failures = self.broken = self.in_a_row = 0

    @property
    def totals(self) -> Totals:
        return Totals(self.requests, self.failures, self.broken)

    def passes(self, now: float, times: int = 1) -> bool:
        self.requests += times
        self.in_a_row = 0
        return self.ejection.passed(now, self.totals)

    def fails(self, now: float, times: int = 1, *, is_broken: bool = True) -> list[bool]:
        return [self._fail(now, is_broken) for _ in range(times)]

    def _fail(self, now: float, is_broken: bool) -> bool:
        self.requests += 1
        self.failures += 1
        self.broken += is_broken
        self.in_a_row += 1
        return self.ejection.failed(
            now, self.jitter, self.rules, self.totals, self.in_a_row, is_broken=is_broken, is_last=self.is_last
        )

    def second(self, now: float) -> None:
        self.ejection.remember(self.totals)
        self.ejection.tick(now, False)

    def rest(self, now: float) -> float:
        """Wait until it may be tried; gives when."""
        while self.ejection.state is State.OUT:
            now = max(now, self.ejection.until_at)
            self.ejection.tick(now, True)
        return now


@pytest.mark.parametrize("is_broken", [True, False], ids=["no answer", "a status"])
def test_failures_in_a_row_eject_it_and_one_fewer_does_not(is_broken: bool) -> None:
    subject = Subject()
    assert subject.fails(1.0, 5, is_broken=is_broken) == [False, False, False, False, True]
    assert subject.ejection.state is State.OUT
    assert subject.ejection.why == "5 failures in a row"


def test_an_answer_between_them_begins_the_count_again() -> None:
    subject = Subject()
    for _ in range(3):
        subject.fails(1.0, 4)
        subject.passes(1.0)
    assert subject.ejection.is_in


# passes and failures one after the other -> the failure at which it is ejected, counted from 1; 0: never
SHARES = {
    "half of twenty": (EjectionRules(consecutive=99), 1, 1, 10),
    "fewer than half": (EjectionRules(consecutive=99), 2, 1, 0),
    "a third, where a third is too many": (EjectionRules(consecutive=99, ratio=0.33), 2, 1, 7),
    "half of five, where five are enough": (EjectionRules(consecutive=99, min_requests=5), 1, 1, 3),
}


@pytest.mark.parametrize(("rules", "passes", "fails", "at"), SHARES.values(), ids=SHARES)
def test_the_share_of_failures_ejects_it_once_there_are_enough_requests(
    rules: EjectionRules, passes: int, fails: int, at: int
) -> None:
    subject, ejected = Subject(rules), 0
    for _ in range(100):
        subject.passes(1.0, passes)
        if True in subject.fails(1.0, fails):
            ejected = subject.failures
            break
    assert ejected == at


def test_failures_leave_the_window_after_ten_seconds() -> None:
    subject = Subject(EjectionRules(consecutive=99))
    subject.fails(0.5, 15)
    for second in range(1, WINDOW_S + 1):
        subject.passes(second - 0.5, 1)
        subject.second(float(second))
    assert subject.fails(10.5, 4) == [False] * 4  # 4 of 13: the fifteen are forgotten
    assert subject.ejection.is_in


def test_it_stays_out_longer_each_time_up_to_a_bound() -> None:
    subject, now, times_out = Subject(), 0.0, []
    for _ in range(40):
        subject.fails(now, 1 if subject.ejection.state is State.TRYING else 5)
        times_out.append(subject.ejection.until_at - now)
        now = subject.rest(now)
        subject.ejection.begin_trial(now)
    assert times_out[:4] == [10.0, 20.0, 30.0, 40.0]
    assert times_out[-1] == 300.0


def test_a_good_time_longer_than_it_was_out_is_a_new_beginning() -> None:
    subject = Subject()
    subject.fails(0.0, 5)
    now = subject.rest(0.0)
    subject.passes(now)
    soon = Subject()
    soon.fails(0.0, 5)
    soon.passes(soon.rest(0.0))
    subject.fails(now + 21.0, 5)
    soon.fails(now + 19.0, 5)
    assert subject.ejection.until_at - (now + 21.0) == 10.0
    assert soon.ejection.until_at - (now + 19.0) == 20.0


@given(st.floats(0, 1))
def test_jitter_adds_up_to_a_fifth(jitter: float) -> None:
    subject = Subject(jitter=jitter)
    subject.fails(0.0, 5)
    assert subject.ejection.until_at == pytest.approx(10.0 * (1 + 0.2 * jitter))


# The trial


def on_trial() -> Subject:
    subject = Subject()
    subject.fails(0.0, 5)
    assert subject.rest(0.0) == 10.0
    return subject


def test_after_its_time_one_exchange_tries_it() -> None:
    subject = on_trial()
    assert subject.ejection.state is State.TRIAL
    subject.ejection.begin_trial(10.0)
    assert subject.ejection.state is State.TRYING
    assert not subject.ejection.tick(11.0, is_idle=False)


def test_a_trial_that_passes_lets_it_in_with_a_clean_sheet() -> None:
    subject = on_trial()
    subject.ejection.begin_trial(10.0)
    assert subject.passes(10.1)
    assert subject.ejection.is_in
    assert subject.fails(10.2, 4) == [False] * 4


def test_a_trial_that_fails_puts_it_out_for_longer() -> None:
    subject = on_trial()
    subject.ejection.begin_trial(10.0)
    assert subject.fails(10.1) == [True]
    assert subject.ejection.until_at == 30.1


def test_a_trial_whose_client_left_is_made_again() -> None:
    subject = on_trial()
    subject.ejection.begin_trial(10.0)
    assert subject.ejection.tick(10.2, is_idle=True)
    assert subject.ejection.state is State.TRIAL


def test_a_trial_that_is_never_heard_of_is_made_again() -> None:
    subject = on_trial()
    subject.ejection.begin_trial(10.0)
    assert not subject.ejection.tick(69.0, is_idle=False)
    assert subject.ejection.tick(71.0, is_idle=False)
    assert subject.ejection.state is State.TRIAL


def test_when_no_read_comes_for_a_while_any_request_may_be_the_trial() -> None:
    subject = on_trial()
    assert not subject.ejection.tick(14.0, is_idle=True)
    assert not subject.ejection.all_may_try
    assert subject.ejection.tick(15.1, is_idle=True)
    assert subject.ejection.all_may_try


def test_exchanges_that_began_before_the_ejection_change_nothing() -> None:
    subject = Subject()
    subject.fails(0.0, 5)
    until_at = subject.ejection.until_at
    assert subject.fails(0.1, 20) == [False] * 20
    assert not subject.passes(0.2)
    assert (subject.ejection.state, subject.ejection.until_at) == (State.OUT, until_at)


# The last endpoint: a breaker


def test_the_last_one_is_never_ejected_for_failures_in_a_row() -> None:
    subject = Subject(is_last=True)
    assert subject.fails(0.0, 19) == [False] * 19


def test_the_last_one_is_given_up_when_most_requests_get_no_answer() -> None:
    subject = Subject(is_last=True)
    assert subject.fails(0.0, 20)[-1]
    assert subject.ejection.until_at == 5.0


def test_the_last_one_is_never_given_up_for_what_it_answers() -> None:
    subject = Subject(is_last=True)
    assert subject.fails(0.0, 1000, is_broken=False) == [False] * 1000


def test_its_breaker_opens_for_longer_each_time() -> None:
    subject, now, opens = Subject(is_last=True), 0.0, []
    subject.fails(now, 20)
    for _ in range(6):
        opens.append(round(subject.ejection.until_at - now, 6))
        now = subject.rest(now)
        subject.ejection.begin_trial(now)
        subject.fails(now)
    assert opens == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_trial_of_the_last_one_that_answers_with_a_failure_closes_the_breaker() -> None:
    subject = Subject(is_last=True)
    subject.fails(0.0, 20)
    subject.ejection.begin_trial(subject.rest(0.0))
    assert subject.fails(6.0, is_broken=False) == [True]
    assert subject.ejection.is_in


def test_a_reset_forgets_everything() -> None:
    subject = Subject()
    subject.fails(0.0, 5)
    assert subject.ejection.reset(1.0, subject.totals)
    assert subject.ejection.is_in
    subject.in_a_row = 0
    subject.fails(2.0, 5)
    assert subject.ejection.until_at == 12.0
    assert not Subject().ejection.reset(0.0, Totals(0, 0, 0))


# Whatever happens


STEPS = st.lists(
    st.tuples(st.sampled_from(["pass", "fail", "status", "tick", "idle", "try"]), st.floats(0, 30)), max_size=200
)


@given(STEPS, st.booleans(), st.floats(0, 1))
def test_it_is_out_only_on_evidence_and_never_for_longer_than_its_bounds(
    steps: list[tuple[str, float]], is_last: bool, jitter: float
) -> None:
    rules = EjectionRules(consecutive=3, min_requests=5)
    subject, now = Subject(rules, is_last=is_last, jitter=jitter), 0.0
    most_s = (rules.open_max_s if is_last else rules.max_s) * 1.2
    for step, wait_s in steps:
        now += wait_s
        ejection = subject.ejection
        before = ejection.state
        if step == "pass":
            changed = subject.passes(now)
            assert changed == (before in (State.TRIAL, State.TRYING))
        elif step in ("fail", "status"):
            changed = subject.fails(now, is_broken=step == "fail")[0]
            if before is State.IN and changed:
                # a breaker goes by those without an answer; a status may be the request that makes them enough to judge
                assert not is_last or subject.broken > 0
                assert subject.in_a_row >= 3 or subject.requests >= 5
        elif step == "try" and before is State.TRIAL:
            ejection.begin_trial(now)
        elif step in ("tick", "idle"):
            ejection.tick(now, step == "idle")
            assert not (ejection.state is State.OUT and now >= ejection.until_at)
            assert before is State.IN or ejection.state is not State.IN, "time alone lets nobody in"
        if ejection.state is State.OUT and before is not State.OUT:
            assert now < ejection.until_at <= now + most_s + 1e-6
