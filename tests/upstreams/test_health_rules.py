from __future__ import annotations

import pytest

from proxy.upstreams.health import MAX_DELAY_S, NEVER, Health, delay_s

FALL, RISE, INTERVAL_S = 3, 2, 2.0


def fail(health: Health, now: float) -> bool:
    return health.check_failed(now, 1.0, FALL, INTERVAL_S)


def succeed(health: Health, now: float) -> bool:
    return health.check_passed(now, RISE, INTERVAL_S)


def test_a_connect_that_fails_takes_the_endpoint_out_at_once() -> None:
    health = Health()
    assert health.connect_failed(10.0, 1.0)
    assert not health.healthy
    assert (health.failed_at, health.check_at) == (10.0, 10.5)


def test_sixty_connects_that_fail_together_are_one_failure() -> None:
    health = Health()
    health.connect_failed(10.0, 1.0)
    assert not any(health.connect_failed(10.0 + step / 1000, 1.0) for step in range(60))
    assert health.check_at == 10.5
    assert health.failed_at == 10.059  # which endpoint failed longest ago is still known


def test_checks_take_it_out_after_fall_failures_in_a_row() -> None:
    health = Health(check_at=0.0)
    assert [fail(health, 0.0), fail(health, 2.0), fail(health, 4.0)] == [False, False, True]
    assert not health.healthy


def test_a_good_check_begins_the_count_again() -> None:
    health = Health(check_at=0.0)
    fail(health, 0.0)
    fail(health, 2.0)
    assert not succeed(health, 4.0)
    assert [fail(health, 6.0), fail(health, 8.0)] == [False, False]
    assert health.healthy


def test_it_comes_back_after_rise_good_checks_in_a_row() -> None:
    health = Health(check_at=0.0)
    health.connect_failed(0.0, 1.0)
    assert not succeed(health, 1.0)
    assert not fail(health, 2.0)
    assert [succeed(health, 3.0), succeed(health, 4.0)] == [False, True]
    assert health.healthy
    assert health.check_at == 4.0 + INTERVAL_S


def test_the_second_check_of_one_that_seems_back_comes_soon() -> None:
    health = Health(check_at=0.0)
    health.connect_failed(0.0, 1.0)
    health.check_passed(1.0, RISE, 60.0)
    assert health.check_at == 1.5


def test_checks_of_one_that_is_out_come_less_and_less_often() -> None:
    health, now, waits = Health(), 0.0, []
    health.connect_failed(now, 1.0)
    for _ in range(8):
        waits.append(health.check_at - now)
        now = health.check_at
        health.check_failed(now, 1.0, 1, NEVER)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize("failed_checks", [0, 3, 5, 1000])
def test_jitter_shortens_the_delay_by_a_quarter_at_most(failed_checks: int) -> None:
    full = delay_s(failed_checks, 1.0)
    assert full <= MAX_DELAY_S
    assert delay_s(failed_checks, 0.0) == 0.75 * full
    assert delay_s(failed_checks, 0.0) < delay_s(failed_checks, 0.5) < full


def test_an_exchange_that_passes_brings_it_back_when_nothing_else_checks() -> None:
    health = Health()
    health.connect_failed(0.0, 1.0)
    assert health.exchange_passed(has_checks=False)
    assert health.healthy
    assert health.check_at == NEVER


def test_an_exchange_that_passes_does_not_overrule_active_checks() -> None:
    health = Health(check_at=0.0)
    for now in (0.0, 2.0, 4.0):
        fail(health, now)
    assert not health.exchange_passed(has_checks=True)
    assert not health.healthy


def test_after_coming_back_it_falls_by_the_same_rules_again() -> None:
    health = Health(check_at=0.0)
    for now in (0.0, 2.0, 4.0):
        fail(health, now)
    succeed(health, 5.0)
    succeed(health, 6.0)
    assert [fail(health, 8.0), fail(health, 10.0), fail(health, 12.0)] == [False, False, True]


def test_a_check_that_could_not_be_made_changes_nothing_but_the_time() -> None:
    health = Health()
    health.connect_failed(0.0, 1.0)
    health.postpone(7.0)
    assert (health.healthy, health.check_at, health.failed_at) == (False, 7.5, 0.0)
