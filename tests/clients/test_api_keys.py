"""API keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from timeit import repeat

import pytest

from proxy.clients.api_keys import ApiKeySource, read_key_file
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

MakeRequest = Callable[..., Request]


def _hash(key: str) -> str:
    return "sha256:" + sha256(key.encode()).hexdigest()


KEYS = {"shop": (_hash("key-of-the-shop"), None), "bot": (_hash("key-of-the-bot"), "pro")}


def test_a_key_stands_for_its_id(make_request: MakeRequest) -> None:
    finding = ApiKeySource("X-API-Key", KEYS).find(make_request(("x-api-key", "key-of-the-bot")), 0.0)
    assert finding is not None
    assert (finding.user, finding.api_key, finding.via, finding.error) == ("bot", "bot", "api_key", None)
    assert finding.plan == "pro"


@pytest.mark.parametrize(
    "key",
    [
        "wrong",
        "",
        " ",
        "key-of-the-bot ",
        "KEY-OF-THE-BOT",
        "key-of-the-shop, key-of-the-bot",
        _hash("key-of-the-bot"),
        "é",
    ],
)
def test_another_key_is_an_error(make_request: MakeRequest, key: str) -> None:
    finding = ApiKeySource("X-API-Key", KEYS).find(make_request(("X-API-Key", key)), 0.0)
    assert finding is not None
    assert (finding.user, finding.api_key, finding.error) == (None, None, ErrorKind.UNAUTHENTICATED)


def test_no_key_is_no_finding(make_request: MakeRequest) -> None:
    assert ApiKeySource("X-API-Key", KEYS).find(make_request(("Accept", "*/*")), 0.0) is None


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("Bearer key-of-the-bot", "bot"),
        ("bearer  key-of-the-bot", "bot"),
        ("Basic a2V5", "nothing"),
        ("Bearer no", None),
    ],
)
def test_in_authorization_the_key_follows_bearer(make_request: MakeRequest, value: str, user: str | None) -> None:
    finding = ApiKeySource("Authorization", KEYS).find(make_request(("Authorization", value)), 0.0)
    assert (finding.user if finding is not None else "nothing") == user


def test_one_key_has_one_id() -> None:
    with pytest.raises(ValueError, match="the API keys `a` and `b` are the same key"):
        ApiKeySource("X-API-Key", {"a": (_hash("k"), None), "b": (_hash("k"), "pro")})


def test_an_unknown_key_takes_as_long_as_a_known_one(make_request: MakeRequest) -> None:
    """The same path: the medians of many runs lie together, whatever the key has in common with a known one."""
    source = ApiKeySource("X-API-Key", KEYS)
    requests = [make_request(("X-API-Key", key)) for key in ("key-of-the-bot", "key-of-the-bo_", "xxxxxxxxxxxxxx")]
    for _ in range(5):  # a machine that is busy with something else gets another try
        times = [median(repeat(partial(source.find, request, 0.0), number=200, repeat=41)) for request in requests]
        if max(times) < 1.25 * min(times):
            return
    pytest.fail(f"medians differ: {times}")


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    shop, bot = KEYS["shop"][0], KEYS["bot"][0]
    path.write_text(f'# the keys\n\nshop: {shop}\n  bot:   "{bot.upper().replace("SHA", "sha")}"  \n')
    assert read_key_file(str(path)) == {"shop": (shop, None), "bot": (bot, None)}


def test_a_file_of_keys_with_plans(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f'shop: {KEYS["shop"][0]}\nbot: {{hash: "{KEYS["bot"][0]}", plan: pro}}\n')
    assert read_key_file(str(path)) == KEYS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shop sha256:00\n", "line 1 of `.*` is not `id: sha256:`"),
        ("a: " + KEYS["bot"][0] + "\nshop: the-key-itself\n", "line 2 of `.*` is not `id: sha256:`"),
        (f"a: {KEYS['bot'][0]}\na: {KEYS['shop'][0]}\n", "line 2 of `.*` has the id `a` for the second time"),
        ("\udcff", "is not text"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_keys(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=words) as caught:
        read_key_file(str(path))
    assert "the-key-itself" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the API keys in `.*none`: no such file"):
        read_key_file(str(tmp_path / "none"))
