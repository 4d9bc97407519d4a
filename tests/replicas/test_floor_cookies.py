"""Signed cookies: what they say, and that nobody else can say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.replicas.cookie import LENGTH, Mark, read, sign
from proxy.replicas.lsn import History
from tests.replicas.knowledge import HISTORY

SECRET, AUDIENCE = b"s" * 32, b"a" * 32
histories = st.builds(History, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(histories, st.integers(0, 2**64 - 1))
def test_a_position_comes_back_as_it_was(history: History, lsn: int) -> None:
    value = sign(Mark(history, lsn), SECRET, AUDIENCE, 1000.0)
    assert len(value) == LENGTH
    assert read(value, SECRET, AUDIENCE, 999.0, 60.0) == Mark(history, lsn)


def test_a_pin_comes_back_as_it_was() -> None:
    value = sign(Mark(None, 0, 1002.5), SECRET, AUDIENCE, 1060.0)
    assert read(value, SECRET, AUDIENCE, 1000.0, 60.0) == Mark(None, 0, 1002.5)


@pytest.mark.parametrize(
    ("secret", "audience", "now"),
    [
        pytest.param(b"t" * 32, AUDIENCE, 999.0, id="another secret"),
        pytest.param(SECRET, b"b" * 32, 999.0, id="for another database"),
        pytest.param(SECRET, AUDIENCE, 1000.0, id="over"),
    ],
)
def test_a_cookie_is_good_for_one_thing_and_one_time(secret: bytes, audience: bytes, now: float) -> None:
    assert read(sign(Mark(HISTORY, 5), SECRET, AUDIENCE, 1000.0), secret, audience, now, 60.0) is None


def test_a_pin_into_the_far_future_is_none() -> None:
    value = sign(Mark(None, 0, 99_999.0), SECRET, AUDIENCE, 1060.0)
    assert read(value, SECRET, AUDIENCE, 1000.0, 60.0) is None


@given(st.integers(0, LENGTH - 1), st.sampled_from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
def test_a_changed_cookie_says_nothing(place: int, letter: int) -> None:
    value = bytearray(sign(Mark(HISTORY, 5), SECRET, AUDIENCE, 1000.0))
    if value[place] == letter:
        return
    value[place] = letter
    found = read(bytes(value), SECRET, AUDIENCE, 999.0, 60.0)
    assert found in (None, Mark(HISTORY, 5))  # the last letter has bits that say nothing
    if found is not None:
        assert place == LENGTH - 1


@given(st.binary(max_size=LENGTH + 4) | st.binary(min_size=LENGTH, max_size=LENGTH))
def test_noise_says_nothing(noise: bytes) -> None:
    assert read(noise, SECRET, AUDIENCE, 0.0, 60.0) is None
