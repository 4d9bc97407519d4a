from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.redact import (
    _SECRET_ANYWHERE,
    _SECRET_AT_THE_END,
    _SECRET_NAMES,
    MAX_PARAMETERS,
    MAX_TEXT,
    clean,
    hide_credentials,
    redact_path,
    redact_query,
)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param("token=CANARY", "token=***", id="token"),
        pytest.param("a=1&access_token=CANARY&b=2", "a=1&access_token=***&b=2", id="among others"),
        pytest.param("ApiKey=CANARY", "ApiKey=***", id="any case"),
        pytest.param("api-key[]=CANARY", "api-key[]=***", id="array form"),
        pytest.param("X-Amz-Signature=CANARY", "X-Amz-Signature=***", id="signed url"),
        pytest.param("sig=CANARY", "sig=***", id="sig"),
        pytest.param("password=CANARY", "password=***", id="password"),
        pytest.param("client_secret=CANARY", "client_secret=***", id="secret"),
        pytest.param("code=CANARY", "code=***", id="authorization code"),
        pytest.param("%74oken=CANARY", "%74oken=***", id="encoded name"),
        pytest.param("%2574oken=CANARY", "%2574oken=***", id="name encoded twice"),
        pytest.param("to=%2Fcb%3Ftoken%3DCANARY", "to=***", id="encoded inside a value"),
        pytest.param("to=/cb?token=CANARY", "to=***", id="inside a value"),
        pytest.param("a=1;token=CANARY", "a=***", id="after a semicolon"),
        pytest.param("state=eyJhbGciOiJub25lIn0.CANARY.x", "state=***", id="a JWT under any name"),
        pytest.param("token=CANARY=CANARY&x=1", "token=***&x=1", id="equals signs in the value"),
    ],
)
def test_a_secret_looking_parameter_is_hidden(query: str, shown: str) -> None:
    assert redact_query(query) == shown


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("q=shoes&page=2", id="plain"),
        pytest.param("q=caf%C3%A9", id="encoded value"),
        pytest.param("keyword=red&author=woolf", id="names that only look a little alike"),
        pytest.param("token", id="a name alone"),
        pytest.param("", id="empty"),
        pytest.param("&&=&a", id="odd separators"),
    ],
)
def test_a_harmless_query_is_shown_as_it_came(query: str) -> None:
    assert redact_query(query) == query


@pytest.mark.parametrize("word", sorted({*_SECRET_ANYWHERE, *_SECRET_AT_THE_END, *_SECRET_NAMES}))
def test_the_quick_look_misses_no_word(word: str) -> None:
    assert redact_query(f"{word}=CANARY") == f"{word}=***"


def test_a_value_is_shown_only_when_its_whole_name_was_seen() -> None:
    query = "a=" + "x" * (MAX_TEXT - 8) + "&token=CANARY"
    assert "CANARY" not in redact_query(query)


def test_a_query_of_many_parameters_is_cut() -> None:
    shown = redact_query("&".join(["token=CANARY"] * 60))
    assert shown.count("***") == MAX_PARAMETERS
    assert shown.endswith("&...")


def test_a_hostile_query_costs_a_bounded_time() -> None:
    query = "token=" + "%25" * 100 + "&;?#" * 5000
    begun_at = perf_counter()
    for _ in range(20):
        redact_query(query)
    assert (perf_counter() - begun_at) / 20 < 0.02


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param("/cart;jsessionid=CANARY/items", "/cart;jsessionid=***/items", id="session in the path"),
        pytest.param("/a;v=1/b;token=CANARY;w=2", "/a;v=1/b;token=***;w=2", id="several"),
        pytest.param("/plain/path", "/plain/path", id="nothing"),
    ],
)
def test_path_parameters_are_hidden_like_those_of_a_query(path: str, shown: str) -> None:
    assert redact_path(path) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("redis://:CANARY@store:6379/0", "redis://***@store:6379/0", id="password"),
        pytest.param("lost redis://u:CANARY@a, now x", "lost redis://***@a, now x", id="in a sentence"),
        pytest.param("redis://u:CA/N@ARY@a/0", "redis://***@a/0", id="a password that should have been encoded"),
        pytest.param("http://a:1 and http://b:2", "http://a:1 and http://b:2", id="nothing to hide"),
        pytest.param("mail me@example.org", "mail me@example.org", id="no URL"),
    ],
)
def test_credentials_in_a_url_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


@given(st.text(max_size=3000))
def test_clean_text_is_one_printable_bounded_line(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_TEXT
    assert shown == text or not text.isprintable() or len(text) > MAX_TEXT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nb\x1b[31m", "a\\x0ab\\x1b[31m", id="controls"),
        pytest.param("\x7f\x9b", "\\x7f\\x9b", id="DEL and C1"),
        pytest.param("\u202eabc\u2028", "\\u202eabc\\u2028", id="direction and line separators"),
        pytest.param("\udcff", "\\udcff", id="a lone surrogate"),
        pytest.param("straße", "straße", id="letters stay"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(alphabet="abkeytokn=&;?#%256413dDj", max_size=80))
def test_redaction_never_fails_and_never_grows_without_bound(query: str) -> None:
    assert len(redact_query(query)) <= len(query) + 4 * (MAX_PARAMETERS + 1)
